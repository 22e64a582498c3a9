"""Files that are complete or absent: written under another name, synced, renamed. A leaf: everything may import it.

The other name of NAME is ``NAME.tmp-HOST-PROCESS``, with a digest of the machine's name and the process' number: so a
later run knows whether its writer is dead, and clears it.
"""

import errno
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

from dcrnn_fast.errors import UserError
from dcrnn_fast.process import is_running

UNCHANGED = "; nothing there was changed"


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a file for reading; OSError if it is none, such as a pipe, which would be waited for."""
    stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return stream


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no such flag, and no such pipes


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> str:
    """Calls ``write`` with a binary stream and puts the result at ``path`` only when all of it is on the disk.

    A crash, a full disk or an error in ``write`` leaves the former file at ``path``, and no temporary file after an
    error. The stream can seek (a zip archive needs that).

    Returns:
        SHA-256 of the bytes written, as hexadecimal digits.
    Raises:
        UserError: the disk is full or the file cannot be written; the message names the file.
        Any error of ``write``.
    """
    _put({Path(path): write})
    return sha256_of(path)


def write_bytes(
    path: str | Path, payload: bytes | memoryview, before_rename: Callable[[], None] = lambda: None
) -> None:
    """``write_atomically`` of bytes that are in memory.

    Args:
        before_rename: called when the bytes are on the disk, under the temporary name; if it raises, ``path`` stays.
    """
    _put({Path(path): partial(_write, payload=payload)}, before_rename)


def write_together(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Writes and syncs all files of one folder under temporary names, then renames them.

    Returns:
        Their paths.
    Raises:
        UserError: the disk is full or a file cannot be written; the message names the file.
    """
    writes = {folder / name: partial(_write, payload=payload) for name, payload in contents.items()}
    _put(writes)
    return list(writes)


def _write(stream: BinaryIO, payload: bytes | memoryview) -> None:
    stream.write(payload)


def beside(path: Path) -> Path:
    """The name under which this process writes a file before it gets its own; ``clear_leftovers`` knows it."""
    return path.with_name(f"{path.name}.tmp-{_writer()}")


def _put(writes: Mapping[Path, Callable[[BinaryIO], object]], before_rename: Callable[[], None] = lambda: None) -> None:
    """Writes and syncs all files (of one folder) under temporary names, then renames them."""
    temporaries = {path: beside(path) for path in writes}
    changed, path = UNCHANGED, Path()
    try:
        for path, write in writes.items():
            with open(temporaries[path], "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        before_rename()
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
            changed = ""
        sync_folder(path.parent)
    except BaseException as error:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        # torch.save turns the stream's OSError (disk full) into a RuntimeError that keeps it as its context.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError):
            raise UserError(f"cannot write {path}: {cause.strerror or cause}{changed}") from error
        raise


def require_writable_folder(path: str | Path, what: str) -> Path:
    """Makes the folder if it is missing and checks that files can be made in it.

    Args:
        what: the user's word for the folder, for the message ("results folder").
    Raises:
        UserError: it cannot be made or written, or it is not a folder.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try_file(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _not_writable(path, what, error) from error
    return path


def require_creatable_folder(path: str | Path, what: str) -> Path:
    """Checks that files can be made in the folder, or if it is missing, that it can be made; makes nothing.

    Args:
        what: as in ``require_writable_folder``; call that one when the first file is written.
    Raises:
        UserError: neither is possible, or it is not a folder.
    """
    path = Path(path)
    try:
        _try_file(_nearest_folder(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _not_writable(path, what, error) from error
    return path


@contextmanager
def folder_for_new_files(path: str | Path, what: str) -> Iterator[Path]:
    """``require_writable_folder``; if the block fails and leaves nothing in new folders, they are removed.

    Raises:
        UserError: as ``require_writable_folder``.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        yield require_writable_folder(path, what)
    except BaseException:
        for folder in made:
            if not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
        raise


def require_apart(outputs: Iterable[str | Path], inputs: Iterable[str | Path | None], flag: str) -> None:
    """Checks that no output replaces an input, whatever links, spellings and relative paths lead to the two.

    Args:
        outputs: files that would be written or removed; the last part may be a pattern such as map*.png.
        inputs: files, and folders for all files in them; None and paths that are not there (names of data sets) are
            skipped.
        flag: the flag that sets the outputs' place, for the message.
    Raises:
        UserError: one does.
    """
    read: dict[object, Path] = {}
    for path in (Path(path) for path in inputs if path is not None):
        for file in (path, *_files_in(path)):
            read |= dict.fromkeys(_identities(file), file)
    for output in map(Path, outputs):
        for there in (output, *_files_in(output.parent, output.name)):
            if (found := next((read[name] for name in _identities(there) if name in read), None)) is not None:
                raise UserError(f"{output} would replace {found}, which is an input: give another {flag}")


def _files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Files of a folder, also those whose names a file system without case would take for ones of the pattern."""
    found = []
    for file in _listed(folder) if "*" in pattern else ():
        if fnmatch(file.name, pattern) or (
            fnmatch(file.name.casefold(), pattern.casefold()) and os.path.exists(file.with_name(file.name.swapcase()))
        ):
            found.append(file)
    return found


def _listed(folder: Path) -> list[Path]:
    """What a folder holds; nothing if it is none, or must not be read."""
    try:
        return list(folder.iterdir())
    except (OSError, ValueError):
        return []


def _identities(path: Path) -> list[object]:
    """By which a file is known: as ``os.path.samefile`` does, and by its path where numbers of files do not last."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [] if os.path.isdir(path) else [(status.st_dev, status.st_ino), os.path.realpath(path)]


def clear_leftovers(folder: str | Path, names: Iterable[str]) -> None:
    """Removes what killed processes left while they wrote these files: never a living process' or another machine's.

    Args:
        names: of files that this package writes there; each may be a pattern such as map*.png.
    """
    names = tuple(names)
    for path in _listed(Path(folder)):
        if not (found := _LEFTOVER.fullmatch(path.name)):
            continue
        of_ours = found["name"] is None or any(fnmatch(found["name"], name) for name in names)
        if of_ours and found["host"] in (None, _host()) and not _is_alive(int(found["process"])):
            with suppress(OSError):  # gone, or another user's
                path.unlink()


# Without a host: of versions before 2026-12.
_LEFTOVER = re.compile(r"(?:(?P<name>.+)\.tmp|\.writable)-(?:(?P<host>[0-9a-f]{8})-)?(?P<process>\d{1,9})")


def _writer() -> str:
    return f"{_host()}-{os.getpid()}"


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    """Whether another process has this number; this one, which asks before it writes, left nothing behind."""
    return process not in (0, os.getpid()) and is_running(process)


def _nearest_folder(path: Path) -> Path:
    """The folder, or the nearest one above it that exists; OSError if that is no folder."""
    for folder in (path, *path.absolute().parents):
        try:
            folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not folder.is_dir():
            number = errno.ENOTDIR if folder.exists() else errno.ENOENT  # a link that leads nowhere
            raise OSError(number, os.strerror(number))
        break
    return folder


def _try_file(folder: Path) -> None:
    probe = folder / f".writable-{_writer()}"
    with open(probe, "wb"):
        pass
    probe.unlink()


def _not_writable(path: Path, what: str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{what} {path} cannot be written: {reason}; name a folder that you may write to")


def sync_folder(folder: Path) -> None:
    """Puts the renames of a folder on the disk."""
    # A rename is durable only once its folder is synced. Windows cannot open folders and needs no such call.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
