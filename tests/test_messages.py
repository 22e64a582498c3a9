"""Words that messages share."""

from pathlib import Path

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, first_line, naming_file, one_line, some, span


def test_lists_are_cut_and_counted() -> None:
    assert first_few([]) == "none"
    assert first_few(["a", 2]) == "'a', 2"
    assert first_few("abcdef") == "'a', 'b', 'c', 'd', 'e' and 1 more"
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert (counted(1, "sensor"), counted(207, "sensor")) == ("1 sensor", "207 sensors")


def test_an_exception_without_text_is_its_type() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert first_line(ValueError("\nfirst\nsecond")) == "first"
    assert one_line(EOFError()) == first_line(EOFError()) == "EOFError"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (900, "15 min"), (5400, "1 h 30 min"), (172_800, "2 d"), (90_061, "1 d 1 h 1 min 1 s")],
)
def test_a_span_in_its_units(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_the_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "speeds.csv"
    for text in ("no times", "speeds.csv: no times", "speeds.csv no times", f"{path}: no times"):
        with pytest.raises(UserError) as error, naming_file(path):
            raise UserError(text)
        assert str(error.value) == f"{path}: no times"
    with pytest.raises(UserError, match=f"cannot read {path}: No such file"), naming_file(path):
        path.read_text()
