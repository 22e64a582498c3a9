"""Which batch size, accumulation and saving: the fastest that fits, with the same windows in every step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COMPUTED_AGAIN = 1.35
"""time of a step whose backward computes gates and candidates again, over that of one that has kept all"""
_A_MICRO_BATCH = 0.02
"""time that a micro-batch takes beside its windows, in rounds"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings that decide how much memory a step takes, and leave its result the same."""

    batch_size: int
    accumulate: int
    save: str

    @property
    def windows(self) -> int:
        """A process's windows of a step."""
        return self.batch_size * self.accumulate

    def flags(self) -> str:
        """As words of a command line."""
        return f"--batch-size {self.batch_size} --accumulate {self.accumulate} --save {self.save}"


def windows_a_round(nodes: int, threads: int) -> int:
    """Windows that the threads compute at once: each takes about 450 rows of nodes, or one window."""
    return threads * min(max(448 // nodes, 1), 8)


def relative_time(choice: Choice, round_: int) -> float:
    """Time of a step, in rounds of ``round_`` windows that keep all."""
    rounds = -(-choice.batch_size // round_)
    return choice.accumulate * (rounds * (1.0 if choice.save == "all" else COMPUTED_AGAIN) + _A_MICRO_BATCH)


def saves_of(steps: Sequence[int]) -> list[str]:
    """Ways to save, quickest first: all, the states of every step, those of every K-th, for a few K to the longest."""
    longest = max(steps)
    lengths = sorted({length << k for length in (2, 3) for k in range(longest.bit_length()) if length << k <= longest})
    return ["all", "h", *(f"segments:{length}" for length in lengths)]


def choices(windows: int, saves: Sequence[str], round_: int) -> list[Choice]:
    """All choices for so many windows of a process in a step, the fastest first; of equals the one that comes first in
    ``saves``, then the one of larger parts.
    """
    small = [size for size in range(1, math.isqrt(windows) + 1) if windows % size == 0]
    sizes = sorted({*small, *(windows // size for size in small)}, reverse=True)
    every = [Choice(size, windows // size, save) for save in saves for size in sizes]
    return sorted(every, key=lambda choice: relative_time(choice, round_))


def first_that_fits(every: Sequence[Choice], bytes_of: Callable[[Choice], int], room: float) -> Choice | None:
    """The first whose bytes fit in ``room``."""
    return next((choice for choice in every if bytes_of(choice) <= room), None)
