"""A folder of HDF5 files by year, and what lies beside LargeST's."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import formats_of_path
from dcrnn_fast.data.matched import read_matched
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import open_source, outline_source, read_source
from dcrnn_fast.data.store import open_store
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.prepare import main as prepare_main
from dcrnn_fast.prepare import prepare

IDS = ["1114091", "1118333", "1118348"]


def frame(year: int, ids: list[str] = IDS, rows: int = 40, low: float = 1.0) -> pd.DataFrame:
    """The last rows of a year, in steps of 15 minutes."""
    end = pd.Timestamp(year, 12, 31, 23, 45)
    cells = np.random.default_rng(year).uniform(low, 70, (rows, len(ids))).round(2)
    return pd.DataFrame(cells, index=pd.date_range(end=end, periods=rows, freq="15min"), columns=ids)


def write(folder: Path, year: int, frame: pd.DataFrame, stem: str = "ca_his_raw_") -> Path:
    path = folder / f"{stem}{year}.h5"
    frame.to_hdf(path, key="t")
    return path


def write_network(folder: Path, ids: list[str]) -> np.ndarray:
    """The metadata and the adjacency matrix, in the order of these ids."""
    rows = [f"{sensor},{32.5 + n},{-117.0 - n},11,San Diego,SR11-E,3,Mainline,E,{n}" for n, sensor in enumerate(ids)]
    header = "ID,Lat,Lng,District,County,Fwy,Lanes,Type,Direction,ID2"
    (folder / "ca_meta.csv").write_text("\n".join([header, *rows]) + "\n")
    weights = np.eye(len(ids), dtype=np.float32)
    weights[0, 1] = 0.75
    np.save(folder / "ca_rn_adj.npy", weights)
    return weights


def read(path: Path, **settings: Any) -> tuple[SensorSeries, SensorGraph | None]:
    return read_source(DataConfig(data=str(path), **settings), GraphConfig())


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_years_become_one_series_with_its_network(tmp_path: Path) -> None:
    frames = [frame(2018), frame(2019, list(reversed(IDS)))]
    for year, one in zip((2018, 2019), frames, strict=True):
        write(tmp_path, year, one)
    weights = write_network(tmp_path, ["9", *IDS])
    assert formats_of_path(tmp_path, "auto") == {"hdf5_years"}
    series, graph = read(tmp_path)
    assert series.ids == tuple(IDS)
    np.testing.assert_allclose(series.readings(slice(40, 80))[..., 0], frames[1][IDS].to_numpy(), rtol=1e-13)
    assert series.segments == ((0, 40), (40, 80))
    assert graph is not None
    assert graph.ids == ("9", *IDS)
    np.testing.assert_array_equal(graph.adjacency.toarray(), weights)
    assert series.positions_N2 is not None
    np.testing.assert_array_equal(series.positions_N2[0], [33.5, -118.0])
    matched = read_matched(DataConfig(data=str(tmp_path)), GraphConfig())[1]
    assert matched is not None
    assert matched.ids == tuple(IDS)


def test_a_folder_of_one_year_is_largests_by_its_metadata(tmp_path: Path) -> None:
    """The subset of San Diego is published for one year."""
    write(tmp_path, 2018, frame(2018))
    weights = write_network(tmp_path, IDS)
    series, graph = read(tmp_path)
    assert (series.num_steps, series.ids) == (40, tuple(IDS))
    assert graph is not None
    np.testing.assert_array_equal(graph.adjacency.toarray(), weights)
    write(tmp_path, 2018, frame(2018), stem="ca_his_")
    refused(tmp_path, "holds ca_his_* and ca_his_raw_*: wanted the years of one series; name one file")


def test_one_year_brings_its_network_too(tmp_path: Path) -> None:
    path = write(tmp_path, 2019, frame(2019))
    write_network(tmp_path, IDS)
    series, graph = read(path)
    assert graph is not None
    assert graph.ids == series.ids == tuple(IDS)


@pytest.mark.parametrize(("low", "rule"), [(1.0, "nan"), (-30.0, "nan"), (0.0, "zero")])
def test_sensors_that_a_year_lacks_are_missing_there_and_named(low: float, rule: str, tmp_path: Path) -> None:
    first, second = frame(2018, IDS[:2], low=low), frame(2019, low=low)
    if low == 0:
        first.iloc[3, 1] = 0
    write(tmp_path, 2018, first)
    write(tmp_path, 2019, second)
    series, _ = read(tmp_path)
    assert series.missing == rule
    observed_TN = np.asarray(series.observed_TNC)[..., 0]
    assert not observed_TN[:40, 2].any()
    assert observed_TN[40:].all()
    assert int((~observed_TN[:40, :2]).sum()) == (low == 0)
    assert f"ca_his_raw_2018.h5 lacks 1 sensor, missing readings there: '{IDS[2]}'" in " ".join(series.notes)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fill_rows": True, "leave_out": (IDS[1],)},
        {"missing": "zero", "missing_value": (3.0,)},
        {"variables": ("0",)},
    ],
)
def test_a_store_in_pieces_has_the_bits_of_the_whole_series(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcrnn_fast.data.formats.hdf5._AT_ONCE", 21)
    monkeypatch.setattr("dcrnn_fast.data.blocks._AT_ONCE", 15)
    folder = tmp_path / "source"
    folder.mkdir()
    frames = [frame(2019).iloc[:20], frame(2019).iloc[25:]]
    frames[0].iloc[4, 2] = 0
    for year, one in zip((2018, 2019), frames, strict=True):
        write(folder, year, one)
    data = DataConfig(data=str(folder), **settings)
    prepare(data, GraphConfig(), tmp_path / "store")
    whole, _ = read_matched(data, GraphConfig())
    stored, _ = open_store(tmp_path / "store")
    for name in ("ids", "channels", "interval", "segments", "parts", "missing"):
        assert getattr(stored, name) == getattr(whole, name), name
    for name in ("times_T", "values_TNC", "observed_TNC"):
        np.testing.assert_array_equal(np.asarray(getattr(stored, name)), np.asarray(getattr(whole, name)))


def write_scaled(folder: Path, year: str = "2019") -> np.ndarray:
    """his.npz of whole hours of a year, as LargeST's own code makes it; the readings."""
    (folder / "ca" / year).mkdir(parents=True)
    write_network(folder / "ca", IDS)
    times = pd.date_range("2019-01-01", periods=8760, freq="1h")
    readings_TN = np.random.default_rng(0).integers(0, 90, (len(times), 3)).astype(float)
    hour_T, day_T = ((times - times.normalize()) / pd.Timedelta(days=1)).to_numpy(), times.dayofweek.to_numpy() / 7
    clocks = (np.repeat(one[:, None], 3, axis=1) for one in (hour_T, day_T))
    data = np.stack([(readings_TN - 40.3) / 21.7, *clocks], axis=-1)
    np.savez_compressed(folder / "ca" / year / "his.npz", data=data, mean=40.3, std=21.7)
    return readings_TN


