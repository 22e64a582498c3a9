"""numpy's .npy and .npz files, never the Python objects in them."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

NUMPY_DAMAGE = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""errors of numpy and zipfile on damaged files; OSError, which means that reading itself failed, is not among them"""


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
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except NUMPY_DAMAGE as error:
        if "allow_pickle" in str(error):
            raise UserError("holds Python objects, which are never loaded; save plain numbers") from error
        raise UserError(f"not a readable numpy file, or a truncated one ({one_line(error)[:100]})") from error
