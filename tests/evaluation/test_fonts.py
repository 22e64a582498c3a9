"""Names that the package's font cannot write: a font of the machine is taken, or one line says that there is none."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from dcrnn_fast.evaluation import fonts
from dcrnn_fast.evaluation.style import drawn, look, new_figure

NAME = "\u5317\u4eac"


@pytest.fixture
def chinese(tmp_path: Path) -> Iterator[str]:
    """A font with a square for each character of ``NAME``."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square" for character in NAME})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    before = list(fontManager.ttflist)
    fontManager.addfont(tmp_path / "squares.ttf")
    fonts._characters.cache_clear()
    yield "Squares"
    fontManager.ttflist[:] = before
    fonts._characters.cache_clear()


def picture(title: str) -> bytes:
    with look():
        figure = new_figure(4, 2, title)
        figure.subplots().set_yticks([0, 1], [title, "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return drawn(figure)


def without_chinese_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_others", lambda: ["STIXGeneral"])


def test_one_line_says_what_no_font_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    without_chinese_fonts(monkeypatch)
    note = fonts.unwritable_note([NAME, "Z\u00fcrich"])
    assert note is not None
    assert note.startswith("look: no font of this machine has 2 character(s) of the names (\u4eac \u5317): ")
    assert "\n" not in note
    assert fonts.unwritable_note(["Z\u00fcrich", "\u041c\u043e\u0441\u043a\u0432\u0430", "$x$"]) is None
    assert picture(NAME)


def test_a_font_that_has_them_is_found_and_used(chinese: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_others", lambda: ["STIXGeneral", chinese])
    assert fonts.fonts_for(["a", NAME]) == [fonts.FONT, chinese]
    assert fonts.unwritable_note([NAME]) is None
    found = picture(NAME)
    without_chinese_fonts(monkeypatch)
    assert found != picture(NAME)


def test_a_font_of_one_weight_is_used_without_a_word(chinese: str, caplog: pytest.LogCaptureFixture) -> None:
    assert fonts.unwritable_note([NAME]) is None or fonts.fonts_for([NAME]) != [fonts.FONT]
    assert picture(NAME)  # its title is bold
    assert [record.getMessage() for record in caplog.records] == []


def test_the_font_of_boxes_for_everything_is_none() -> None:
    assert not any(name.startswith("Last Resort") for name in fonts._others())
    assert np.isin(["STIXGeneral"], fonts._others()).all()


def test_a_name_with_control_characters_leaves_svg_readable() -> None:
    figure = new_figure(4, 2, "a\x07b \x1b[31m\ufffe--> c")
    ElementTree.fromstring(drawn(figure, "svg"))
