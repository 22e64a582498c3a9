"""The interface of a watcher; ``watchers.py`` lists all of them."""

from typing import ClassVar

from dcrnn_fast.config.sections import Config
from dcrnn_fast.records.events import Event


class Watcher:
    """Sees a run's events on rank 0. It never reaches into the run, and the run never asks it anything.

    Attributes:
        needed: its failure ends the run. Any other failure is told in a line, and training goes on.
        lasting: after a failure it is told the next event all the same; otherwise it is dropped.
        files: patterns of its files in the results folder: a new run sets them aside, none may be an input.
    """

    needed: ClassVar[bool] = False
    lasting: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config) -> None:
        """Opens nothing in the results folder yet: until ``Started`` an earlier run's files stand there."""

    def see(self, event: Event) -> None:
        """Called with each event, between two steps: slow work here delays training."""
        raise NotImplementedError

    def close(self) -> None:
        """Called once, also when training fails."""
