"""All watchers of a run, called one after the other."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from dcrnn_fast.config.sections import Config
from dcrnn_fast.messages import described, one_line
from dcrnn_fast.records.display import Display
from dcrnn_fast.records.events import Event, Failed, Said
from dcrnn_fast.records.jsonl import EventsFile
from dcrnn_fast.records.metrics_csv import MetricsFile
from dcrnn_fast.records.names import CONFIG
from dcrnn_fast.records.status import StatusFile
from dcrnn_fast.records.watcher import Watcher

WATCHERS: tuple[type[Watcher], ...] = (StatusFile, MetricsFile, EventsFile, Display)
"""in the order in which they are called"""
RUN_FILES = (CONFIG, *(name for kind in WATCHERS for name in kind.files))
"""patterns of a run's files in its results folder"""


_LOOKS_EVERY = 1.0
"""seconds"""


def open_watchers(config: Config, *, on: bool = True, holds: Callable[[], bool] = lambda: True) -> "Watchers":
    """The watchers of a run; with ``on`` False (all ranks but the first) none.

    Args:
        holds: whether the folder is still this run's.
    """
    return Watchers((kind(config) for kind in WATCHERS if on), holds)


class Watchers:
    """Passes each event to every watcher; once the folder is another run's, to none that writes there."""

    def __init__(self, watchers: Iterable[Watcher], holds: Callable[[], bool] = lambda: True) -> None:
        self._watchers = list(watchers)
        self._failed: list[Watcher] = []
        self._holds = holds
        self._held = True
        self._looked = -_LOOKS_EVERY

    def tell(self, event: Event) -> None:
        """Raises a needed watcher's error; of another one a line tells the first, and training goes on."""
        if self._held and time.monotonic() - self._looked >= _LOOKS_EVERY:
            self._held, self._looked = self._holds(), time.monotonic()
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
            self.say(f"{one_line(error)}; training goes on")
            return
        self._watchers.remove(watcher)
        with suppress(Exception):
            watcher.close()
        self.say(f"{type(watcher).__name__} is told no more, training goes on: {one_line(error)}")

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
            self.say(f"{type(watcher).__name__} could not be closed: {one_line(error)}")
