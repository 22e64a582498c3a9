"""Folders from the PeMS clearinghouse: what is read, what is dropped and told, what is refused."""

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import formats_of_path, pems
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_series
from dcrnn_fast.data.store import open_store
from dcrnn_fast.errors import UserError
from dcrnn_fast.prepare import prepare
from tests.data.pems_folders import (
    STATIONS,
    day_lines,
    expected,
    reading,
    row,
    write_day,
    write_metadata,
)


@pytest.fixture(autouse=True, params=["compiled", pytest.param("arrow", marks=pytest.mark.slow)])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test with the compiled reader and with the other one."""
    if request.param == "compiled":
        assert pems.is_compiled()
    monkeypatch.setattr(pems, "is_compiled", lambda: request.param == "compiled")
    return str(request.param)


def read(folder: Path, **settings: Any) -> SensorSeries:
    return read_series(DataConfig(data=str(folder), **settings))


def raw(series: SensorSeries) -> np.ndarray:
    return np.where(np.asarray(series.observed_TNC), np.asarray(series.values_TNC), np.nan)


def refused(folder: Path, *parts: str, **settings: Any) -> None:
    with pytest.raises(UserError) as caught:
        read(folder, **settings)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


def test_days_become_one_series(tmp_path: Path) -> None:
    for day in (1, 2):
        write_day(tmp_path / "2024", day)
    write_day(tmp_path / "2024", 3, packed=False)
    write_metadata(tmp_path)
    assert formats_of_path(tmp_path, "auto") == {"pems"}
    series = read(tmp_path)
    assert series.ids == tuple(map(str, STATIONS))
    assert series.channels == ("flow", "occupancy", "speed", "observed")
    assert series.freq == "5min"
    assert str(series.times_T[0]) == "2024-03-01T00:00:00"
    assert series.missing == "nan"
    np.testing.assert_array_equal(raw(series), expected([1, 2, 3]).astype(np.float32))
    assert series.positions_N2 is not None
    np.testing.assert_allclose(series.positions_N2[:, 0], [37.3, 37.4, 37.5])
    told = " ".join(series.notes)
    assert "3 days from 2024-03-01 to 2024-03-03, 3 files, 2,592 rows" in told
    assert "% of the rows hold what PeMS imputed" in told


def test_a_day_alone_is_read_as_its_folder_is(tmp_path: Path) -> None:
    for packed in (True, False):
        folder = tmp_path / str(packed)
        path = write_day(folder, 1, packed=packed)
        write_metadata(folder)
        assert formats_of_path(path, "auto") == {"pems"}
        alone, whole = read(path), read(folder)
        np.testing.assert_array_equal(raw(alone), raw(whole))
        np.testing.assert_array_equal(alone.positions_N2, whole.positions_N2)
        assert any("1 day from 2024-03-01 to 2024-03-01, 1 file, 864 rows" in note for note in alone.notes)
    refused(path.rename(tmp_path / "day.txt"), "its name is no station file's", data_format="pems")


def test_what_was_imputed_can_be_kept(tmp_path: Path) -> None:
    write_day(tmp_path, 1)
    series = read(tmp_path, imputed="keep")
    np.testing.assert_array_equal(raw(series), expected([1], keep_imputed=True).astype(np.float32))


def test_rows_in_any_order_are_the_same_series(tmp_path: Path) -> None:
    write_day(tmp_path / "a", 1)
    lines = day_lines(1)
    random.Random(3).shuffle(lines)
    write_day(tmp_path / "b", 1, lines)
    one, other = read(tmp_path / "a"), read(tmp_path / "b")
    assert one.ids == other.ids
    np.testing.assert_array_equal(raw(one), raw(other))


def test_a_row_that_comes_twice_or_of_another_day_is_dropped_and_told(tmp_path: Path) -> None:
    odd = [row("03/01/2024 01:00:00", STATIONS[0], ("1", "100", "9999", ".5", "1"))] * 2
    odd += [row("03/02/2024 01:00:00", STATIONS[0], ("1", "100", "9999", ".5", "1"))]
    path = write_day(tmp_path, 1, [*day_lines(1), *odd])
    series = read(tmp_path)
    np.testing.assert_array_equal(raw(series), expected([1]).astype(np.float32))
    told = " ".join(series.notes)
    assert "2 rows of a station and time that came before were dropped" in told
    assert "1 rows of another day than their file's were dropped" in told
    assert path.name in told


def test_an_hour_that_is_absent_is_missing_readings(tmp_path: Path) -> None:
    write_day(tmp_path, 1, [line for line in day_lines(1) if " 02:" not in line])
    series = read(tmp_path)
    assert series.num_steps == 288
    assert not np.asarray(series.observed_TNC)[24:36].any()
    assert "12 times without a row are missing readings" in " ".join(series.notes)


def test_a_day_without_a_file_is_a_gap_and_told(tmp_path: Path) -> None:
    for day in (1, 3):
        write_day(tmp_path, day)
    series = read(tmp_path)
    assert series.segments == ((0, 288), (288, 576))
    assert "no file of 1 day: '2024-03-02'" in " ".join(series.notes)
    filled = read(tmp_path, fill_rows=True)
    np.testing.assert_array_equal(raw(filled)[576:], raw(series)[288:])
    assert not np.asarray(filled.observed_TNC)[288:576].any()


def test_stations_that_come_later_are_found(tmp_path: Path) -> None:
    first = day_lines(1, STATIONS[:2])
    write_day(tmp_path, 1, [*first, *day_lines(1, STATIONS[2:])[144:]])  # in no file's first time
    series = read(tmp_path)
    assert series.ids == tuple(map(str, STATIONS))
    wanted = expected([1]).astype(np.float32)
    wanted[:144, 2] = np.nan
    np.testing.assert_array_equal(raw(series), wanted)


def test_stations_of_one_day_or_of_the_metadata_alone_are_told(tmp_path: Path) -> None:
    write_day(tmp_path, 1, day_lines(1, STATIONS[:2]))
    write_day(tmp_path, 2, day_lines(2, STATIONS[1:]))
    write_metadata(tmp_path, (*STATIONS, 400099))
    series = read(tmp_path)
    assert series.ids == tuple(map(str, STATIONS))
    assert not np.asarray(series.observed_TNC)[288:, 0].any()
    assert "1 station of the metadata without readings: '400099'" in " ".join(series.notes)
    write_metadata(tmp_path, STATIONS[:1])
    series = read(tmp_path)
    assert series.positions_N2 is None
    assert "2 stations without a position in the metadata, so none has one: '400017', '400030'" in " ".join(
        series.notes
    )


def test_two_districts_are_read_together(tmp_path: Path) -> None:
    write_day(tmp_path, 1, day_lines(1, STATIONS[:2]))
    write_day(tmp_path, 1, day_lines(1, STATIONS[2:]), district="05")
    write_day(tmp_path, 2, day_lines(2, STATIONS[:2]))
    series = read(tmp_path)
    wanted = expected([1, 2]).astype(np.float32)
    wanted[288:, 2] = np.nan
    np.testing.assert_array_equal(raw(series), wanted)
    assert "district 05 has no file of '2024-03-02', others have" in " ".join(series.notes)


def test_hours_come_by_the_month(tmp_path: Path) -> None:
    lines = [
        row(f"02/{day:02d}/2024 {hour:02d}:00:00", station, (*reading(day, hour, station), *"012345"), lane_columns=3)
        for day in range(1, 30)
        for hour in range(24)
        for station in STATIONS
    ]
    text = "\n".join(lines).encode()
    (tmp_path / "d04_text_station_hour_2024_02.txt.gz").write_bytes(gzip.compress(text))
    series = read(tmp_path)
    assert (series.freq, series.num_steps) == ("1h", 29 * 24)
    assert series.units[0] == "vehicles/h"
    write_day(tmp_path, 1)
    refused(tmp_path, "5-minute", "hourly", "a folder of its own")


@pytest.mark.parametrize("text", ["12.5", ".0001", "007", "123456789.25", "1e2", "-3", "0.30000001", "16777217", "3."])
def test_numbers_are_those_of_numpy(text: str, tmp_path: Path) -> None:
    lines = day_lines(1)
    lines[0] = row("03/01/2024 00:00:00", STATIONS[0], ("1", "100", text, ".5", "1"))
    write_day(tmp_path, 1, lines)
    assert read(tmp_path).values_TNC[0, 0, 0] == np.float32(float(text))


def test_files_put_together_and_ends_of_lines_of_windows_are_read(tmp_path: Path) -> None:
    lines = day_lines(1)
    halves = ["\r\n".join(part).encode() for part in (lines[:400], ["", *lines[400:]])]
    path = write_day(tmp_path, 1)
    path.write_bytes(b"".join(map(gzip.compress, halves)))
    np.testing.assert_array_equal(raw(read(tmp_path)), expected([1]).astype(np.float32))


def test_a_day_twice_is_refused(tmp_path: Path) -> None:
    packed, plain = write_day(tmp_path, 1), write_day(tmp_path, 1, packed=False)
    refused(tmp_path, str(packed), str(plain), "keep one")


@pytest.mark.parametrize("size", [20, 400, -1])
def test_a_file_that_is_cut_short_is_refused_by_name(size: int, tmp_path: Path) -> None:
    write_day(tmp_path, 1)
    path = write_day(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path, path.name, "cut short")


def test_a_gzip_whose_sum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = write_day(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[-6] ^= 255
    path.write_bytes(bytes(content))
    refused(tmp_path, path.name)


@pytest.mark.parametrize(
    "garbage",
    [
        "<html>",
        row("03/01/2024 01:00:00", 1, ("1", "100", "many", ".5", "1")),
        row("03/01/2024 01:00:00", 1, ("1", "100", "3", ".5")),
        row("2024-03-01 01:00:00", 1, ("1", "100", "3", ".5", "1")),
        row("03/41/2024 01:00:00", STATIONS[0], ("1", "100", "3", ".5", "1")),
        row("03/01/2024 01:02:00", STATIONS[0], ("1", "100", "3", ".5", "1")),
        "03/01/2024 01:00:00," + row("", 1, ("1", "100", "3", ".5", "1")).split(",", 1)[1].replace("1,4", ",4", 1),
    ],
)
def test_a_line_that_is_no_row_is_named(garbage: str, tmp_path: Path) -> None:
    lines = day_lines(1)
    path = write_day(tmp_path, 1, [*lines[:500], garbage, *lines[500:]])
    refused(tmp_path, path.name, "line 501")


def test_another_version_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = write_day(tmp_path, 1, [line + ",1" for line in day_lines(1)])
    refused(tmp_path, path.name, "53 columns", "another version")


def test_a_line_of_names_is_passed_over(tmp_path: Path) -> None:
    names = ",".join(["Timestamp", *(f"c{k}" for k in range(51))])
    write_day(tmp_path, 1, [names, *day_lines(1)])
    np.testing.assert_array_equal(raw(read(tmp_path)), expected([1]).astype(np.float32))


def test_metadata_that_are_none_are_refused(tmp_path: Path) -> None:
    write_day(tmp_path, 1)
    path = write_metadata(tmp_path)
    path.write_text(path.read_text().replace("37.4", "north"))
    refused(tmp_path, path.name, "line 3")
    path.write_text("ID,Latitude,Longitude\n1,2,3\n")
    refused(tmp_path, path.name, "tabs")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"imputed": "keep", "variables": ("speed", "0"), "missing_value": (50.5,)},
        {"fill_rows": True, "leave_out": ("400017", "silent"), "missing": "zero"},
        {"freq": "5min", "variables": ("observed",), "missing": "none"},
    ],
)
def test_a_store_in_pieces_has_the_bits_of_the_whole_series(settings: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "source"
    for day in (1, 2, 4):
        write_day(source, day)
    data = DataConfig(data=str(source), **settings)
    if settings.get("missing") == "none":
        with pytest.raises(UserError, match="is NaN, but missing = none"):
            prepare(data, GraphConfig(), tmp_path / "store")
        assert not (tmp_path / "store" / "manifest.json").exists()
        return
    series, _ = prepare(data, GraphConfig(), tmp_path / "store")
    from dcrnn_fast.data.opening import read_matched

    whole, _ = read_matched(data, GraphConfig())
    stored, _ = open_store(tmp_path / "store")
    for name in ("ids", "channels", "units", "interval", "segments", "parts", "missing", "in_utc"):
        assert getattr(stored, name) == getattr(whole, name), name
    np.testing.assert_array_equal(stored.times_T, whole.times_T)
    np.testing.assert_array_equal(np.asarray(stored.values_TNC), np.asarray(whole.values_TNC))
    np.testing.assert_array_equal(np.asarray(stored.observed_TNC), np.asarray(whole.observed_TNC))
    assert sorted(series.notes) == sorted(whole.notes)