def test_scaled_arrays_become_readings_again(tmp_path: Path) -> None:
    readings_TN = write_scaled(tmp_path)
    series, graph = read(tmp_path / "ca" / "2019" / "his.npz")
    assert (series.ids, series.freq, series.channels) == (tuple(IDS), "1h", ("value",))
    assert str(series.times_T[0]) == "2019-01-01T00:00:00"
    assert series.missing == "zero"
    np.testing.assert_array_equal(np.asarray(series.values_TNC)[..., 0], readings_TN)
    assert graph is not None


def test_scaled_arrays_of_another_making_are_refused(tmp_path: Path) -> None:
    write_scaled(tmp_path, "2018")
    refused(tmp_path / "ca" / "2018" / "his.npz", "his.npz", "not those of whole years 2018")
    np.savez(tmp_path / "x.npz", data=np.ones((4, 3)), mean=1.0, std=2.0)
    refused(tmp_path / "x.npz", "x.npz", "its data are scaled")


def test_a_key_is_taken_for_all_years(tmp_path: Path) -> None:
    for year in (2018, 2019):
        write(tmp_path, year, frame(year)).rename(tmp_path / f"x{year}.h5")
        frame(year, low=60).to_hdf(tmp_path / f"x{year}.h5", key="other")
    assert prepare_main(["--data", str(tmp_path), "--hdf5-key", "other", "--output", str(tmp_path / "store")]) == 0
    assert np.asarray(open_store(tmp_path / "store")[0].values_TNC).min() >= 60


def test_two_series_and_years_that_overlap_are_refused(tmp_path: Path) -> None:
    for year in (2018, 2019):
        write(tmp_path, year, frame(2018))
    refused(tmp_path, "ca_his_raw_2019.h5 begins at", "must not overlap")
    for year in (2018, 2019):
        write(tmp_path, year, frame(year), stem="ca_his_")
    refused(tmp_path, "ca_his_* and ca_his_raw_*", "the years of one series")


def test_a_year_that_is_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    for year in (2018, 2019):
        path = write(tmp_path, year, frame(year))
    path.write_bytes(path.read_bytes()[:-3000])
    refused(tmp_path, path.name)


def test_metadata_and_network_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 2019, frame(2019))
    write_network(tmp_path, IDS[:2])
    refused(path, "ca_meta.csv has no sensor", IDS[2])
    write_network(tmp_path, IDS)
    np.save(tmp_path / "ca_rn_adj.npy", np.eye(2))
    refused(path, "ca_rn_adj.npy", "must be numbers (3, 3)")
    content = (tmp_path / "ca_meta.csv").read_text()
    (tmp_path / "ca_meta.csv").write_text(content.replace("33.5", "north"))
    refused(path, "ca_meta.csv", "line 3", "no position")
    (tmp_path / "ca_meta.csv").write_text(content.replace("Lng", "Lon"))
    refused(path, "ca_meta.csv", "no column 'Lng'")


def test_what_is_read_in_pieces_is_never_there_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrnn_fast.data.formats.hdf5._AT_ONCE", 1 << 14)
    monkeypatch.setattr("dcrnn_fast.data.blocks._AT_ONCE", 1 << 14)
    ids = [str(number) for number in range(300)]
    for year in (2018, 2019):
        write(tmp_path, year, frame(year, ids, rows=4_000))
    data = DataConfig(data=str(tmp_path))

    def go_through() -> int:
        opened = open_source(data, GraphConfig())
        assert opened is not None
        outline, series, _ = outline_source(*opened, data, GraphConfig())
        return sum(values_RNC.nbytes for values_RNC, _ in outline.rows_of(series))

    go_through()  # what is imported
    tracemalloc.start()
    try:
        size = go_through()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 2 * 4_000 * 300 * 4
    assert peak < size / 10
