"""What the two monitors share: a thread that reads, rows that the run's own thread writes, and their mean an epoch."""

import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular, write_bytes
from dcrnn_fast.records.events import Event, Started, Starting
from dcrnn_fast.records.lines import append, csv_line
from dcrnn_fast.records.watcher import Place, Watcher

_CLOSE_SECONDS = 5.0
"""for which the end of a run waits for a reading that does not come back"""


class Monitor(Watcher):
    """Reads every so often in a thread of its own, from ``Started`` to ``close``; writes between two steps.

    The thread never touches the file: it cannot write to a folder that is another run's by then, and an error is told
    where all others are.
    """

    where = "hosts"
    lasting = True
    stem: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    averaged: ClassVar[Mapping[str, str]]
    """its columns whose mean is a column of ``EpochRow``, and that one's name"""

    def __init__(self, config: Config, place: Place) -> None:
        self._host = socket.gethostname()
        name = self.stem if place.rank == 0 else f"{self.stem}_{self._host.replace('/', '_')}"
        self._path = Path(config.output.results, f"{name}.csv")
        self._every = config.watch.monitor_every
        self._fresh: deque[tuple[Any, ...]] = deque()
        self._error: Exception | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._resumed = self._begun = self._lost = False
        self._unwritten = b""
        self._seen: dict[str, list[float]] = {name: [] for name in self.averaged}

    def open(self) -> None:
        """Called once, in the thread."""
        raise NotImplementedError

    def read(self) -> list[list[object]]:
        """Rows of now, without time and host; None is an empty cell. Called in the thread."""
        raise NotImplementedError

    def shut(self) -> None:
        """Called once, in the thread, if ``open`` came back."""

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written, and once when there is nothing to read."""
        match event:
            case Starting():
                pass
            case Started():
                self._resumed = event.resumed
                self._thread = threading.Thread(target=self._run, name=self.stem, daemon=True)
                self._thread.start()
            case _ if self._fresh or self._unwritten or self._error:
                self._write()

    def measured(self) -> dict[str, float]:
        self._collect()
        found = {self.averaged[name]: sum(seen) / len(seen) for name, seen in self._seen.items() if seen}
        self._seen = {name: [] for name in self.averaged}
        return found

    def lose(self) -> None:
        self._lost = True
        self._over.set()

    def close(self) -> None:
        """Raises UserError if the last reading does not come back, or cannot be written."""
        if self._thread is None:
            return
        self._over.set()
        self._thread.join(_CLOSE_SECONDS)
        if not self._lost:
            self._write()
        if self._thread.is_alive():
            raise UserError(f"a reading for {self._path.name} has not come back for {_CLOSE_SECONDS:g} s")

    def _run(self) -> None:
        try:
            self.open()
            try:
                began = time.monotonic()
                while not self._over.wait(max(began + self._every - time.monotonic(), 0.0)):
                    began = time.monotonic()
                    self._read()
                if time.monotonic() - began > 0.05:  # what the last moments were like, and of a short run all of it
                    self._read()
            finally:
                self.shut()
        except Exception as error:
            self._error = error

    def _read(self) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._fresh.extend((now, self._host, *cells) for cells in self.read())

    def _collect(self) -> None:
        while self._fresh:
            row = self._fresh.popleft()
            self._unwritten += csv_line(row)
            for name, seen in self._seen.items():
                if (value := row[self.columns.index(name)]) is not None:
                    seen.append(float(value))

    def _write(self) -> None:
        self._collect()
        try:
            if self._unwritten:
                if not self._begun:
                    self._begin()
                append(self._path, self._unwritten)
                self._unwritten = b""
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror or error}") from error
        if (problem := self._error) is not None:
            self._error = None
            raise problem

    def _begin(self) -> None:
        """The header, and of a resumed run what stands there, less a row that a kill has torn."""
        # A host may have a disk of its own, on which nobody has made the folder, or moved an earlier run's file.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = b""
        if self._resumed and self._path.is_file():
            with open_regular(self._path) as stream:
                content = stream.read()
        header = csv_line(self.columns)
        whole = content[: content.rfind(b"\n") + 1]
        if not whole.startswith(header):
            whole = header
        if whole != content:
            write_bytes(self._path, whole)
        self._begun = True
