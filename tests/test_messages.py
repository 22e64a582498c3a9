"""Words that messages share."""

from pathlib import Path

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, first_line, metres_words, naming_file, one_line, sized, some, span


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


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (100, "100 bytes"), (300, "0.293 KiB"), (200_000, "0.191 MiB"), (5e11, "466 GiB")],
)
def test_no_size_is_rounded_to_nothing(count: float, text: str) -> None:
    assert sized(count) == text


@pytest.mark.parametrize(
    ("metres", "text"),
    [(0, "0 m"), (0.042, "0.042 m"), (4.25, "4.25 m"), (400, "400 m"), (9999.7, "10.0 km"), (5_310_400, "5,310 km")],
)
def test_no_length_is_rounded_to_nothing(metres: float, text: str) -> None:
    assert metres_words(metres) == text


def test_the_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "speeds.csv"
    for text in ("no times", "speeds.csv: no times", "speeds.csv no times", f"{path}: no times"):
        with pytest.raises(UserError) as error, naming_file(path):
            raise UserError(text)
        assert str(error.value) == f"{path}: no times"
    with pytest.raises(UserError, match=f"cannot read {path}: No such file"), naming_file(path):
        path.read_text()
