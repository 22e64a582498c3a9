"""Stopping on request: a signal sets a flag, the loop finishes its step, saves, and all ranks stop together."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
# torchrun passes a Ctrl-C on to ranks that the terminal has already told: a second one so soon is the same one.
_SAME_REQUEST_SECONDS = 3.0


class StopRequest:
    """Whether this rank was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal_name = ""
        self._asked_at = 0.0

    @property
    def requested(self) -> bool:
        return bool(self.signal_name)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. A second Ctrl-C, seconds later, interrupts at once."""
        now = time.monotonic()
        if self.requested and number == signal.SIGINT and now - self._asked_at > _SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
        if not self.requested:
            self.signal_name, self._asked_at = signal.Signals(number).name, now


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM, SIGINT and SIGUSR1 ask to stop while the body runs; the handlers before are put back after it.

    Python delivers signals to the main thread only: called from another one, nothing is changed and nothing can ask.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
