"""Series are read in pieces and windows a few at a time: the same figures where nothing divides evenly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data import dataset as dataset_module
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.evaluation import slots as slots_module
from dcrnn_fast.evaluation import target_rows as target_rows_module
from dcrnn_fast.evaluation.evaluator import evaluate_model
from dcrnn_fast.evaluation.slots import Climatology, SlotMean
from dcrnn_fast.evaluation.target_rows import TargetRows, windows_at_a_time
from dcrnn_fast.loading import load
from tests.data.made_series import random_series, ring
from tests.evaluation.small_city import make_small_city


def _data(steps: int, sensors: int, **fields: object) -> ForecastData:
    series = random_series(steps, sensors, 2, seed=3)
    return assemble_data(series, ring(series), DataConfig(past_steps=5, future_steps=3, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("missing_input", ["zero", "last", "mean"])
@pytest.mark.parametrize("all_digits", [True, False])
def test_windows_gathered_a_few_at_a_time_are_the_same_bits(
    missing_input: str, all_digits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = random_series(90, 5, 2, seed=3)
    rest_TNC = (1e-6 * np.arange(900).reshape(90, 5, 2) * series.observed_TNC).astype(np.float32)
    config = DataConfig(past_steps=5, future_steps=3, targets=("c1",), missing_input=missing_input)  # type: ignore[arg-type]
    data = assemble_data(replace(series, rest_TNC=rest_TNC), ring(series), config, all_digits=all_digits)
    starts = np.array([40, 3, 3, 77, 12, 0, 82])
    whole = data.gather(starts)
    for readings in (1, 21, 39):  # one, two and three windows at once
        monkeypatch.setattr(dataset_module, "_GATHERED_AT_ONCE", readings)
        parts = data.gather(starts)
        for name in ("x_BPNC", "y_BFNO", "observed_BFNO", "labels_BFNO"):
            assert np.array_equal(getattr(parts, name).numpy(), getattr(whole, name).numpy()), (name, readings)


def test_slots_summed_in_pieces_are_the_means_of_the_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(3000, 5)
    interval, form = data.window_format.interval, data.window_format
    whole = SlotMean(TargetRows(data), interval).mean_GNO, Climatology(TargetRows(data), interval).mean_GNO
    monkeypatch.setattr(slots_module, "_SENSORS_AT_ONCE", 2)
    monkeypatch.setattr(target_rows_module, "_CHUNK_READINGS", 5 * 37)
    rows = TargetRows(data)
    for mean_GNO, parts in zip(whole, (SlotMean(rows, interval), Climatology(rows, interval)), strict=True):
        np.testing.assert_allclose(parts.mean_GNO, mean_GNO, rtol=1e-13)
    series, stop = data.series, int(data.train.starts_W[-1]) + form.window_steps
    row = np.arange(stop)
    in_slot = (row - 700) % (7 * 288) == 0
    seen_RN = series.observed_TNC[:stop, :, 0] & in_slot[:, None]
    wanted_N = np.where(seen_RN, series.values_TNC[:stop, :, 0], 0.0).sum(0) / np.maximum(seen_RN.sum(0), 1)
    slot = SlotMean(rows, interval)._slots(series.times_T[[700]])[0]
    np.testing.assert_allclose(whole[0][slot, :, 0][seen_RN.any(0)], wanted_N[seen_RN.any(0)], rtol=1e-6)


def test_the_newest_reading_is_that_of_the_filled_windows() -> None:
    rows, starts = TargetRows(_data(60, 4)), np.array([0, 7, 31])
    assert np.array_equal(rows.newest(starts), rows.filled_windows(starts)[:, -1])


def test_a_large_graph_is_scored_fewer_windows_at_a_time(tmp_path: Path) -> None:
    city = make_small_city(tmp_path)
    assert windows_at_a_time(city.data) == 64
    series = city.data.series
    wide = replace(series, ids=tuple(f"s{n}" for n in range(11_160)))
    assert windows_at_a_time(replace(city.data, series=wide)) == (1 << 20) // (10 * 11_160)
    a, b = (evaluate_model(city.model, city.data, batch_size=size) for size in (None, 7))
    for name, sums in a.methods.items():
        np.testing.assert_allclose(sums.sums_SFNO, b.methods[name].sums_SFNO, rtol=1e-6)


class _Rows(np.ndarray):
    """Readings that remember the rows that were asked for."""

    asked: list[slice]

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        self.asked.append(key)
        return np.asarray(super().__getitem__(key))


def test_a_forecast_touches_the_newest_rows_alone(tmp_path: Path) -> None:
    """In another order of the sensors, and with one left out: both once copied the complete series."""
    city = make_small_city(tmp_path)
    series = city.data.series
    _Rows.asked = []

    def watched(array: np.ndarray) -> np.ndarray:
        return array.view(_Rows)

    recent: SensorSeries = replace(
        series.take_sensors(series.ids[::-1]),
        values_TNC=watched(series.values_TNC[:, ::-1]),
        observed_TNC=watched(series.observed_TNC[:, ::-1]),
        rest_TNC=None,
    )
    forecaster = load(tmp_path / "model.pt", device="cpu")
    wanted = forecaster.forecast(series.tail(6), leave_out=series.ids[:1]).values_FNO
    assert np.array_equal(forecaster.forecast(recent, leave_out=series.ids[:1]).values_FNO, wanted)
    assert _Rows.asked == [slice(series.num_steps - 6, None)] * 2


def test_a_part_of_the_windows_is_scored_and_the_report_says_so(tmp_path: Path) -> None:
    city = make_small_city(tmp_path, max_test_windows=7)
    forecaster = load(city.checkpoint, device="cpu")
    data = forecaster.open_data()
    whole = len(data.test)
    assert f"7 of {whole} test windows, evenly spread, are scored (--max-test-windows)" in city.data.notes
    assert len(data.test) > 400
    report = forecaster.evaluate(data, split="test")
    assert report.num_windows == 7
    assert any(f"7 of these {len(data.test)}, evenly spread" in note for note in report.notes)
    again = forecaster.evaluate(data, split="test", max_windows=3)
    assert again.num_windows == 3
    starts_W = data.test.starts_W[[0, len(data.test) // 3, 2 * len(data.test) // 3]]
    alone = forecaster.evaluate(data, split="test", starts_W=starts_W)
    assert np.array_equal(again.methods["DCRNN"].sums_SFNO, alone.methods["DCRNN"].sums_SFNO)
