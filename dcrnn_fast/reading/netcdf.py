"""NetCDF files, classic and NetCDF-4, distinguished by their first bytes."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.reading.hdf5 import require_unlocked
from dcrnn_fast.reading.texts import text_of

_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""errors of the libraries that read NetCDF on damaged files, beside OSError"""


def netcdf_kind(path: Path) -> Literal["classic", "hdf5"] | None:
    """Which NetCDF a file is by its first bytes: classic, NetCDF-4 (which is HDF5), or None. ``OSError`` passes."""
    with path.open("rb") as file:
        signature = file.read(4)
    if signature in (b"CDF\x01", b"CDF\x02"):
        return "classic"
    return "hdf5" if signature == b"\x89HDF" else None


@contextmanager
def damage_told() -> Iterator[None]:
    """Turns the libraries' errors on a locked or damaged file into a UserError; other ``OSError`` passes."""
    try:
        yield
    except UserError:
        raise
    except (BlockingIOError, *_DAMAGE) as error:
        require_unlocked(error)
        raise UserError(f"not a readable NetCDF file, or a truncated one ({one_line(error)[:120]})") from error


def arrays_of_netcdf(path: Path, kind: Literal["classic", "hdf5"]) -> dict[str, tuple[np.ndarray, str]]:
    """The numeric arrays of one or two dimensions as float64, each with its units, read without xarray.

    Raises:
        UserError: damaged or locked (without the path; other ``OSError`` passes).
    """
    with damage_told():
        return _classic_arrays(path) if kind == "classic" else _hdf5_arrays(path)


def _classic_arrays(path: Path) -> dict[str, tuple[np.ndarray, str]]:
    import scipy.io

    with scipy.io.netcdf_file(path, mmap=False) as file:
        return {
            name: (np.array(variable[:], dtype=np.float64), text_of(getattr(variable, "units", "")))
            for name, variable in file.variables.items()
            if len(variable.shape) in (1, 2) and variable.data.dtype.kind in "fiu"
        }


def _hdf5_arrays(path: Path) -> dict[str, tuple[np.ndarray, str]]:
    import h5py  # 11 MB that only a graph of this kind needs

    with h5py.File(path, "r") as file:
        return {
            name: (item[:].astype(np.float64), text_of(item.attrs.get("units", "")))
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and item.ndim in (1, 2) and item.dtype.kind in "fiu"
        }
