"""Lengths in a table's own unit, as metres."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from dcrnn_fast.errors import UserError
from dcrnn_fast.reading.tables import plain_name

Unit = Literal["auto", "m", "km", "mi", "ft"]
METRES = {"m": 1.0, "km": 1000.0, "mi": 1609.344, "ft": 0.3048}
_WORDS = {
    "km": ("kilometres", "kilometers", "kilometer", "kilometre", "km"),
    "mi": ("miles", "mile", "mi"),
    "ft": ("feet", "foot", "ft"),
    "m": ("metres", "meters", "metre", "meter", "m"),
}
_MILES = ("abspm", "statepm", "postmile", "milepost", "milemarker", "milepoint", "pm", "mp")


class Length(NamedTuple):
    """What one unit of a column is in metres, and a doubt about it, or None."""

    metres: float
    doubt: str | None


def length_of(column: str, unit: Unit, stems: Sequence[str]) -> Length:
    """The unit of a column: as asked for, else by its name (length_km, Abs_PM); metres and a doubt if neither says.

    Args:
        stems: plain names of the column without a unit, such as length.
    """
    if unit != "auto":
        return Length(METRES[unit], None)
    plain = plain_name(column)
    if plain in _MILES:
        return Length(METRES["mi"], None)
    for found, words in _WORDS.items():
        if any(plain == stem + word for stem in ("", *stems) for word in words):
            return Length(METRES[found], None)
    return Length(
        1.0, f"the column {column!r} does not say its unit: taken as metres; --unit km, mi or ft if it is another"
    )


def column_with_unit(header: Sequence[str], stems: Sequence[str], alone: Sequence[str] = ()) -> int | None:
    """The first column that is one of these stems, with or without a unit after it, or one of the names ``alone``."""
    ends = ("", *(word for words in _WORDS.values() for word in words))
    known = [*alone, *(stem + end for stem in stems for end in ends)]
    plain = [plain_name(cell) for cell in header]
    return next((plain.index(name) for name in known if name in plain), None)


def require_not_negative(value: float, line: int, what: str) -> float:
    """A length as it is, else UserError."""
    if not value >= 0 or value == float("inf"):
        raise UserError(f"line {line}: {what} must be a finite number, not negative, got {value:g}")
    return value
