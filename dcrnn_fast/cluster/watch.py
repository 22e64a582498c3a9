"""The launcher's loop: a log for each rank, one rank's failure stops all, signals reach all, a hang-up none."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from dcrnn_fast.cluster.link import Link, Place
from dcrnn_fast.cluster.node import was_suspended
from dcrnn_fast.cluster.rank_processes import SAVING_SECONDS
from dcrnn_fast.errors import MISTAKE, STOPPED, UserError
from dcrnn_fast.files import require_writable_folder

_TICK = 0.1
_SETTLE_SECONDS = 4.0
"""for which the others may say why they end too, before they are told to stop"""
_LAST_LINES = 15
_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")


def run_places(places: Sequence[Place], results: Path) -> int:
    """Starts all places' ranks and watches them until every one has ended.

    The words of rank 0 go to stdout; every rank's to ``RESULTS/logs/rank_NNN.log``, where earlier ones stay.

    Returns:
        0 all trained; 2 a user's mistake; 85 stopped by a signal and resumable; 1 otherwise.
    Raises:
        UserError: the logs cannot be written, or a host's first program cannot be started.
    """
    logs = require_writable_folder(results / "logs", "folder of the logs")
    with ExitStack() as stack:
        watch = _Watch(logs, stack)
        before = {name: signal.signal(getattr(signal, name), watch.on_signal) for name in (*_SIGNALS, "SIGHUP")}
        try:
            for place in places:
                watch.start(place)
            return watch.until_over()
        finally:
            watch.cut_all()
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)


def cause(failures: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Of ranks and exit codes in the order of their ends, the one that explains the others.

    The first that a signal ended, else the first that has failed otherwise than by a mistake, else the lowest rank:
    ranks that have lost another one end with 1, and of a mistake rank 0 tells.
    """
    return min(failures, key=lambda one: (one[1] >= 0, one[1] == MISTAKE, one[0] if one[1] == MISTAKE else 0))


