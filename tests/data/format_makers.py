"""A few small files or a folder of every format of series, as the usual programs write them: what tests damage.

A new line of ``FORMATS`` needs one in ``MAKERS``.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dcrnn_fast.data.store import write_store
from tests.data.gridded_files import write_gauges, write_new_era5, write_old_era5, write_sea_ice
from tests.data.made_series import random_series, ring
from tests.data.pems_folders import write_day, write_metadata
from tests.data.written_files import (
    IDS,
    READINGS,
    TIMES,
    make_frame,
    write_csv,
    write_dyna,
    write_hdf5,
    write_hdf5_table,
    write_npz,
    write_parquet,
    write_rdb,
    write_stations,
    write_tsf,
)

START = {"start": "2024-03-04", "freq": "5min"}


@dataclass(frozen=True)
class Maker:
    """How a format's file or folder is made.

    Attributes:
        kind: the word of ``--data-format``; name: of the file or folder, by which it is given as ``--data``.
        write: it, into a path of that name.
        settings, graph: of ``DataConfig`` and ``GraphConfig`` that it needs.
        is_slow: it, or its reader, imports what takes a second.
    """

    kind: str
    name: str
    write: Callable[[Path], object]
    settings: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    is_slow: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


def long_frame(days: int = 12) -> pd.DataFrame:
    """A row for each day and sensor."""
    times = pd.date_range("2024-01-25", periods=days, freq="1D")
    frame = pd.DataFrame(READINGS[:days], times, IDS).rename_axis("time").reset_index()
    return frame.melt("time", var_name="id", value_name="speed").dropna()


def _partitions(ending: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        frame = long_frame()
        for month, rows in frame.groupby(frame["time"].dt.month):
            place = folder / f"month={month:02d}"
            place.mkdir(parents=True)
            if ending == "csv":
                rows.to_csv(place / "part-0.csv", index=False)
            else:
                rows.to_parquet(place / "part-0.parquet", index=False)

    return write


def _channels(folder: Path) -> None:
    folder.mkdir()
    for name in ("flow", "speed"):
        write_csv(folder / f"{name}.csv")


def _stretches(folder: Path, names: tuple[str, ...] = ("2019", "2020")) -> None:
    folder.mkdir()
    for year, name in zip((2019, 2020), names, strict=True):
        frame = make_frame()
        frame.index = pd.date_range(f"{year}-01-01", periods=len(frame), freq="1D")
        frame.to_csv(folder / f"{name}.csv", index_label="time")


def _netcdf_days(folder: Path) -> None:
    folder.mkdir()
    for day in ("2023-01-01", "2023-01-02"):
        write_old_era5(folder / f"era5_{day}.nc", start=day, rows=24)


def _zarr(zarr_format: int) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        xr.Dataset({"v": (("time", "station"), READINGS)}, {"time": TIMES, "station": IDS}).to_zarr(
            folder, zarr_format=zarr_format, consolidated=False
        )

    return write


def _adjacency(folder: Path) -> None:
    loaded = [IDS, {sensor: n for n, sensor in enumerate(IDS)}, np.eye(3, dtype=np.float32)]
    (folder / "adj_mx.pkl").write_bytes(pickle.dumps(loaded, protocol=2))


def _basicts_memmap(folder: Path) -> None:
    folder.mkdir()
    (folder / "data.dat").write_bytes(np.nan_to_num(READINGS)[:, :, None].astype(np.float32).tobytes())
    told = {"shape": [40, 3, 1], "feature_description": ["speed"], "frequency (minutes)": 5}
    (folder / "desc.json").write_text(json.dumps(told))
    _adjacency(folder)


def _basicts_parts(folder: Path) -> None:
    folder.mkdir()
    for name, rows in (("train", slice(0, 28)), ("val", slice(28, 32)), ("test", slice(32, None))):
        np.save(folder / f"{name}_data.npy", np.nan_to_num(READINGS)[rows].astype(np.float32))
    told = {"num_time_steps": 40, "frequency (minutes)": 5, "domain": "speed"}
    (folder / "meta.json").write_text(json.dumps(told))
    _adjacency(folder)


def _basicts_pickle(folder: Path) -> None:
    folder.mkdir()
    readings_TN = np.nan_to_num(READINGS)
    mean, std = readings_TN.mean(), readings_TN.std()
    for name, part in (
        ("data", {"processed_data": (readings_TN[:, :, None] - mean) / std}),
        ("scaler", {"func": "re_standard_transform", "args": {"mean": mean, "std": std}}),
    ):
        (folder / f"{name}_in_12_out_12.pkl").write_bytes(pickle.dumps(part))
    _adjacency(folder)


def _libcity(folder: Path) -> None:
    folder.mkdir()
    write_dyna(folder / "CITY.dyna")
    rows = [f"{k},geo,{a},{b},{100 + k}" for k, (a, b) in enumerate((a, b) for a in IDS for b in IDS if a != b)]
    (folder / "CITY.rel").write_text("\n".join(["rel_id,type,origin_id,destination_id,cost", *rows]) + "\n")
    info = {"data_col": ["traffic_speed"], "weight_col": "cost", "calculate_weight_adj": True}
    (folder / "config.json").write_text(json.dumps({"info": info}))


def _usgs_rdb(folder: Path) -> None:
    folder.mkdir()
    for n, site in enumerate(("01480000", "01491000")):
        lines = ["# U.S. Geological Survey", "agency_cd\tsite_no\tdatetime\t1_00060_00003\t1_00060_00003_cd"]
        lines += ["5s\t15s\t20d\t14n\t10s"]
        lines += [f"USGS\t{site}\t2024-01-{day:02d}\t{day + n}.5\tA" for day in range(1, 20)]
        (folder / f"{site}.txt").write_text("\n".join(lines) + "\n")


def _usgs_csv(folder: Path) -> None:
    folder.mkdir()
    for n, site in enumerate(("01480000", "01491000")):
        lines = ["x,y,monitoring_location_id,parameter_code,statistic_id,time,value,unit_of_measure,approval_status"]
        lines += [f"-75.{n},39.{n},USGS-{site},00060,00003,2024-01-{d:02d},{d + n},ft^3/s,A" for d in range(1, 20)]
        (folder / f"{site}.csv").write_text("\n".join(lines) + "\n")


def _store(folder: Path) -> None:
    series = random_series(40, 3)
    write_store(folder, series, ring(series))


def _pems(folder: Path) -> None:
    for day in (1, 2):
        write_day(folder, day, packed=day == 1)
    write_metadata(folder)


def _years(folder: Path) -> None:
    folder.mkdir()
    for year in (2018, 2019):
        frame = make_frame()
        frame.index = pd.date_range(f"{year}-01-01", periods=len(frame), freq="15min")
        frame.to_hdf(folder / f"ca_his_raw_{year}.h5", key="t")
    rows = [f"{sensor},{32.5 + n},{-117.0 - n}" for n, sensor in enumerate(IDS)]
    (folder / "ca_meta.csv").write_text("\n".join(["ID,Lat,Lng", *rows]) + "\n")
    np.save(folder / "ca_rn_adj.npy", np.eye(3, dtype=np.float32))


def _save_npy(path: Path) -> None:
    np.save(path, READINGS)


MAKERS = (
    Maker("hdf5", "x.h5", write_hdf5),
    Maker("hdf5", "table.h5", write_hdf5_table, is_slow=True),
    Maker("npz", "x.npz", write_npz),
    Maker("npy", "x.npy", _save_npy, START),
    Maker("csv", "x.csv", write_csv),
    Maker("csv", "long.csv", lambda path: long_frame().to_csv(path, index=False)),
    Maker("parquet", "x.parquet", write_parquet),
    Maker("parquet", "long.parquet", lambda path: long_frame().to_parquet(path, index=False)),
    Maker("netcdf", "classic.nc", lambda path: write_stations(path, "scipy"), is_slow=True),
    Maker("netcdf", "era5.nc", write_new_era5, is_slow=True),
    Maker("netcdf", "ice.nc", lambda path: write_sea_ice(path, rows=9), {}, {"land_mask": "auto"}, is_slow=True),
    Maker("netcdf", "gauges.nc", lambda path: write_gauges(path, "contiguous"), is_slow=True),
    Maker("netcdf_folder", "days", _netcdf_days, is_slow=True),
    Maker("zarr", "x2.zarr", _zarr(2), is_slow=True),
    Maker("zarr", "x3.zarr", _zarr(3), is_slow=True),
    Maker("tsf", "x.tsf", write_tsf),
    Maker("channels", "channels", _channels),
    Maker("continued", "continued", _stretches),
    Maker("scenarios", "scenarios", lambda folder: _stretches(folder, ("run1", "run2")), {"data_format": "scenarios"}),
    Maker("partitioned", "csv", _partitions("csv")),
    Maker("partitioned", "parquet", _partitions("parquet"), is_slow=True),
    Maker("basicts", "memmap", _basicts_memmap, START),
    Maker("basicts", "parts", _basicts_parts, START),
    Maker("basicts", "pickle", _basicts_pickle, START, is_slow=True),
    Maker("libcity", "CITY", _libcity),
    Maker("usgs", "rdb", _usgs_rdb),
    Maker("usgs", "usgs_csv", _usgs_csv),
    Maker("usgs", "x.rdb", write_rdb),
    Maker("store", "store", _store),
    Maker("pems", "pems", _pems, is_slow=True),
    Maker("hdf5_years", "ca", _years, is_slow=True),
)
