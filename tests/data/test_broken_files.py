"""Files that are damaged, or that would run something: refused in one line."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.data.formats import FORMATS
from dcrnn_fast.errors import UserError
from tests.data.written_files import READINGS, TIMES, WRITERS, make_frame, read, write_hdf5, write_hdf5_table


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_truncated_file_is_refused_in_one_line(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.97):
        cut = whole[: int(len(whole) * share)]
        # Nobody can tell that a text was cut in its last cell: cut it before that.
        is_text = whole.isascii() and b"\0" not in whole
        path.write_bytes(re.split(rb"[,;\t](?=[^,;\t]*\Z)", cut)[0] if is_text else cut)
        with pytest.raises(UserError, match=re.escape(name)) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [f"x{one.endings[0]}" for one in FORMATS if not one.is_folder])
def test_garbage_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"", b"\x00\xff\xfegarbage" * 50):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read(path, start="2024-01-01", freq="5min")
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_garbled_numpy_header_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (np.save if name == "x.npy" else np.savez)(path, READINGS)
    whole = path.read_bytes()
    # An open bracket, and no expression at all: numpy passes on what Python's parser raises.
    for before, after in ((b"(40, 3), }", b"(40, 3),(("), (b"{'descr'", b",'descr' ")):
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        with pytest.raises(UserError, match="truncated"):
            read(path, start="2024-01-01", freq="5min")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_root_of_netcdf_4_is_refused_without_noise(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    xr.Dataset({"v": (("time", "station"), READINGS)}, {"time": TIMES}).to_netcdf(path, engine="h5netcdf")
    whole = bytearray(path.read_bytes())
    root = whole.index(b"OHDR")
    whole[root + 8] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"x\.nc"):
        read(path)


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


def test_no_pickle_in_an_hdf5_file_is_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    bomb = np.bytes_(pickle.dumps(_Bomb(target), protocol=0))
    pickle.loads(bomb)
    assert target.exists(), "the bomb works"
    target.unlink()
    path = tmp_path / "fixed.h5"
    write_hdf5(path)
    with h5py.File(path, "a") as file:
        file["df/axis1"].attrs["freq"] = bomb
        file["df"].attrs["name"] = bomb
    assert read(path).num_sensors == 3
    path = tmp_path / "table.h5"
    write_hdf5_table(path)
    with h5py.File(path, "a") as file:
        file["speed/table/table"].attrs["values_block_0_kind"] = bomb
    with pytest.raises(UserError, match=r"wants to run .*nothing was run"):
        read(path)
    path = tmp_path / "objects.h5"
    with pd.HDFStore(path) as store:
        frame = make_frame().astype(object)
        frame.iloc[0, 0] = "text"
        with pytest.warns(pd.errors.PerformanceWarning):
            store.put("df", frame, track_times=False)
    with pytest.raises(UserError, match="does not hold numbers"):
        read(path)
    assert not target.exists()


def test_no_pickle_in_an_array_file_is_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    np.save(tmp_path / "x.npy", np.array([_Bomb(target)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", data=np.array([_Bomb(target)], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name, start="2024-01-01", freq="5min")
    assert not target.exists()
