"""All watchers of a run, called one after the other."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from dcrnn_fast.config.sections import Config
from dcrnn_fast.messages import described, one_line
from dcrnn_fast.records.cpu_monitor import CpuMonitor
from dcrnn_fast.records.display import Display
from dcrnn_fast.records.events import Event, Failed, Said
from dcrnn_fast.records.gpu_monitor import GpuMonitor
from dcrnn_fast.records.jsonl import EventsFile
from dcrnn_fast.records.metrics_csv import MetricsFile
from dcrnn_fast.records.names import CONFIG
from dcrnn_fast.records.queued import Queued
from dcrnn_fast.records.status import StatusFile
from dcrnn_fast.records.tensorboard import TensorBoard
from dcrnn_fast.records.timing import TimingFile
from dcrnn_fast.records.wandb import WeightsAndBiases
from dcrnn_fast.records.watcher import FIRST, Place, Watcher

WATCHERS: tuple[type[Watcher], ...] = (
    StatusFile,
    MetricsFile,
    EventsFile,
    TimingFile,
    GpuMonitor,
    CpuMonitor,
    TensorBoard,
    WeightsAndBiases,
    Display,
)
"""in the order in which they are called"""
RUN_FILES = (CONFIG, *(name for kind in WATCHERS for name in kind.files))
"""patterns of a run's files in its results folder"""


_LOOKS_EVERY = 1.0
"""seconds"""


def open_watchers(config: Config, place: Place = FIRST, holds: Callable[[], bool] = lambda: True) -> "Watchers":
    """The watchers of a rank.

    Args:
        holds: whether the folder is still this run's.
    """
    made: list[Watcher] = []
    problems = []
    for kind in WATCHERS:
        if place.has(kind.where) and kind.wanted(config):
            try:
                watcher = kind(config, place)
            except Exception as error:  # its package is broken, say
                if kind.needed:
                    raise
                problems.append(f"{kind.__name__} cannot begin, training goes on: {described(error)}")
                continue
            made.append(Queued(watcher) if watcher.slow else watcher)
    watchers = Watchers(made, holds, place.rank)
    for problem in problems:
        watchers.complain(problem)
    return watchers


def require_packages(config: Config) -> None:
    """Raises UserError if a watcher that is asked for needs what is not installed."""
    for kind in WATCHERS:
        if kind.wanted(config):
            kind.require(config)


class Watchers:
    """Passes each event to every watcher; once the folder is another run's, to none that writes there."""

    def __init__(self, watchers: Iterable[Watcher], holds: Callable[[], bool] = lambda: True, rank: int = 0) -> None:
        self._watchers = list(watchers)
        self._rank = rank
        self._failed: list[Watcher] = []
        self._holds = holds
        self._held = True
        self._looked = -_LOOKS_EVERY

    def tell(self, event: Event) -> None:
        """Raises a needed watcher's error; of another one a line tells the first, and training goes on."""
        if self._held and time.monotonic() - self._looked >= _LOOKS_EVERY:
            self._held, self._looked = self._holds(), time.monotonic()
            for watcher in () if self._held else self._watchers:
                if watcher.files:
                    watcher.lose()
        for watcher in tuple(self._watchers):
            if watcher.files and not self._held:
                continue
            try:
                watcher.see(event)
            except Exception as error:
                if watcher.needed:
                    raise
                self._pass_over(watcher, error)

    def _pass_over(self, watcher: Watcher, error: Exception) -> None:
        if watcher in self._failed:
            return
        self._failed.append(watcher)
        if watcher.lasting:
            self.complain(f"{one_line(error)}; training goes on")
            return
        self._watchers.remove(watcher)
        with suppress(Exception):
            watcher.close()
        self.complain(f"{watcher.name} is told no more, training goes on: {one_line(error)}")

    def complain(self, line: str) -> None:
        """A line about a watcher of this rank."""
        if self._rank == 0:
            self.say(line)
        else:  # nobody shows what is said here
            print(f"rank {self._rank}: {line}", flush=True)

    def measured(self) -> dict[str, float]:
        """What the watchers have measured of the epoch that is over, by column."""
        found: dict[str, float] = {}
        for watcher in tuple(self._watchers):
            try:
                found |= watcher.measured()
            except Exception as error:
                self._pass_over(watcher, error)
        return found

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Tells ``Failed`` if the body raises."""
        try:
            yield
        except BaseException as error:
            with suppress(Exception):  # the error in the body is the one to report
                self.tell(Failed(described(error)))
            raise

    def say(self, line: str) -> None:
        """A line for the user."""
        self.tell(Said(line))

    def close(self) -> None:
        """Closes all of them, the last first, even if one of them raises."""
        with ExitStack() as stack:
            for watcher in self._watchers:
                stack.callback(self._close, watcher)

    def _close(self, watcher: Watcher) -> None:
        try:
            watcher.close()
        except Exception as error:
            if watcher.needed:
                raise
            self._watchers.remove(watcher)
            self.complain(f"{watcher.name} could not be closed: {one_line(error)}")
