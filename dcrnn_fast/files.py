"""Files that are complete or absent: written under another name, synced, renamed. A leaf: everything may import it."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import BinaryIO

from dcrnn_fast.errors import UserError


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


def write_bytes(path: str | Path, payload: bytes | memoryview) -> None:
    """``write_atomically`` of bytes that are in memory."""
    _put({Path(path): partial(_write, payload=payload)})


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


def _put(writes: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Writes and syncs all files (of one folder) under temporary names, then renames them."""
    beside = {path: path.with_name(f"{path.name}.tmp-{os.getpid()}") for path in writes}
    changed, path = "; nothing there was changed", Path()
    try:
        for path, write in writes.items():
            with open(beside[path], "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        for path, temporary in beside.items():
            os.replace(temporary, path)
            changed = ""
        _sync_folder(path.parent)
    except BaseException as error:
        for temporary in beside.values():
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
    except OSError as error:
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
    except OSError as error:
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
    """Checks that no output replaces an input.

    Args:
        outputs: paths of files; the last part may be a pattern such as map*.png.
        inputs: None and names of data sets, which are no files, are skipped.
        flag: the flag that sets the outputs' place, for the message.
    Raises:
        UserError: one is.
    """
    read = [Path(path).resolve() for path in inputs if path is not None and Path(path).is_file()]
    for output in map(Path, outputs):
        folder = output.parent.resolve()
        for path in read:
            if path.parent == folder and fnmatch(path.name, output.name):
                raise UserError(f"{output} would replace {path}, which is read here: give another {flag}")


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
    probe = folder / f".writable-{os.getpid()}"
    with open(probe, "wb"):
        pass
    probe.unlink()


def _not_writable(path: Path, what: str, error: OSError) -> UserError:
    reason = error.strerror or error
    return UserError(f"{what} {path} cannot be written: {reason}; name a folder that you may write to")


def _sync_folder(folder: Path) -> None:
    # A rename is durable only once its folder is synced. Windows cannot open folders and needs no such call.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
