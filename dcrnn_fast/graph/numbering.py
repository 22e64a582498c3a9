"""Sensors that a file calls by number: 0 to N-1, or 1 to N."""

import re
from collections.abc import Iterable

from dcrnn_fast.errors import UserError


def whole_numbers(names: Iterable[str]) -> dict[str, int] | None:
    """Name to number if every name is an integer as a table writes one (7 or 7.0, not 007), else None."""
    numbers: dict[str, int] = {}
    for name in names:
        if not (found := re.fullmatch(r"(0|[1-9]\d{0,8})(\.0+)?", name)):
            return None
        numbers[name] = int(found[1])
    return numbers or None


def first_number(numbers: Iterable[int], count: int) -> int | None:
    """The first of ``count`` sensors' numbers, 0 or 1, by these numbers of some of them; None: they do not fit.

    Raises:
        UserError: both would fit.
    """
    lowest, highest = min(numbers), max(numbers)
    if highest > count or (lowest == 0 and highest == count):
        return None
    if lowest > 0 and highest < count:
        raise UserError(
            f"it numbers its sensors {lowest} to {highest}, for {count} columns: counted from 0 or from 1? add a line "
            f"that names sensor 0, or sensor {count} (a pair of it with itself, weight or distance 0)"
        )
    return 0 if lowest == 0 else 1


def in_numeric_order(ids: tuple[str, ...]) -> list[int] | None:
    """If the ids are the numbers 0 to N-1 or 1 to N in another order: the index of each number's node."""
    numbers = whole_numbers(ids)
    if numbers is None:
        return None
    listed = [numbers[node] for node in ids]
    start = min(listed)
    if start > 1 or sorted(listed) != list(range(start, start + len(listed))) or listed == sorted(listed):
        return None
    return sorted(range(len(listed)), key=listed.__getitem__)


def counting_hint(ids: Iterable[str], named: Iterable[str]) -> str:
    """A hint if both are numbers, and one of them seems to count from 0 and the other from 1: each number would then
    find its neighbour's node.
    """
    ours, theirs = whole_numbers(ids), whole_numbers(named)
    if ours is None or theirs is None:
        return ""
    starts = min(ours.values()), min(theirs.values())
    shift = max(theirs.values()) - max(ours.values())
    if not ((starts[0] == 0 < starts[1] and shift == 1) or (starts[1] == 0 < starts[0] and shift == -1)):
        return ""
    return (
        f" (it seems that the series counts its sensors from {0 if shift == 1 else 1}, the file from {max(shift, 0)})"
    )


def is_numbering(names: Iterable[str], count: int) -> bool:
    """Whether these names are numbers that can stand for the first ``count`` columns."""
    numbers = whole_numbers(names)
    return numbers is not None and max(numbers.values()) <= count and len(set(numbers.values())) > 1
