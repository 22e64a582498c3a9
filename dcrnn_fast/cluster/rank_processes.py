"""The ranks of one host as child processes: started, stopped so that they can save, and none left behind."""

import codecs
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

SAVING_SECONDS = 60.0
"""so long ranks that were told to stop may take before they are killed"""
_OUTPUT_MAY_COME = 2.0
"""seconds in which the output of a process that has ended may still arrive"""
_PR_SET_PDEATHSIG = 1


class RankProcess:
    """One rank, in a session of its own, so that its helpers can be ended with it."""

    def __init__(self, rank: int, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.rank = rank
        self.code: int | None = None
        self.told = False
        """whether it has ended and its end was reported"""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ended_at = 0.0
        self._open = True
        self._process = subprocess.Popen(
            words,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_saves_if_the_parent_dies(),
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)

    def read(self) -> str | None:
        """What it has written since; None: it will write nothing more."""
        try:
            content = os.read(self.output, 65536)
        except BlockingIOError:
            return ""
        if not content:
            self._open = False
            return None
        return self._decoder.decode(content)

    def look(self) -> None:
        """Notices its end, and ends the helpers that it has left."""
        if self.code is None and (code := self._process.poll()) is not None:
            self.code, self._ended_at = code, time.monotonic()
            self.send(signal.SIGKILL)

    @property
    def over(self) -> bool:
        """Whether it has ended and its output was read."""
        if self.code is None:
            return False
        return not self._open or time.monotonic() - self._ended_at > _OUTPUT_MAY_COME

    def send(self, number: int) -> None:
        """Sends a signal: SIGKILL to its helpers too."""
        with suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            elif self.code is None:
                os.kill(self._process.pid, number)


class Stopping:
    """The order to stop: SIGTERM at once, so that ranks save; SIGKILL to those that take too long."""

    def __init__(self, ranks: Sequence[RankProcess]) -> None:
        self._ranks = ranks
        self._kills_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether the order was given."""
        return self._kills_at is not None

    def ask(self, seconds: float = SAVING_SECONDS) -> None:
        """Gives the order; given again, it only shortens the wait."""
        until = time.monotonic() + seconds
        if self._kills_at is None:
            for rank in self._ranks:
                rank.send(signal.SIGTERM)
        self._kills_at = until if self._kills_at is None else min(self._kills_at, until)

    def look(self) -> None:
        """Kills those that took too long."""
        if self._kills_at is not None and time.monotonic() > self._kills_at:
            for rank in self._ranks:
                if rank.code is None:
                    rank.send(signal.SIGKILL)


def _saves_if_the_parent_dies() -> Callable[[], None] | None:
    """For a new process: it gets SIGTERM when this one is killed. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    set_option = ctypes.CDLL(None).prctl

    def in_the_child() -> None:
        set_option(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    return in_the_child
