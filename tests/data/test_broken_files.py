"""Files that are damaged, or that would run something: refused in one line."""

import io
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.data.formats import FORMATS
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import read_graph, read_grid
from tests.data.written_files import (
    READINGS,
    TIMES,
    WRITERS,
    make_frame,
    read,
    write_hdf5,
    write_hdf5_table,
    write_stations,
)


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


@pytest.mark.parametrize("name", [f"x{one.endings[0]}" for one in FORMATS if one.endings and not one.is_folder])
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


def _external_storage(file: h5py.File, name: str, folder: Path) -> None:
    shape = file[name].shape
    (folder / "secret").write_bytes(b"password" * 1000)
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, shape=shape, dtype="f8", external=[(str(folder / "secret"), 0, 8000)])
    file[name].attrs.update({key: value for key, value in attributes.items() if key != "DIMENSION_LIST"})


def _external_link(file: h5py.File, name: str, folder: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("other.h5", name)


def _virtual(file: h5py.File, name: str, folder: Path) -> None:
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape=shape, dtype="f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), name, shape=shape)
    file.create_virtual_dataset(name, layout)


def _link_nobody_asked_for(file: h5py.File, name: str, folder: Path) -> None:
    file.create_group("deep/er")["link"] = h5py.ExternalLink("other.h5", "/")


def write_netcdf4(path: Path) -> None:
    write_stations(path, "h5netcdf")


Trick = Callable[[h5py.File, str, Path], None]


@pytest.mark.parametrize("trick", [_external_storage, _external_link, _virtual, _link_nobody_asked_for])
@pytest.mark.parametrize("name", ["x.h5", "t.h5", "x.nc", "grid.nc"])
def test_a_file_that_reads_other_files_is_refused(name: str, trick: Trick, tmp_path: Path) -> None:
    path = tmp_path / name
    parts = {"x.h5": "df/block0_values", "t.h5": "speed/table/table", "x.nc": "value", "grid.nc": "lat"}
    writers = {"x.h5": write_hdf5, "t.h5": write_hdf5_table, "x.nc": write_netcdf4, "grid.nc": write_netcdf4}
    writers[name](path)
    shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "a") as file:
        trick(file, parts[name], tmp_path)
    with pytest.raises(
        UserError, match=r"its part '.*' (is a link|has its values|is put together).* never read"
    ) as said:
        read_grid(path) if name == "grid.nc" else read(path)
    assert name in str(said.value)
    assert "\n" not in str(said.value)


def test_links_within_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_hdf5(path)
    before = read(path)
    with h5py.File(path, "a") as file:
        file.move("df/block0_values", "elsewhere")
        file["df/block0_values"] = h5py.SoftLink("/elsewhere")
        file["dangling"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(read(path).values_TNC, before.values_TNC)


def test_a_size_that_the_file_cannot_hold_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_hdf5(path)
    with h5py.File(path, "a") as file:
        attributes = dict(file["df/axis1"].attrs)
        del file["df/axis1"]
        file.create_dataset("df/axis1", shape=(10**10,), dtype="i8", chunks=(1000,)).attrs.update(attributes)
    with pytest.raises(UserError, match=r"x\.h5: its part '/df/axis1' claims 80,000,000,000 bytes, which a file of"):
        read(path)
    path = tmp_path / "x.nc"
    write_netcdf4(path)
    for part, shape in (("time", (10**10,)), ("value", (40, 10**9)), ("lat", (10**9,))):
        with h5py.File(path, "a") as file:
            attributes = {key: value for key, value in file[part].attrs.items() if "LIST" not in key}
            del file[part]
            file.create_dataset(part, shape=shape, dtype="f8", chunks=(1,) * len(shape)).attrs.update(attributes)
        with pytest.raises(UserError, match=rf"x\.nc: its part '{part}' claims .* cannot hold"):
            read(path)
        write_netcdf4(path)
    held = io.BytesIO()
    np.save(held, READINGS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as zipped:
        zipped.writestr("data.npy", held.getvalue().replace(b"(40, 3), }    ", b"(40, 3333), } "))
    with pytest.raises(UserError, match=r"x\.npz: its array 'data\.npy' claims 1,066,560 bytes, which the file cannot"):
        read(tmp_path / "x.npz", start="2024-01-01", freq="5min")


@pytest.mark.parametrize("ending", [".csv", ".h5", ".npz", ".npy", ".parquet", ".nc", ".pkl", ".txt"])
def test_a_pipe_and_names_that_cannot_be_are_one_line(ending: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    for name, says in ((f"pipe{ending}", "is a pipe|the ending"), (f"{'x' * 5000}{ending}", ""), (f"a\0b{ending}", "")):
        path = tmp_path / name
        for read_it in (lambda path=path: read(path), lambda path=path: read_graph(GraphConfig(graph=str(path)))):
            with pytest.raises(UserError, match=says):
                read_it()


def test_numbers_that_are_too_large_are_refused_without_numpys_warnings(tmp_path: Path) -> None:
    xr.Dataset({"v": (("time", "station"), READINGS)}, {"time": TIMES}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "x.nc", "a") as file:
        file["v"].attrs["scale_factor"] = 1e308
    pairs = "".join(f"{a},{b},1e308\n" for a in "ab" for b in "ab" if a != b)
    (tmp_path / "x.csv").write_text(f"from,to,cost\n{pairs}a,a,0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(UserError, match="the reading inf is not finite"):
            read(tmp_path / "x.nc")
        read_graph(GraphConfig(graph=str(tmp_path / "x.csv")))
