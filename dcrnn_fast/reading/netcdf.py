"""NetCDF files, classic and NetCDF-4, distinguished by their first bytes."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.hdf5 import opened_hdf5, require_held, require_unlocked
from dcrnn_fast.reading.texts import text_of


def netcdf_kind(path: Path) -> Literal["classic", "hdf5"] | None:
    """Which NetCDF a file is by its first bytes: classic, NetCDF-4 (which is HDF5), or None. ``OSError`` passes."""
    with path.open("rb") as file:
        signature = file.read(4)
    if signature in (b"CDF\x01", b"CDF\x02"):
        return "classic"
    return "hdf5" if signature == b"\x89HDF" else None


@contextmanager
def netcdf_damage_told() -> Iterator[None]:
    """Turns the libraries' errors on a locked or damaged file into a UserError; other ``OSError`` passes."""
    with damage_told("not a readable NetCDF file, or a truncated one"), warnings.catch_warnings():
        # scipy and h5netcdf, beside the error.
        warnings.filterwarnings("ignore", "Cannot close a netcdf_file|The 'phony_dims'")
        try:
            yield
        except Exception as error:
            require_unlocked(error)
            raise


def arrays_of_netcdf(path: Path, kind: Literal["classic", "hdf5"]) -> dict[str, tuple[np.ndarray, str]]:
    """The numeric arrays of one or two dimensions as float64, each with its units, read without xarray.

    Raises:
        UserError: damaged or locked (without the path; other ``OSError`` passes).
    """
    with netcdf_damage_told():
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
    import h5py

    arrays = {}
    with opened_hdf5(path) as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset) and item.ndim in (1, 2) and item.dtype.kind in "fiu":
                require_held(item)
                arrays[name] = item[:].astype(np.float64), text_of(item.attrs.get("units", ""))
    return arrays
