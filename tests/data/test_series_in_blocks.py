"""A series read in pieces, whatever format it comes from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import blocks, sources
from dcrnn_fast.data.blocks import Blocks, outline_of_blocks, series_of_blocks
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.data.times import count_from, parse_freq
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.prepare import prepare

TIMES = count_from(np.datetime64("2024-03-01", "s"), parse_freq("5min"), 60)
READINGS = np.random.default_rng(0).uniform(-1, 9, (60, 3, 2))
IDS = ("a", "b", "c")


def made(readings_TNC: np.ndarray = READINGS, rows: int = 7, **settings: Any) -> Blocks:
    def read() -> Iterator[np.ndarray]:
        for start in range(0, len(readings_TNC), rows):
            yield readings_TNC[start : start + rows]

    given: dict[str, Any] = {"stamps": Stamps(TIMES, False), "ids": IDS, "channels": ("x", "y"), "units": ("", "m")}
    return Blocks(**(given | {"where": "made", "read": read, "marks_gaps": False} | settings))


@pytest.mark.parametrize("rows", [1, 7, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pieces_make_the_series_of_the_whole(rows: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_AT_ONCE", 20)
    readings_TNC = READINGS.astype(dtype)
    readings_TNC[5, 1] = np.nan
    series = series_of_blocks(made(readings_TNC, rows), DataConfig(missing_value=(float(readings_TNC[9, 0, 1]),)))
    whole = make_series(
        readings_TNC,
        times_T=TIMES,
        ids=IDS,
        channels=("x", "y"),
        missing="auto",
        missing_value=(float(readings_TNC[9, 0, 1]),),
        where="made",
    )
    for name in ("values_TNC", "observed_TNC", "rest_TNC"):
        np.testing.assert_array_equal(getattr(series, name), getattr(whole, name), strict=True)
    assert (series.missing, series.interval, series.segments) == (whole.missing, whole.interval, whole.segments)


@pytest.mark.parametrize(
    ("readings", "rule"), [((1, 2), "nan"), ((0, 2), "zero"), ((0, -1, -2), "nan"), ((0, -9), "zero")]
)
def test_the_rule_for_zeros_is_that_of_all_pieces(readings: tuple[float, ...], rule: str) -> None:
    cells = np.full(READINGS.shape, 5.0)
    cells[10 : 10 * len(readings) + 1 : 10, 0, 0] = readings  # each in a piece of its own
    assert outline_of_blocks(made(cells), DataConfig()).series.missing == rule


def test_large_blocks_are_cleaned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_AT_ONCE", 20)
    outline = outline_of_blocks(made(rows=60), DataConfig())
    assert [len(piece.values_RNC) for piece in outline.cleaned()] == [3] * 20


def test_a_reading_at_fault_is_named_by_its_row_of_the_series() -> None:
    readings_TNC = READINGS.copy()
    readings_TNC[33, 1, 0] = np.nan
    with pytest.raises(UserError, match="made: row 33, sensor b is NaN"):
        series_of_blocks(made(readings_TNC), DataConfig(missing="none"))


def test_a_start_is_refused_where_there_are_times() -> None:
    with pytest.raises(UserError, match="made has times of its own, the first 2024-03-01T00:00:00: leave out --start"):
        series_of_blocks(made(), DataConfig(start="2024-03-02T00:00"))


def test_other_rows_than_times_are_no_series() -> None:
    with pytest.raises(ValueError, match="60 rows wanted of made, got 59"):
        series_of_blocks(made(READINGS[:59]), DataConfig())


def test_of_large_readings_in_memory_a_store_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "readings.npz"
    times_T = np.datetime64("2024-01-01T00", "s") + np.arange(40) * np.timedelta64(3600, "s")
    np.savez(path, data=np.arange(1.0, 121.0).reshape(40, 3), times=times_T)
    data, said = DataConfig(data=str(path)), f"{path}: 0.0 GiB of readings are in memory; of a store"
    assert not any(said in note for note in read_source(data, GraphConfig())[0].notes)
    prepare(data, GraphConfig(), tmp_path / "store")
    monkeypatch.setattr(sources, "_LARGE", 1)
    assert any(said in note for note in read_source(data, GraphConfig())[0].notes)
    assert not read_source(DataConfig(data=str(tmp_path / "store")), GraphConfig())[0].notes
