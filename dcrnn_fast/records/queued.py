"""A slow watcher in a thread of its own: the run never waits for it."""

import threading
from collections import deque
from collections.abc import Callable

from dcrnn_fast.errors import UserError
from dcrnn_fast.records.events import Event, Stepped
from dcrnn_fast.records.watcher import Watcher

CLOSE_SECONDS = 20.0
"""for which the end of a run waits for one that does not come back: less than the 30 after which launchers kill"""
_WAITING = 1000
"""events that may wait before steps are left out"""


class Queued(Watcher):
    """Hands each event on to ``watcher`` in its thread; of a crowd it leaves out ``Stepped``, never another.

    A failure is raised when the next event comes, and then it is told no more.
    """

    def __init__(self, watcher: Watcher, close_seconds: float = CLOSE_SECONDS) -> None:
        self._watcher = watcher
        self.files = watcher.files  # type: ignore[misc]  # of this one
        self._close_seconds = close_seconds
        self._events: deque[Event | None] = deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=watcher.name, daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._watcher.name

    def see(self, event: Event) -> None:
        """Raises what the watcher raised."""
        if self._error is not None:
            raise self._error
        if isinstance(event, Stepped) and len(self._events) >= _WAITING:
            return
        self._put(event)

    def lose(self) -> None:
        self._events.clear()
        self._watcher.lose()

    def close(self) -> None:
        """Raises what the watcher raised, or UserError if it does not come back."""
        self._put(None)
        self._thread.join(self._close_seconds)
        if self._thread.is_alive():
            raise UserError(f"it has not come back for {self._close_seconds:g} s; what it still had is left out")
        if self._error is not None:
            raise self._error

    def _put(self, event: Event | None) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._hand_on(self._watcher.see)
            self._watcher.close()
        except Exception as error:
            self._error = error

    def _hand_on(self, see: Callable[[Event], None]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events)
                event = self._events.popleft()
            if event is None:
                return
            see(event)
