"""How far each rank's clock is from rank 0's."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch.distributed as dist

from dcrnn_fast.ranks.failure import Meeting

_TRIES = 5


class Skew(NamedTuple):
    """Seconds that this rank's clock is ahead of rank 0's, and of the quickest question and answer, which bound the
    error of the first.
    """

    ahead: float
    round_trip: float


def skew_of(meeting: Meeting, clock: Callable[[], float] = time.time) -> Skew:
    """Asks rank 0 for its time through the store; the quickest answer of five counts. All ranks must call it."""
    if meeting.store is None:
        return Skew(0.0, 0.0)
    try:
        return _ask(meeting, meeting.store, clock)
    except RuntimeError as error:
        raise meeting.what_failed("comparing clocks", error) from error


def _ask(meeting: Meeting, store: dist.Store, clock: Callable[[], float]) -> Skew:
    if meeting.is_first:
        for rank in range(1, meeting.world):
            for number in range(_TRIES):
                store.get(f"clock/{rank}/{number}/asked")
                store.set(f"clock/{rank}/{number}/told", repr(clock()))
        return Skew(0.0, 0.0)
    found = []
    for number in range(_TRIES):
        before, began = clock(), time.perf_counter()
        store.set(f"clock/{meeting.rank}/{number}/asked", "")
        told = float(store.get(f"clock/{meeting.rank}/{number}/told"))
        took = time.perf_counter() - began
        found.append(Skew(before + took / 2 - told, took))
    return min(found[1:], key=lambda one: one.round_trip)  # the first waits until rank 0 has come to this rank
