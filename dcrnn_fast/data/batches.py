"""The order of windows in an epoch, global batches, and their shares over ranks and micro-batches.

A position is the number of windows of the epoch that were used so far: it means the same for any number of ranks, so a
run can be resumed in mid-epoch. Nothing is ever padded or repeated: the last batch holds the remaining windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.config.training import Reading
from dcrnn_fast.data.contiguous import contiguous_order
from dcrnn_fast.errors import UserError


def epoch_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """(num_windows,) int64: a permutation that is a pure function of its arguments.

    The raw stream of PCG64 is sorted, because numpy keeps that stream through its releases, but not the results of its
    ``permutation``.
    """
    return np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(num_windows).argsort(kind="stable")


@dataclass(frozen=True, eq=False, slots=True)
class GlobalBatch:
    """The windows that all ranks together use in one optimiser step.

    Attributes:
        windows: int64, positions in the window set (not rows of the series).
        start, stop: the epoch's position before and after it.
        by_rank: the micro-batches of a rank are one stretch of ``windows``; else those with the same number of all
            ranks are.
    """

    windows: np.ndarray
    start: int
    stop: int
    by_rank: bool = False

    def share(self, rank: int, world: int, micro: int) -> list[np.ndarray]:
        """This rank's windows, one array for each micro-batch; see ``share``."""
        if self.by_rank:
            (mine,) = share(self.windows, rank, world, 1)
            return share(mine, 0, 1, micro)
        return share(self.windows, rank, world, micro)


@dataclass(frozen=True, slots=True)
class GlobalBatches:
    """The batches of every epoch.

    Attributes:
        num_windows: windows in the set.
        batch_size: windows of a global batch: of one micro-batch x ranks x micro-batches.
        seed: of the order.
        shuffle: anew every epoch; else in time order.
        reading: shuffled: any windows in a batch; contiguous: see ``contiguous``, a batch in time order.
    """

    num_windows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    reading: Reading = "shuffled"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"the batch size must be at least 1, got {self.batch_size}")

    def num_batches(self, position: int = 0) -> int:
        """Batches from this position to the end of an epoch."""
        return -(-(self.num_windows - position) // self.batch_size)

    def epoch(self, epoch: int, position: int = 0) -> Iterator[GlobalBatch]:
        """The batches of this epoch from a position on.

        Raises:
            UserError: the position is not within the epoch.
        """
        if not 0 <= position <= self.num_windows:
            raise UserError(f"position {position} is not within an epoch of {self.num_windows} windows")
        contiguous = self.shuffle and self.reading == "contiguous"
        order_of = contiguous_order if contiguous else epoch_order
        order = order_of(self.num_windows, self.seed, epoch) if self.shuffle else np.arange(self.num_windows)
        for start in range(position, self.num_windows, self.batch_size):
            windows = order[start : start + self.batch_size]
            windows = np.sort(windows) if contiguous else windows
            yield GlobalBatch(windows, start, start + len(windows), by_rank=contiguous)


def share(windows: np.ndarray, rank: int, world: int, micro: int) -> list[np.ndarray]:
    """This rank's windows of a global batch, one array for each of ``micro`` micro-batches.

    Over all ranks and micro-batches each window comes exactly once; shares differ by one window at most, so in a
    small last batch some are empty. Micro-batch k of all ranks together is the k-th stretch of the batch.
    """
    pieces = world * micro
    return [
        windows[len(windows) * piece // pieces : len(windows) * (piece + 1) // pieces]
        for piece in (k * world + rank for k in range(micro))
    ]
