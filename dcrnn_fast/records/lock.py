"""One run, one folder: a file that says which run writes there, and what to do when that run is dead.

The file is created exclusively, which network file systems do on their server. A process of this machine is looked up;
of another machine's, only signs of life are seen from here: its run touches the file every few seconds. A run holds
the folder as long as the file bears its ``id``: one that was taken for dead and comes back notices before it writes.
"""

import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.process import Process, this_process

LOCK = "run.lock"
TOUCHED_EVERY = 10.0
"""seconds"""
DEAD_AFTER = 90.0
"""seconds without a touch; a network file system may show one late, by up to 60"""
_TAKING_SECONDS = 5.0
"""that a run may need from the wish to take over a dead one's folder until it has it"""
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Holder:
    """A run, as its lock file names it; ``process`` is None in an empty file, whose run was killed as it wrote it."""

    process: Process | None = field(default_factory=this_process)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def to_bytes(self) -> bytes:
        """As the file has it."""
        assert self.process is not None
        content = {"process": self.process.to_dict(), "since": self.since, "id": self.id}
        return (json.dumps(content, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Holder":
        """``to_bytes`` undone.

        Raises:
            ValueError: this is no lock of a run.
        """
        if not content.strip(b"\0"):  # zeros: of a power cut
            return cls(None, "", "empty")
        try:
            values = json.loads(content)
            since, name = values["since"], values["id"]
            if not (type(since) is str and type(name) is str and name.isalnum() and since.isprintable()):
                raise ValueError("no holder")
            return cls(Process.from_dict(values["process"]), since, name)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("no holder") from error

    def __str__(self) -> str:
        return "an unknown process" if self.process is None else f"{self.process}, started {self.since}"


class FolderLock:
    """The folders that this run writes to, held until ``close``."""

    def __init__(self) -> None:
        self._mine = Holder()
        self._held: dict[Path, str] = {}
        self._said: list[Process | None] = []
        self._over = threading.Event()

    def require_free(self, folders: Mapping[str, Path], say: Callable[[str], None]) -> None:
        """Checks that no other run writes to any of the folders; takes nothing.

        Args:
            folders: by the flag that sets each.
        Raises:
            UserError: one does.
        """
        for flag, folder in folders.items():
            holder = _read(folder / LOCK)
            if holder is not None and holder.id != self._mine.id and _lives(folder / LOCK, holder, say):
                raise _in_use(folder, flag, holder)

    def take(self, folders: Mapping[str, Path], say: Callable[[str], None]) -> None:
        """Takes the folders, which exist; a line says when a dead run had one.

        Raises:
            UserError: another run writes to one of them, or the lock file cannot be written.
        """
        for flag, folder in folders.items():
            path = folder.resolve() / LOCK
            if path not in self._held:
                try:
                    self._take(path, folder, flag, say)
                except OSError as error:
                    raise UserError(f"cannot write {folder / LOCK}: {error.strerror or error}") from error
        threading.Thread(target=self._touch, name="run.lock", daemon=True).start()

    def require_held(self) -> None:
        """Checks that no other run took this one for dead.

        Raises:
            UserError: one did, or the folder is gone.
        """
        for path, flag in self._held.items():
            holder = _read(path)
            if holder is None:  # somebody has removed it
                try:
                    _create(path, self._mine)
                except OSError as error:
                    raise UserError(f"cannot write {path}: {error.strerror or error}") from error
            elif holder.id != self._mine.id:
                raise UserError(
                    f"{path.parent} was taken over by {holder}, which took this run for dead: stopped, nothing more "
                    f"was written there; one of the two needs another {flag}"
                )

    def holds(self) -> bool:
        """Whether no other run is known to have taken this one for dead."""
        for path in tuple(self._held):
            with suppress(UserError):  # a file that cannot be read says nothing
                if (holder := _read(path)) is not None and holder.id != self._mine.id:
                    return False
        return True

    def close(self) -> None:
        """Gives the folders back."""
        self._over.set()
        while self._held:
            path, _ = self._held.popitem()
            with suppress(OSError, UserError):  # a folder that is gone, or no longer ours to write, is free
                if (holder := _read(path)) is not None and holder.id == self._mine.id:
                    path.unlink()

    def _take(self, path: Path, folder: Path, flag: str, say: Callable[[str], None]) -> None:
        give_up = time.monotonic() + _TAKING_SECONDS
        while (holder := _read(path)) is None or holder.id != self._mine.id:
            if holder is None:
                _create(path, self._mine)
            elif _lives(path, holder, say) or time.monotonic() > give_up:
                raise _in_use(folder, flag, holder)
            elif self._succeed(path, holder, say):
                if holder.process not in self._said:  # it may have left more than one folder
                    say(f"{folder} was the folder of {holder}, which is dead: taken over")
                self._said.append(holder.process)
                give_up = time.monotonic() + _TAKING_SECONDS
        self._held[path] = flag
        for claim in path.parent.glob(f"{LOCK}.after-*"):  # of a run that was killed while it took over, or is too late
            claim.unlink(missing_ok=True)

    def _succeed(self, path: Path, dead: Holder, say: Callable[[str], None]) -> bool:
        """Puts this run in the place of a dead one; False: look again."""
        # Only one can create this name, and it lasts until the dead one's file is replaced: two never succeed one.
        claim = path.with_name(f"{LOCK}.after-{dead.id}")
        if not _create(claim, self._mine):
            taker = _read(claim)
            if taker is not None and not _lives(claim, taker, say):
                claim.unlink(missing_ok=True)
            time.sleep(_POLL)
            return False
        now = _read(path)
        if now is None or now.id != dead.id:  # somebody was quicker
            claim.unlink(missing_ok=True)
            return False
        try:
            os.replace(claim, path)
        except FileNotFoundError:  # somebody took this run for dead in between
            return False
        return True

    def _touch(self) -> None:
        while not self._over.wait(TOUCHED_EVERY):
            for path in tuple(self._held):
                try:
                    if (holder := _read(path)) is not None and holder.id == self._mine.id:
                        os.utime(path)
                except (OSError, UserError):  # the disk may come back, and if not, saving a checkpoint says so
                    continue


def is_held_by(folder: Path, process: Process) -> bool:
    """Whether a process of a machine that cannot be seen from here has lately shown signs of life in its folder.

    By the clocks of both machines, which must agree within a minute.
    """
    try:
        touched = os.stat(folder / LOCK).st_mtime
    except OSError:
        return False
    holder = _read(folder / LOCK)
    return holder is not None and holder.process == process and time.time() - touched < DEAD_AFTER


def _in_use(folder: Path, flag: str, holder: Holder) -> UserError:
    return UserError(f"{folder} is in use by another run ({holder}): give another {flag}, or end that run first")


def _create(path: Path, holder: Holder) -> bool:
    """Writes the file if there is none; False: there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, holder.to_bytes())
        os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> Holder | None:
    """The holder; None: the folder is free."""
    try:
        content, _ = _look(path)
        for _ in range(10):
            if content:
                break
            time.sleep(_POLL)  # it is being written
            content, _ = _look(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return Holder.from_bytes(content)
    except ValueError as error:
        raise UserError(f"{path} is not the lock of a run: remove it, or give another folder for this run") from error


def _lives(path: Path, holder: Holder, say: Callable[[str], None]) -> bool:
    """Whether the run goes on; of one that cannot be seen from here, after a wait for a sign of life."""
    if holder.process is not None and holder.process.can_be_seen:
        return holder.process.lives()
    first = touched = _touched(path)
    quiet = 0.0 if touched is None else _now_at(path.parent) - touched
    began = time.monotonic()
    if quiet < DEAD_AFTER:
        say(f"waiting up to {math.ceil(DEAD_AFTER - quiet)} s for a sign of life of {holder} in {path.parent}")
    while touched is not None and touched == first and quiet + time.monotonic() - began < DEAD_AFTER:
        time.sleep(_POLL)
        touched = _touched(path)
    return touched != first and touched is not None


def _touched(path: Path) -> float | None:
    """When the file was touched; None: it is gone."""
    try:
        return _look(path)[1]
    except OSError:
        return None


def _look(path: Path) -> tuple[bytes, float]:
    """The file's content and when it was touched; it is opened, because a network file system then asks its server."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 4096), os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _now_at(folder: Path) -> float:
    """The time by the clock of the file system."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        with open(probe, "wb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
