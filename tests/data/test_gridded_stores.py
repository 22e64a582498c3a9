"""Stores made in pieces of grids and stations: the same bits as from the whole reading, and little memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.data.store import open_store
from dcrnn_fast.prepare import main
from tests.data.gridded_files import write_gauges, write_new_era5, write_old_era5, write_sea_ice

pytestmark = pytest.mark.slow


def _write(kind: str, folder: Path) -> Path:
    if kind == "gauges":
        write_gauges(folder / "x.nc", "indexed")
        return folder / "x.nc"
    if kind == "levels":
        write_new_era5(folder / "x.nc", levels=True)
        return folder / "x.nc"
    source = folder / "source"
    source.mkdir()
    for k in range(3):
        if kind == "ice":
            write_sea_ice(source / f"ice_2020-01-{10 * k + 1:02d}.nc", f"2020-01-{10 * k + 1:02d}", rows=9)
        else:
            write_old_era5(source / f"era5_2023-01-0{k + 1}.nc", start=f"2023-01-0{k + 1}", rows=24, versions=2)
    return source


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("ice", ["--land-mask", "auto", "--fill-rows"]),
        ("versions", ["--freq", "1h", "--missing", "nan", "--leave-out", "52_0"]),
        ("levels", ["--variables", "t_500"]),
        ("gauges", ["--missing-value", "5"]),
    ],
)
def test_a_store_made_in_pieces_is_the_whole_reading(
    kind: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dcrnn_fast.data import pieces
    from dcrnn_fast.data.cf import parts

    source = _write(kind, tmp_path)
    config = {
        "ice": (DataConfig(data=str(source), fill_rows=True), GraphConfig(land_mask="auto")),
        "versions": (DataConfig(data=str(source), missing="nan"), GraphConfig()),
        "levels": (DataConfig(data=str(source), variables=("t_500",)), GraphConfig()),
        "gauges": (DataConfig(data=str(source), missing_value=(5.0,)), GraphConfig()),
    }[kind]
    whole, graph = read_source(*config)
    if kind == "versions":
        whole = whole.take_sensors(whole.ids[1:])
        graph = None if graph is None else graph.take(whole.ids)
    monkeypatch.setattr(pieces, "AT_ONCE", 60)
    monkeypatch.setattr(parts, "_AT_ONCE", 30)
    assert main(["--data", str(source), *flags, "--output", str(tmp_path / "store")]) == 0
    made, made_graph = open_store(tmp_path / "store")
    for name in ("values_TNC", "observed_TNC", "times_T"):
        np.testing.assert_array_equal(np.asarray(getattr(made, name)[:]), getattr(whole, name))
    for name in ("ids", "channels", "units", "interval", "segments", "missing"):
        assert getattr(made, name) == getattr(whole, name)
    assert (graph is None) == (made_graph is None)
    if graph is not None and made_graph is not None:
        assert made_graph.digest() == graph.digest()


def _write_large(path: Path) -> None:
    """1.7 GiB of readings as float32, packed into int16: 6144 hours of a grid of 1.5 degrees' kind."""
    shape = (6144, 181, 400)
    axes = {
        "time": (np.arange(shape[0], dtype="i4"), "hours since 2000-01-01"),
        "latitude": (np.linspace(90, -90, shape[1]), "degrees_north"),
        "longitude": (np.arange(shape[2]) * 0.9, "degrees_east"),
    }
    rows = np.random.default_rng(0).integers(1, 1000, (256, *shape[1:])).astype("i2")
    with h5py.File(path, "w") as file:
        for name, (values, unit) in axes.items():
            file[name] = values
            file[name].make_scale(name)
            file[name].attrs["units"] = unit
        packed = file.create_dataset("t2m", shape, "i2", chunks=(32, *shape[1:]))
        for start in range(0, shape[0], 256):
            packed[start : start + 256] = rows
        packed.attrs.update({"scale_factor": np.float32(0.01), "_FillValue": np.int16(-32767), "units": "K"})
        for k, name in enumerate(axes):
            packed.dims[k].attach_scale(file[name])


_MEASURE = """
import sys, threading, time
from dcrnn_fast.prepare import main

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

most = 0
def watch():
    global most
    while True:
        most = max(most, anonymous())
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
assert main(["--data", sys.argv[1], "--output", sys.argv[2]]) == 0
print("MiB", most)
"""


def _write_table(path: Path) -> None:
    """602 MiB of readings as float32: 26,304 times of 6,000 sensors, as pandas writes them."""
    frame = pd.DataFrame(
        np.random.default_rng(0).integers(0, 1000, (26_304, 6000)).astype("f4"),
        index=pd.date_range("2020-01-01", periods=26_304, freq="5min"),
        columns=[f"s{n}" for n in range(6000)],
    )
    frame.to_hdf(path, key="t")


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
@pytest.mark.parametrize(
    ("name", "write", "readings"),
    [("x.nc", _write_large, 6144 * 181 * 400), ("x.h5", _write_table, 26_304 * 6000)],
)
def test_preparing_takes_less_than_a_tenth_of_the_series(
    name: str, write: Callable[[Path], None], readings: int, tmp_path: Path
) -> None:
    """The whole process, with what it imports."""
    write(tmp_path / name)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / name), str(tmp_path / "store")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout.rsplit("MiB", 1)[1]) < readings * 4 / 2**20 / 10
