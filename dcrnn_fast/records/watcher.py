"""The interface of a watcher; ``watchers.py`` lists all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from dcrnn_fast.config.sections import Config
from dcrnn_fast.records.events import Event


@dataclass(frozen=True, slots=True)
class Place:
    """The rank whose events are watched.

    Attributes:
        local_rank: its number on its host.
    """

    rank: int = 0
    local_rank: int = 0
    local_world: int = 1

    def has(self, where: str) -> bool:
        """Whether a watcher of this kind of place is here."""
        return {"first": self.rank == 0, "hosts": self.local_rank == 0 or self.rank == 0, "ranks": True}[where]


FIRST = Place()
"""the only rank, or the first of several"""


class Watcher:
    """Sees a run's events. It never reaches into the run, which asks it for nothing but ``measured``.

    Attributes:
        where: on rank 0, on one rank of each host (rank 0 of its own), or on all of them.
        slow: ``see`` may wait for something outside: it is called in a thread of its own.
        needed: its failure ends the run. Any other failure is told in a line, and training goes on.
        lasting: after a failure it is told the next event all the same; otherwise it is dropped.
        files: patterns of its files in the results folder: a new run sets them aside, none may be an input.
    """

    where: ClassVar[Literal["first", "hosts", "ranks"]] = "first"
    slow: ClassVar[bool] = False
    needed: ClassVar[bool] = False
    lasting: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config, place: Place) -> None:
        """Opens nothing in the results folder yet: until ``Started`` an earlier run's files stand there."""

    @classmethod
    def wanted(cls, config: Config) -> bool:
        """Whether the configuration asks for it."""
        return True

    @classmethod
    def require(cls, config: Config) -> None:
        """Called first, on every rank, before anything is opened.

        Raises:
            UserError: what it needs is not installed.
        """

    @property
    def name(self) -> str:
        """Its name in messages."""
        return type(self).__name__

    def see(self, event: Event) -> None:
        """Called with each event, between two steps: slow work here delays training."""
        raise NotImplementedError

    def measured(self) -> Mapping[str, float]:
        """Its columns of ``EpochRow`` for the epoch that is over; asked once an epoch, before ``EpochDone``."""
        return {}

    def lose(self) -> None:
        """The folder is another run's now: nothing may be written there, not even in ``close``."""

    def close(self) -> None:
        """Called once, also when training fails."""
