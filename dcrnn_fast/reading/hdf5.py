"""HDF5 files: opened only if they read no other file of the machine, and data sets only if the file can hold them."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcrnn_fast.errors import UserError

if TYPE_CHECKING:
    import h5py  # 11 MB that only files of this kind need

_MOST_COMPRESSED = 1032
"""bytes that zlib makes of one at most"""
_ALWAYS_HELD = 64 << 20
"""bytes that a file may claim beyond that: values that were never written, only declared"""


@contextmanager
def opened_hdf5(path: Path) -> "Iterator[h5py.File]":
    """An HDF5 file for reading, after ``require_alone``. ``OSError`` and h5py's errors pass.

    Raises:
        UserError: it reads other files (without the path).
    """
    import h5py

    with h5py.File(path, "r") as file:
        require_alone(file)
        yield file


def require_alone(file: "h5py.File") -> None:
    """Checks that a file holds its values itself: links into other files, storage in other files and virtual data sets
    would read any file of the machine that they name.

    Raises:
        UserError: one does not (without the path).
    """
    import h5py

    links: list[tuple[str, int]] = []

    def note(name: bytes, info: Any) -> None:
        links.append((name.decode("utf-8", "replace"), info.type))

    file.id.links.visit(note, info=True)
    for name, kind in links:
        if kind == h5py.h5l.TYPE_SOFT:
            continue
        if kind != h5py.h5l.TYPE_HARD:
            raise _of_others(name, "is a link into another file")
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            continue
        made = item.id.get_create_plist()
        if made.get_external_count():
            raise _of_others(name, "has its values in another file")
        if made.get_layout() == h5py.h5d.VIRTUAL:
            raise _of_others(name, "is put together from other data sets, which may lie in other files")


def _of_others(name: str, what: str) -> UserError:
    return UserError(f"its part {name[-80:]!r} {what}, which is never read: copy the values into the file (h5repack)")


def require_held(item: Any) -> None:
    """Checks a data set's claimed size before anything is allocated for it.

    Raises:
        UserError: it is no data set, or the file cannot hold so much (without the path).
    """
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise UserError(f"its part {_name(item)!r} is no data set: it is damaged")
    require_room(_name(item), math.prod(item.shape or ()) * item.dtype.itemsize, Path(item.file.filename))


def require_room(name: str, claimed: int, path: Path) -> None:
    """Checks that a file, compressed as much as it can be, holds as many bytes as a part of it claims.

    Raises:
        UserError: it does not (without the path).
    """
    size = os.stat(path).st_size
    if claimed > _MOST_COMPRESSED * size + _ALWAYS_HELD:
        raise UserError(
            f"its part {name!r} claims {claimed:,} bytes, which a file of {size:,} cannot hold: it is damaged"
        )


def _name(item: Any) -> str:
    return str(item.name)[-80:]


def require_unlocked(error: BaseException) -> None:
    """Raises if opening an HDF5 file failed because a writer holds it.

    Raises:
        UserError: it did.
    """
    text = str(error)
    if isinstance(error, OSError) and (error.errno == errno.EAGAIN or f"lock file, errno = {errno.EAGAIN}" in text):
        raise UserError(
            "is locked: another program has it open for writing; close that program, or read a copy of the file"
        ) from error
    if "already open for write" in text or "already open for read" in text:
        raise UserError(
            "is marked as open for writing: another program writes it, or ended without closing it (then: h5clear -s)"
        ) from error
