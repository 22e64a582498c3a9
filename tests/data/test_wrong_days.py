"""A day that is missing, twice or out of order, in every format with times: one line that names it, or an account."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from tests.data.written_files import read


def _days(count: int = 20) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=count, freq="1D", name="time")
    return pd.DataFrame(np.random.default_rng(1).uniform(1, 9, (count, 2)).round(3), times, ["01480000", "01491000"])


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each time and sensor, in the frame's order of times; twice where a time comes twice."""
    parts = [frame[[sensor]].rename(columns={sensor: "value"}).assign(id=sensor) for sensor in frame]
    return pd.concat(parts).reset_index()[["time", "id", "value"]]


def _to_npz(frame: pd.DataFrame, path: Path) -> None:
    np.savez(path, data=frame.to_numpy(), times=frame.index.to_numpy())


def _to_dyna(frame: pd.DataFrame, path: Path) -> None:
    rows = _long(frame)
    lines = [f"{k},state,{t:%Y-%m-%dT%H:%M:%SZ},{s},{v}" for k, (t, s, v) in enumerate(rows.itertuples(index=False))]
    path.write_text("\n".join(["dyna_id,type,time,entity_id,flow", *lines]) + "\n")
    path.with_suffix(".geo").write_text("geo_id,type\n" + "".join(f"{sensor},Point\n" for sensor in frame))


def _to_rdb(frame: pd.DataFrame, path: Path) -> None:
    lines = ["# U.S. Geological Survey", "agency_cd\tsite_no\tdatetime\t1_00060_00003", "5s\t15s\t20d\t14n"]
    lines += [f"USGS\t{s}\t{t:%Y-%m-%d}\t{v}" for t, s, v in _long(frame).itertuples(index=False)]
    path.write_text("\n".join(lines) + "\n")


def _to_partitions(frame: pd.DataFrame, path: Path) -> None:
    for sensor in frame:
        (path / f"id={sensor}").mkdir(parents=True, exist_ok=True)
        frame[[sensor]].rename(columns={sensor: "value"}).to_csv(path / f"id={sensor}" / "part.csv")


def _to_stretches(frame: pd.DataFrame, path: Path) -> None:
    path.mkdir(exist_ok=True)
    for name, rows in (("2024-01-01", slice(0, 10)), ("2024-01-11", slice(10, None))):
        frame.iloc[rows].to_csv(path / f"{name}.csv")


def _dataset(frame: pd.DataFrame) -> Any:
    import xarray as xr

    places = {"time": frame.index, "station": list(frame.columns)}
    return xr.Dataset({"flow": (("time", "station"), frame.to_numpy())}, places)


def _to_netcdf_days(frame: pd.DataFrame, path: Path) -> None:
    path.mkdir(exist_ok=True)
    for name, rows in (("2024-01-01", slice(0, 10)), ("2024-01-11", slice(10, None))):
        _dataset(frame.iloc[rows]).to_netcdf(path / f"{name}.nc", engine="h5netcdf")


OF_DAYS: tuple[tuple[str, Callable[[pd.DataFrame, Path], Any], bool], ...] = (
    ("x.csv", lambda frame, path: frame.to_csv(path), False),
    ("long.csv", lambda frame, path: _long(frame).to_csv(path, index=False), False),
    ("x.parquet", lambda frame, path: frame.to_parquet(path), True),
    ("long.parquet", lambda frame, path: _long(frame).to_parquet(path), True),
    ("x.h5", lambda frame, path: frame.to_hdf(path, key="df"), True),
    ("x.npz", _to_npz, True),
    ("x.dyna", _to_dyna, False),
    ("x.rdb", _to_rdb, False),
    ("partitions", _to_partitions, True),
    ("stretches", _to_stretches, True),
    ("x.nc", lambda frame, path: _dataset(frame).to_netcdf(path, engine="h5netcdf"), True),
    ("days", _to_netcdf_days, True),
    ("x.zarr", lambda frame, path: _dataset(frame).to_zarr(path, mode="w"), True),
)
"""name, writer, whether it imports what takes a second"""
WRONG_DAYS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "missing": lambda frame: frame.drop(frame.index[5]),
    "twice": lambda frame: pd.concat([frame.iloc[:6], frame.iloc[5:]]),
    "twice and different": lambda frame: pd.concat([frame.iloc[:6], frame.iloc[5:6] + 1, frame.iloc[6:]]),
    "out of order": lambda frame: frame.iloc[[*range(5), 6, 5, *range(7, len(frame))]],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrong", WRONG_DAYS)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param(name, write, id=name, marks=[pytest.mark.slow] if is_slow else [])
        for name, write, is_slow in OF_DAYS
    ],
)
def test_a_day_that_is_missing_twice_or_out_of_order_is_a_line_or_told(
    name: str, write: Callable[[pd.DataFrame, Path], Any], wrong: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(_days(), path)
    whole = read(path)
    write(WRONG_DAYS[wrong](_days()), path)
    series: SensorSeries | None = None
    said = ""
    try:
        series = read(path)
    except UserError as error:
        said = str(error)
    if series is None:
        assert wrong != "missing"
        assert name in said
        assert "2024-01-0" in said  # the day, or the row before
        assert "\n" not in said
        return
    assert wrong != "twice and different"
    assert set(series.notes) - set(whole.notes)
    if wrong != "missing":
        np.testing.assert_array_equal(series.values_TNC, whole.values_TNC)
    else:
        assert series.num_steps == 19
        assert any("1 gap(s)" in note for note in series.notes)
