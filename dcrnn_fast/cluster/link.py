"""The launcher's end of the pipes to one host's ``node``: a child process, over ssh or on this machine."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dcrnn_fast.cluster.node import ALIVE_EVERY, MARK, QUIET_SECONDS
from dcrnn_fast.errors import UserError

_LONGEST_LINE = 1 << 22


@dataclass(frozen=True, slots=True)
class Place:
    """A host's part of a run: ranks ``first`` .. ``first + count - 1``, and the words that start its ``node``."""

    host: str
    first: int
    count: int
    command: tuple[str, ...]


class Link:
    """A running ``node``: orders go there, lines come back."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.exits: dict[int, int] = {}
        self.over = False
        """whether it has told that all its ranks have ended"""
        self.gone = False
        """whether the process that leads there has ended"""
        self._rest = b""
        self._heard_at = time.monotonic()
        self._spoke_at = 0.0
        self.noise: list[str] = []
        """the last lines of the way there: ssh's, a login shell's, or a traceback"""
        try:
            self._process = subprocess.Popen(
                place.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C and hang-up are for the launcher
            )
        except OSError as error:
            raise UserError(f"cannot start {place.command[0]}: {error.strerror or error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin.fileno()
        self.lines = self._process.stdout.fileno()
        os.set_blocking(self.lines, False)
        os.set_blocking(self._orders, False)

    def read(self) -> Iterator[dict[str, Any]]:
        """What has come since; ``gone`` is true when nothing more will come."""
        try:
            content = os.read(self.lines, 1 << 16)
        except BlockingIOError:
            return
        if not content:
            self.gone = True
            return
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
        for line in lines:
            self._heard_at = time.monotonic()
            if (fact := _fact(line)) is None:
                self.noise = [*self.noise[-20:], line.decode("utf-8", "replace").rstrip()]
                continue
            if "exit" in fact:
                self.exits[int(fact["rank"])] = int(fact["exit"])
            self.over = self.over or "over" in fact
            yield fact

    @property
    def silent(self) -> bool:
        """Whether nothing was heard of it for too long."""
        return time.monotonic() - self._heard_at > QUIET_SECONDS

    def show_life(self) -> None:
        """Tells it, now and then, that the launcher lives."""
        if time.monotonic() - self._spoke_at > ALIVE_EVERY:
            self.order("alive")

    def order(self, words: str) -> None:
        """Sends an order; a node that has gone gets none."""
        self._spoke_at = time.monotonic()
        with suppress(OSError):  # a pipe that is full or closed: the node is silent, or over
            os.write(self._orders, f"{words}\n".encode())

    def cut(self) -> None:
        """Ends the way there; the node, if it lives, notices it and stops its ranks."""
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]

    def end(self, seconds: float) -> None:
        """Waits for the end of a node that is over, and cuts the way if it does not come."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.cut()


def _fact(line: bytes) -> dict[str, Any] | None:
    """A line of the node's; None: of somebody else."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and MARK in values else None


def place_words(
    python: Sequence[str],
    place: tuple[int, int],
    world: int,
    master: tuple[str, int],
    peer: str,
    training: Sequence[str],
) -> list[str]:
    """The words that start ``node`` for ``place``, a first rank and a number of ranks."""
    words = [*python, "-u", "-m", "dcrnn_fast.cluster.node", "--first", str(place[0]), "--count", str(place[1])]
    words += ["--world", str(world), "--master-addr", master[0], "--master-port", str(master[1])]
    words += ["--peer", peer] if peer else []
    return [*words, "--", *training]
