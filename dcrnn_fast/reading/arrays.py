"""numpy's .npy and .npz files, never the Python objects in them."""

import math
import zipfile
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line
from dcrnn_fast.reading.damage import DAMAGE, damage_told

_MOST_COMPRESSED = 1032
"""bytes that zip makes of one at most"""
_AT_ONCE = 1 << 20
"""bytes"""


def is_archive(path: Path) -> bool:
    """Whether a file begins as an .npz archive does. ``OSError`` passes."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def load_array(path: Path) -> np.ndarray:
    """A .npy file that holds no objects, else UserError (without the path; ``OSError`` passes)."""
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise UserError("an .npz archive under the name of an .npy array")
    return loaded


def load_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file that holds no objects, else UserError (without the path; ``OSError`` passes)."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise UserError("an .npy array under the name of an .npz archive")
    return loaded


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(6)
    if not start.startswith((b"\x93NUMPY", b"PK")):  # numpy takes it for a pickle
        raise UserError("not a numpy file (.npy or .npz), whatever its ending says")
    try:
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                return {info.filename.removesuffix(".npy"): _member(archive, info) for info in archive.infolist()}
        return _array_in(path)
    except UserError:
        raise
    except DAMAGE as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError("holds Python objects, which are never loaded; save plain numbers") from error
        raise UserError(f"not a readable numpy file, or a truncated one ({one_line(error)[:100]})") from error


class FileArray:
    """An array in a file in C order, of which rows are read when they are asked for: ``array[start:stop]``.

    No memory map: where a mapped file is cut short, the process dies of a bus error.

    Attributes:
        shape, dtype: of the array.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int = 0) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._offset = path, offset

    def __len__(self) -> int:
        return self.shape[0]

    def with_shape(self, shape: tuple[int, ...]) -> "FileArray":
        """The same numbers in another shape."""
        return FileArray(self._path, self.dtype, shape, self._offset)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows that follow each other.

        Raises:
            UserError: the file has gone, or was cut short.
        """
        start, stop, _ = rows.indices(self.shape[0])
        count = max(stop - start, 0) * math.prod(self.shape[1:])
        offset = self._offset + start * math.prod(self.shape[1:]) * self.dtype.itemsize
        with naming_file(self._path):
            read = np.fromfile(self._path, self.dtype, count, offset=offset)
            if read.size != count:
                raise UserError("was cut short while it was read")
        return read.reshape(-1, *self.shape[1:])

    def of_sensor(self, sensor: int) -> np.ndarray:
        """(T, C) of an array (T, N, C), or (T,) of one (T, N)."""
        rows = max(1, _AT_ONCE // max(math.prod(self.shape[1:]), 1))
        return np.concatenate([self[start : start + rows][:, sensor] for start in range(0, len(self), rows)])


def open_array(path: Path) -> FileArray:
    """The array of an .npy file.

    Raises:
        UserError: no .npy file, damaged, shorter than its header claims, of Python objects, or in the order of columns
            (without the path; ``OSError`` passes).
    """
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise UserError("not a numpy file (.npy), whatever its ending says")
    with damage_told("not a readable .npy file, or a truncated one"):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    _require_end(path, mapped)
    if not mapped.flags.c_contiguous:
        raise UserError("its array lies in the order of columns: save it with numpy.ascontiguousarray")
    return FileArray(path, mapped.dtype, mapped.shape, mapped.offset)


def _array_in(path: Path) -> np.ndarray:
    # A map is refused where the file is shorter than its header claims; where it is cut later, the map's bytes are a
    # bus error, and those of a read are missing.
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    _require_end(path, mapped)
    read = np.fromfile(path, mapped.dtype, mapped.size, offset=mapped.offset)
    if read.size != mapped.size:
        raise UserError("was cut short while it was read")
    return read.reshape(mapped.shape, order="F" if mapped.flags.f_contiguous else "C")


def _require_end(path: Path, mapped: np.memmap) -> None:
    """Checks that nothing follows the array, as where its header is damaged.

    Raises:
        UserError: something does.
    """
    size, wanted = path.stat().st_size, mapped.offset + mapped.nbytes
    if size != wanted:
        raise UserError(f"has {size:,} bytes, and its header describes {wanted:,}: it is damaged, or holds more arrays")


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""readers of the headers of arrays of numbers and texts; version 3 has names of fields beyond latin-1"""


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array of an archive, for which nothing is allocated before its claimed size is compared with the file's."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise UserError(f"its array {info.filename[:80]!r} has a format of numpy ({version}) that is not read")
        shape, by_column, dtype = _HEADERS[version](member)
        if dtype.hasobject:
            raise ValueError("allow_pickle")
        claimed = math.prod(shape) * dtype.itemsize
        if not 0 <= claimed <= min(info.file_size, _MOST_COMPRESSED * info.compress_size):
            raise UserError(
                f"its array {info.filename[:80]!r} claims {claimed:,} bytes, which the file cannot hold: is it "
                "truncated?"
            )
        content = bytearray(claimed)
        for at in range(0, claimed, _AT_ONCE):
            piece = member.read(min(_AT_ONCE, claimed - at))
            content[at : at + _AT_ONCE] = piece
        if len(content) != claimed or member.read(1):
            raise EOFError(f"{info.filename[:80]!r} ends before or after its last number")
    return np.ndarray(shape, dtype, content, order="F" if by_column else "C")