class _Watch:
    def __init__(self, logs: Path, stack: ExitStack) -> None:
        self._logs = logs
        self._stack = stack
        self._files: dict[int, BinaryIO] = {}
        self._links: list[Link] = []
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._signals: list[int] = []
        self._asked_by = ""
        self._failures: list[tuple[int, int]] = []
        """ranks and exit codes of those that failed before all were told to stop"""
        self._lost: list[str] = []
        self._stop_at: float | None = None
        self._cut_at: float | None = None
        self._warned = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A hang-up ends nothing: the logs are files."""
        if number != signal.SIGHUP:
            self._signals.append(number)

    def start(self, place: Place) -> None:
        for rank in range(place.first, place.first + place.count):
            path = self.log_of(rank)
            try:
                self._files[rank] = self._stack.enter_context(path.open("ab", buffering=0))
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        link = Link(place)
        self._links.append(link)
        self._selector.register(link.lines, selectors.EVENT_READ, link)

    def log_of(self, rank: int) -> Path:
        return self._logs / f"rank_{rank:03d}.log"

    def until_over(self) -> int:
        """The loop; returns the exit code."""
        while any(not link.gone for link in self._links):
            began = time.monotonic()
            for key, _ in self._selector.select(_TICK):
                self._hear(key.data)
            for link in self._links:
                if not link.gone and not link.over:
                    link.show_life()
                    if link.silent and not was_suspended(began):
                        self._lose(link, "it is silent")
            while self._signals:
                self._pass_on(self._signals.pop(0))
            self._stop_if_due()
        return self._verdict()

    def cut_all(self) -> None:
        """Leaves no process behind, whatever happened."""
        for link in self._links:
            if link.over:
                link.end(10.0)
            else:
                link.cut()

    def _hear(self, link: Link) -> None:
        for fact in link.read():
            if "out" in fact:
                self._write(int(fact["rank"]), str(fact["out"]))
            elif "exit" in fact and fact["exit"] not in (0, STOPPED):
                self._fail(int(fact["rank"]), int(fact["exit"]))
        if link.gone:
            self._selector.unregister(link.lines)
            if not link.over:
                self._lose(link, "the connection ended")

    def _fail(self, rank: int, code: int) -> None:
        if self._cut_at is None:
            if not self._asked_by:
                self._failures.append((rank, code))
            self._stop_at = self._stop_at or time.monotonic() + _SETTLE_SECONDS

    def _lose(self, link: Link, why: str) -> None:
        said = next((line for line in reversed(link.noise) if line.strip()), "")
        self._lost.append(f"host {link.place.host} was lost: {why}" + (f": {said}" if said else ""))
        if not link.gone:
            self._selector.unregister(link.lines)
            link.gone = True
        link.cut()
        self._stop_at = self._stop_at or time.monotonic()

    def _pass_on(self, number: int) -> None:
        if self._asked_by:  # once more: whoever asks does not want to wait
            self._tell("stopping at once: what was saved last stays")
            self._stop(10.0)
            return
        self._asked_by = signal.Signals(number).name
        self._tell(f"{self._asked_by}: all ranks finish their step, save and stop; once more stops them at once")
        for link in self._links:
            link.order(f"signal {number}")

    def _stop_if_due(self) -> None:
        ended = all(link.over or link.gone for link in self._links)
        if self._stop_at is not None and self._cut_at is None and not ended and time.monotonic() > self._stop_at:
            self._stop(SAVING_SECONDS)
        if self._cut_at is not None and time.monotonic() > self._cut_at:
            for link in self._links:
                if not link.gone and not link.over:
                    self._lose(link, "its ranks did not end")

    def _stop(self, seconds: float) -> None:
        for link in self._links:
            link.order(f"stop {seconds:g}")
        self._cut_at = time.monotonic() + seconds + SAVING_SECONDS

    def _verdict(self) -> int:
        codes = {rank: code for link in self._links for rank, code in link.exits.items()}
        if self._lost:
            for line in self._lost:
                self._tell(line)
            return 1
        if self._failures:
            rank, code = cause(self._failures)
            self._show(rank, code)
            return MISTAKE if code == MISTAKE else 1
        if all(code == 0 for code in codes.values()):
            return 0
        # Python dies of a signal that comes before the trainer listens: nothing had begun.
        if all(code in (0, STOPPED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1) for code in codes.values()):
            self._tell("stopped; the same command goes on where it stopped")
            return STOPPED
        rank, code = next((rank, code) for rank, code in sorted(codes.items()) if code not in (0, STOPPED))
        self._show(rank, code)
        return MISTAKE if code == MISTAKE else 1

    def _show(self, rank: int, code: int) -> None:
        """Says which rank failed; its last lines too, unless they were shown as they came."""
        host = next(link.place.host for link in self._links if rank in link.exits)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        if rank == 0:
            self._tell(f"rank 0 on {host} {how}; its log: {self.log_of(0)}")
            return
        self._tell(f"rank {rank} on {host} {how}; the end of {self.log_of(rank)}:")
        with suppress(OSError):
            tail = self.log_of(rank).read_bytes()[-8192:].decode("utf-8", "replace").splitlines()
            for line in tail[-_LAST_LINES:]:
                self._tell(f"  {line}")

    def _write(self, rank: int, text: str) -> None:
        try:
            self._files[rank].write(text.encode())
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._tell(f"cannot write {self.log_of(rank)}: {error.strerror or error}; the run goes on")
        if rank == 0:
            _print(text, sys.stdout.fileno())

    def _tell(self, line: str) -> None:
        _print(f"dcrnn-fast launch: {line}\n", sys.stderr.fileno())


def _print(text: str, descriptor: int) -> None:
    """Prints to a terminal that may have been closed."""
    with suppress(OSError):
        os.write(descriptor, text.encode())
