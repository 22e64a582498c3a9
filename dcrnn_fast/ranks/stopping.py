"""Stopping on request: a signal sets a flag, the loop finishes its step, saves, and all ranks stop together."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dcrnn_fast.process import parent_of
from dcrnn_fast.ranks.environment import signals_of_torchrun

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
# torchrun passes a Ctrl-C on to ranks that the terminal has already interrupted: a second one so soon is the same one.
_SAME_REQUEST_SECONDS = 3.0


class StopRequest:
    """Whether this rank was asked to stop, and by which signal.

    If torchrun itself has gone, that is a request too: nobody watches over the ranks any more, and a job scheduler
    may start the next run beside them.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}
        self._torchrun: int | None = None

    @property
    def requested(self) -> bool:
        if not self.signal_name and self._torchrun is not None and _starter() != self._torchrun:
            passed_on = "SIGUSR1" in signals_of_torchrun()
            self.signal_name = "SIGKILL to torchrun" if passed_on else "SIGUSR1 or SIGKILL to torchrun"
            self._asked_at = time.monotonic()
        return bool(self.signal_name)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. A second Ctrl-C, seconds later, interrupts at once."""
        now = time.monotonic()
        if self.requested and number == signal.SIGINT and now - self._asked_at > _SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
        if not self.requested:
            self.signal_name, self._asked_at = signal.Signals(number).name, now

    def listen(self) -> None:
        """Takes the signals, and torchrun's end.

        Python delivers signals to the main thread only: called from another one, nothing happens.
        """
        if "TORCHELASTIC_RUN_ID" in os.environ:
            self._torchrun = _starter()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self.handle) for number in _SIGNALS}

    def end_at_once(self) -> None:
        """From now on a signal interrupts, as Ctrl-C does: there is nothing more to save, but folders to give back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.default_int_handler if handler == signal.SIG_DFL else handler)

    def release(self) -> None:
        """Restores the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _starter() -> int:
    """The process that started this session, as torchrun starts one for each rank; a reaper if it is gone."""
    leader = os.getsid(0)
    return os.getppid() if leader == os.getpid() else parent_of(leader)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM, SIGINT and SIGUSR1 ask to stop while the body runs, or until it calls ``release``."""
    request = StopRequest()
    request.listen()
    try:
        yield request
    finally:
        request.release()
