"""One series as the usual libraries write it, in every format that is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_series

TIMES = pd.date_range("2024-03-04", periods=40, freq="5min")
IDS = ["773869", "767541", "a b"]
READINGS = np.random.default_rng(0).uniform(1, 70, (40, 3)).round(3)
READINGS[3, 1] = 0
READINGS[5, 2] = np.nan


def make_frame() -> pd.DataFrame:
    return pd.DataFrame(READINGS, index=TIMES, columns=IDS)


def read(path: Path, **settings: Any) -> SensorSeries:
    return read_series(DataConfig(data=str(path), **settings))


def write_csv(path: Path) -> None:
    make_frame().to_csv(path, index_label="time")


def write_parquet(path: Path) -> None:
    make_frame().to_parquet(path)


def write_parquet_texts(path: Path) -> None:
    frame = make_frame()
    frame.insert(0, "when", [str(time) for time in TIMES])
    frame.to_parquet(path, index=False)


def write_hdf5(path: Path) -> None:
    make_frame().to_hdf(path, key="df")


def write_hdf5_table(path: Path) -> None:
    make_frame().to_hdf(path, key="speed/table", format="table", complevel=4, complib="zlib")


def write_hdf5_nanoseconds(path: Path) -> None:
    """As METR-LA's own file has it."""
    frame = make_frame()
    frame.index = frame.index.astype("datetime64[ns]")
    frame.to_hdf(path, key="df")


def write_hdf5_two_blocks(path: Path) -> None:
    frame = make_frame()
    frame["773869"] = frame["773869"].astype("float32")
    frame.to_hdf(path, key="df")


def write_npz(path: Path) -> None:
    np.savez(path, data=READINGS[:, :, None], ids=np.array(IDS), times=TIMES.to_numpy())


def write_stations(path: Path, engine: str) -> None:
    xr.Dataset(
        {"value": (("time", "station"), READINGS, {"_FillValue": -1.0})},
        coords={
            "time": TIMES,
            "station": ("station", IDS),
            "lat": ("station", [1.0, 2, 3]),
            "lon": ("station", [4.0, 5, 6]),
        },
    ).to_netcdf(path, engine=engine)  # type: ignore[call-overload]


def write_rdb(path: Path) -> None:
    """As the USGS writes its values."""
    lines = ["# U.S. Geological Survey", "#"]
    for n, site in enumerate(IDS):
        lines += ["agency_cd\tsite_no\tdatetime\t1_00060_00003\t1_00060_00003_cd", "5s\t15s\t20d\t14n\t10s"]
        for time, value in zip(TIMES, READINGS[:, n], strict=True):
            lines.append(f"USGS\t{site}\t{time}\t{'' if np.isnan(value) else value}\tA")
    path.write_text("\n".join(lines) + "\n")


def write_dyna(path: Path) -> None:
    """As LibCity's converters write their files: all rows of one entity, then those of the next."""
    rows = ["dyna_id,type,time,entity_id,traffic_speed"]
    for n, sensor in enumerate(IDS):
        for t, time in enumerate(TIMES):
            value = READINGS[t, n]
            rows.append(f"{len(rows) - 1},state,{time:%Y-%m-%dT%H:%M:%SZ},{sensor},{'' if np.isnan(value) else value}")
    path.write_text("\n".join(rows) + "\n")
    places = [f'{sensor},Point,"[-118.{n}, 34.{n}]"' for n, sensor in enumerate(IDS)]
    path.with_suffix(".geo").write_text("\n".join(["geo_id,type,coordinates", *places]) + "\n")


def write_tsf(path: Path) -> None:
    """As the Monash archive writes its series."""
    told = "\n".join(f"# Line {k} of what the file says about the data set and the paper to cite." for k in range(4))
    names = "@attribute series_name string\n@attribute start_timestamp date"
    rest = "@frequency 5_minutes\n@horizon 12\n@missing true\n@equallength true\n@data"
    lines = [
        f"{sensor}:{TIMES[0]:%Y-%m-%d %H-%M-%S}:" + ",".join("?" if np.isnan(x) else str(x) for x in READINGS[:, n])
        for n, sensor in enumerate(IDS)
    ]
    path.write_text("\n".join([told, "@relation X", names, rest, *lines]) + "\n")


WRITERS: list[Any] = [
    pytest.param("x.csv", write_csv, id="csv"),
    pytest.param("x.parquet", write_parquet, id="parquet"),
    pytest.param("t.parquet", write_parquet_texts, id="parquet-texts"),
    pytest.param("x.h5", write_hdf5, id="hdf5-fixed"),
    pytest.param("t.h5", write_hdf5_table, id="hdf5-table"),
    pytest.param("n.h5", write_hdf5_nanoseconds, id="hdf5-nanoseconds"),
    pytest.param("b.h5", write_hdf5_two_blocks, id="hdf5-two-blocks"),
    pytest.param("x.npz", write_npz, id="npz"),
    pytest.param("x.tsf", write_tsf, id="tsf"),
    pytest.param("x.dyna", write_dyna, id="libcity"),
    pytest.param("x.rdb", write_rdb, id="usgs-rdb"),
    pytest.param("c.nc", lambda path: write_stations(path, "scipy"), id="netcdf-classic"),
    pytest.param("x.nc", lambda path: write_stations(path, "h5netcdf"), id="netcdf-4"),
]
