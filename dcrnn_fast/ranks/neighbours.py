"""Which ranks share a machine, and how many of its cores are this one's."""

import os
import socket
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from dcrnn_fast.process import this_process
from dcrnn_fast.ranks.failure import Meeting


class Neighbours(NamedTuple):
    """The ranks on this machine: this one's number among them, how many they are, and its share of the cores."""

    rank: int
    number: int
    cores: int


class Seat(NamedTuple):
    """Where a rank runs: its machine's name, that machine's start, and the cores that it may use."""

    host: str
    system: str
    cores: list[int]

    @classmethod
    def of_this_process(cls) -> "Seat":
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        # Without the container: ranks in containers of their own share the machine's cores and devices all the same.
        return cls(socket.gethostname(), this_process().system.partition("/")[0], sorted(cores))


def counted_here(meeting: Meeting) -> Neighbours:
    """Tells all ranks where this one is, and counts those beside it. All ranks must call it."""
    seats = [Seat(*seat) for seat in meeting.exchange("telling each other where they are", Seat.of_this_process())]
    meeting.hosts = tuple(seat.host for seat in seats)
    return neighbours(seats, meeting.rank)


def binding_notes(here: Neighbours, cores_of_machine: int) -> list[str]:
    """A note if the launcher has bound each rank to one core of many, as mpirun does unless it is told otherwise."""
    if here.cores > 1 or cores_of_machine < 2 * here.number:
        return []
    return [
        f"this rank may use 1 of the machine's {cores_of_machine} cores, which {here.number} ranks share: mpirun "
        "--bind-to none, or srun --cpus-per-task, gives it more"
    ]


def neighbours(seats: Sequence[Seat], rank: int) -> Neighbours:
    """The ranks on the machine of ``rank``; a core that several of them may use is shared evenly."""
    own = seats[rank]
    here = [number for number, seat in enumerate(seats) if seat[:2] == own[:2]]
    users = [sum(core in seats[number].cores for number in here) for core in own.cores]
    share = sum((Fraction(1, count) for count in users), Fraction(0))
    return Neighbours(here.index(rank), len(here), max(1, int(share)))
