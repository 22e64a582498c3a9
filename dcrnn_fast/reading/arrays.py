"""numpy's .npy and .npz files, never the Python objects in them."""

import math
import zipfile
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.reading.damage import DAMAGE

_MOST_COMPRESSED = 1032
"""bytes that zip makes of one at most"""


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
        # numpy takes a file with neither signature for a pickle.
        if not file.read(6).startswith((b"\x93NUMPY", b"PK")):
            raise UserError("not a numpy file (.npy or .npz), whatever its ending says")
    try:
        if is_archive(path):
            return _load_archive(path)
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)  # which refuses a claim that the file cannot hold
        return np.array(loaded)
    except UserError:
        raise
    except DAMAGE as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError("holds Python objects, which are never loaded; save plain numbers") from error
        raise UserError(f"not a readable numpy file, or a truncated one ({one_line(error)[:100]})") from error


def _load_archive(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        held = {info.filename.removesuffix(".npy"): info for info in archive.zip.infolist()}
        for key, info in held.items():
            _require_held(archive.zip, key, info)
        return {key: archive[key] for key in archive.files}


def _require_held(archive: zipfile.ZipFile, key: str, info: zipfile.ZipInfo) -> None:
    """Checks an array's claimed size before anything is allocated for it."""
    with archive.open(info) as member:
        if member.read(6) != b"\x93NUMPY":
            return  # numpy gives the bytes as they are
        member.seek(0)
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            return  # names of fields beyond latin-1: no array of numbers
        shape, _, dtype = read(member)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > min(info.file_size, _MOST_COMPRESSED * info.compress_size):
        raise UserError(
            f"its array {key[:80]!r} claims {claimed:,} bytes, which the file cannot hold: is it truncated?"
        )
