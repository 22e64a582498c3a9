"""What was measured of an epoch: where the ranks' time went, who is slow, how fast the model was computed."""

import socket
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.records.events import EpochRow, Straggler, Timed
from dcrnn_fast.records.watcher import Place
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.peaks import known_peak
from dcrnn_fast.training.phases import Spent
from dcrnn_fast.training.run import Run

SLOWER = 1.2
"""times the median of all ranks' seconds: a rank above it is named"""
_LEAST_SECONDS = 1.0
"""above the median: below, an epoch is too short to tell"""
_BYTES = 7
"""of a host's name in one integer"""
_INTEGERS = 9


@dataclass(frozen=True, slots=True)
class RankTimes:
    """Seconds of one rank's steps in an epoch."""

    total: float
    data: float
    communication: float
    host: str

    @property
    def computing(self) -> float:
        """All but communication, in which a rank waits for the others."""
        return self.total - self.communication


def place_of(ranks: Ranks) -> Place:
    """This rank, as watchers know it."""
    return Place(ranks.rank, ranks.local_rank, ranks.local_world)


def measured_row(run: Run, row: EpochRow, watchers: Watchers) -> EpochRow:
    """``row`` with all that was measured; the same on all ranks but for what rank 0's monitors add.

    Tells this rank's times, and names ranks that are much slower than the others. Waits for all ranks.
    """
    spent = run.phases.take()
    watchers.tell(Timed(row.epoch, row.step, spent.steps, {**spent.parts, "other": spent.other}))
    ranks = gathered(run.ranks, spent)
    for rank, median in stragglers(ranks):
        watchers.tell(Straggler(row.epoch, rank, ranks[rank].host, ranks[rank].computing, median))
    measured: dict[str, Any] = {}
    if (total := sum(each.total for each in ranks)) > 0:
        measured["data_wait_share"] = round(sum(each.data for each in ranks) / total, 4)
        measured["communication_share"] = round(sum(each.communication for each in ranks) / total, 4)
    rate = row.windows_per_second * run.window_flops
    measured["flops_per_second"] = float(rate)
    if (peak := peak_of(run)) is not None:
        measured["peak_share"] = float(f"{rate / (peak * run.ranks.world):.4g}")
    return replace(row, **measured | watchers.measured())


def gathered(ranks: Ranks, spent: Spent) -> list[RankTimes]:
    """Every rank's times, in rank order: one small sum over the ranks."""
    name = socket.gethostname().encode()[: _BYTES * _INTEGERS].ljust(_BYTES * _INTEGERS, b"\0")
    mine = [
        *(
            round(1e6 * (seconds or 0.0))
            for seconds in (spent.total, spent.parts["data"], spent.parts["communication"])
        ),
        *(int.from_bytes(name[i : i + _BYTES], "big") for i in range(0, len(name), _BYTES)),
    ]
    all_of_them = [0] * (ranks.world * len(mine))
    all_of_them[ranks.rank * len(mine) : (ranks.rank + 1) * len(mine)] = mine
    summed = ranks.sum_integers(*all_of_them)
    return [_times_of(summed[i : i + len(mine)]) for i in range(0, len(summed), len(mine))]


def _times_of(numbers: Sequence[int]) -> RankTimes:
    total, data, communication, *host = numbers
    name = b"".join(part.to_bytes(_BYTES, "big") for part in host).rstrip(b"\0")
    return RankTimes(total / 1e6, data / 1e6, communication / 1e6, name.decode(errors="replace"))


def stragglers(ranks: Sequence[RankTimes]) -> list[tuple[int, float]]:
    """(rank, median) of each rank whose computing takes more than ``SLOWER`` times the (lower) median, and a second."""
    median = statistics.median_low([each.computing for each in ranks])
    limit = max(SLOWER * median, median + _LEAST_SECONDS)
    return [(rank, median) for rank, each in enumerate(ranks) if each.computing > limit]


def peak_of(run: Run) -> float | None:
    """Most operations a second of one rank's device; None: unknown."""
    if run.config.watch.peak_tflops is not None:
        return 1e12 * run.config.watch.peak_tflops
    if run.ranks.device.type != "cuda":
        return None
    return known_peak(torch.cuda.get_device_name(run.ranks.device), run.config.training.precision)
