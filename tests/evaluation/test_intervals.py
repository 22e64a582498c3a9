"""Prediction intervals: their half widths against plain sorting, coverage, what is refused, and what is reported."""

import csv
import io
import json
import math
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast import evaluate, forecast
from dcrnn_fast.checkpoints.intervals import put_intervals
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.bounds import bound_columns, bound_variables, interval_lines
from dcrnn_fast.evaluation.calibration import AbsoluteErrors, calibration_of, calibration_windows
from dcrnn_fast.evaluation.forecasts import Forecast
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import LEVELS, Intervals, windows_needed
from dcrnn_fast.evaluation.report_csv import horizons_csv, sensors_csv
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.loading import load
from dcrnn_fast.records.lock import FolderLock
from tests.evaluation.small_city import SmallCity, make_small_city


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="module")
def calibrated(city: SmallCity) -> Forecaster:
    forecaster, _ = load(city.checkpoint).calibrate(city.data)
    return forecaster


def errors_of(errors_WFNO: np.ndarray) -> AbsoluteErrors:
    """As if these had been the errors; NaN where nothing was observed."""
    made = AbsoluteErrors(*errors_WFNO.shape)
    forecast_WFNO = torch.from_numpy(np.nan_to_num(errors_WFNO, posinf=np.inf)).float()
    observed_WFNO = torch.from_numpy(~np.isnan(errors_WFNO))
    half = len(errors_WFNO) // 2
    for places in (np.arange(half, len(errors_WFNO)), np.arange(half)):
        y_BFNO = torch.zeros_like(forecast_WFNO[places])
        made.add(places, -forecast_WFNO[places], y_BFNO, observed_WFNO[places])
    return made


def half_width(errors: list[float], level: Fraction) -> float:
    """The ceil((n + 1) level)-th smallest by exact arithmetic; NaN if there is none, or no finite one."""
    rank = math.ceil((len(errors) + 1) * level)
    chosen = sorted(errors)[rank - 1] if rank <= len(errors) else math.inf
    return chosen if math.isfinite(chosen) else math.nan


def test_half_widths_are_those_of_a_plain_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrnn_fast.evaluation.calibration._SORTED_AT_ONCE", 200)  # several pieces
    rng = np.random.default_rng(0)
    errors_WFNO = rng.exponential(size=(41, 3, 5, 2)).astype(np.float32)
    errors_WFNO[rng.random(errors_WFNO.shape) < rng.random((1, 3, 5, 2))] = np.nan  # each with its own share
    errors_WFNO[::3, 1, 2, 0] = np.inf  # forecasts that are no numbers
    levels = ("0.28", "0.5", "0.8", "0.9", "0.975")
    got_LFNO = errors_of(errors_WFNO).half_widths([float(level) for level in levels])
    for cell in np.ndindex(3, 5, 2):
        column_W = errors_WFNO[(slice(None), *cell)]
        seen = column_W[~np.isnan(column_W)].tolist()
        wanted = [half_width(seen, Fraction(level)) for level in levels]
        np.testing.assert_array_equal(got_LFNO[(slice(None), *cell)], np.float32(wanted))


@pytest.mark.parametrize("windows", [19, 99])
def test_intervals_of_exchangeable_errors_hold_their_share(windows: int) -> None:
    """Of many sensors, each calibrated for itself: ceil((n + 1) level) / (n + 1) of new readings, for any n."""
    rng = np.random.default_rng(5)
    before_WFNO = rng.standard_t(3, size=(windows, 4, 500, 1)).astype(np.float32)
    after_BFNO = torch.from_numpy(rng.standard_t(3, size=(100, 4, 500, 1)).astype(np.float32))
    half_width_LFNO = errors_of(np.abs(before_WFNO)).half_widths(LEVELS)
    sums = IntervalSums(Intervals(LEVELS, half_width_LFNO, windows))
    sums.add(torch.zeros_like(after_BFNO), after_BFNO, torch.ones_like(after_BFNO, dtype=torch.bool))
    for index, level in enumerate(LEVELS):
        wanted = math.ceil(round((windows + 1) * level, 9)) / (windows + 1)
        assert float(sums.overall(index).coverage) == pytest.approx(wanted, abs=0.006)


def test_as_many_windows_as_a_level_needs() -> None:
    assert [windows_needed(level) for level in (0.2, 0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 1, 4, 9, 19, 99]
    for level in (0.5, 0.8, 0.9, 0.99):
        needed = windows_needed(level)
        errors_WFNO = np.ones((needed, 1, 1, 1), dtype=np.float32)
        assert errors_of(errors_WFNO).half_widths([level]).item() == 1
        assert needed == 1 or np.isnan(errors_of(errors_WFNO[1:]).half_widths([level]).item())


def test_too_few_windows_are_said_and_how_many_are_needed(city: SmallCity) -> None:
    starts_W = city.data.validation.starts_W
    errors_WFNO = np.ones((12, 4, 8, 1), dtype=np.float32)
    errors_WFNO[2:, 3, 6] = np.nan  # one sensor, one step: two windows
    found = calibration_of(errors_of(errors_WFNO), city.data, starts_W[:12], len(starts_W), LEVELS)
    assert found.intervals is not None
    assert found.intervals.levels == LEVELS
    assert np.argwhere(np.isnan(found.intervals.half_width_LFNO)).tolist() == [[1, 3, 6, 0], [2, 3, 6, 0]]
    first, second, third = found.notes
    assert first == f"intervals: 50, 80 and 90 %, from 12 of {len(starts_W)} validation windows, evenly spread"
    assert second.startswith("look: 1 of 8 sensors have no 80 % interval at every step, which takes 4 windows with")
    assert third.endswith(f"which takes 9 windows with an observed target: {city.data.series.ids[6]!r}")
    found = calibration_of(errors_of(errors_WFNO[:5]), city.data, starts_W[:5], 5, LEVELS)
    assert found.intervals is not None
    assert found.intervals.levels == (0.5, 0.8)
    assert found.intervals.half_width_LFNO.shape == (2, 4, 8, 1)
    assert "no 90 % interval: it takes 9 windows with an observed target of a sensor at a step" in found.notes[-1]
    assert "of 5 validation windows there are at most 5" in found.notes[-1]


def test_what_is_asked_for_and_cannot_be_is_refused(city: SmallCity) -> None:
    forecaster = load(city.checkpoint)
    windows = len(city.data.validation)
    with pytest.raises(UserError, match=r"^no 99\.9 % interval: it takes 999 windows with .* at most"):
        forecaster.calibrate(city.data, levels=(0.999,))
    assert windows < 999
    none = replace(city.data, validation=replace(city.data.validation, starts_W=np.zeros(0, dtype=np.int64)))
    with pytest.raises(UserError, match=r"^there is no validation window to take prediction intervals from"):
        forecaster.calibrate(none)
    for levels in ((), (0.9, 0.5), (0.5, 0.5), (1.0,), (0.0, 0.5), (math.nan,), (90,)):
        with pytest.raises(UserError, match=r"^levels of intervals must be ascending numbers between 0 and 1, got"):
            forecaster.calibrate(city.data, levels=levels)
    with pytest.raises(UserError, match=r"^max_windows must be at least 1, got 0"):
        forecaster.calibrate(city.data, max_windows=0)


def test_they_come_from_the_validation_windows_in_time_before_those_that_are_scored(
    city: SmallCity, calibrated: Forecaster
) -> None:
    data, intervals = city.data, calibrated.intervals
    assert intervals is not None
    batch = data.gather(data.validation.starts_W)
    with torch.no_grad():
        forecast_WFNO = data.scaler.inverse(city.model(batch.x_BPNC))
    error_WFNO = (forecast_WFNO - batch.y_BFNO).abs().masked_fill(~batch.observed_BFNO, torch.nan).numpy()
    assert np.isnan(error_WFNO).any()
    for step, node in ((0, 0), (3, int(np.isnan(error_WFNO).any(axis=(0, 1, 3)).argmax()))):
        column_W = error_WFNO[:, step, node, 0]
        seen = column_W[~np.isnan(column_W)].tolist()
        wanted = [half_width(seen, Fraction(str(level))) for level in LEVELS]
        np.testing.assert_allclose(intervals.half_width_LFNO[:, step, node, 0], wanted, rtol=1e-4)
    assert intervals.windows == len(data.validation)
    times_WF = data.target_times(data.validation.starts_W)
    assert intervals.times == (times_WF[0, 0], times_WF[-1, -1])
    assert intervals.times[1] < data.target_times(data.test.starts_W)[-1, 0]
    look = "look: 230 of 230 windows are of the time from which the intervals were taken"
    assert any(note.startswith(look) for note in calibrated.evaluate(data, "validation").notes)
    assert not any("intervals" in note for note in calibrated.evaluate(data, "test").notes)


def test_errors_are_bounded_in_memory_unless_the_number_of_windows_is_given(
    city: SmallCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts_W = np.arange(3000)
    assert len(calibration_windows(city.data, starts_W)) == 3000
    monkeypatch.setattr("dcrnn_fast.evaluation.calibration._MOST_ERRORS", 500 * 4 * 8)
    few_W = calibration_windows(city.data, starts_W)
    np.testing.assert_array_equal(few_W, np.arange(0, 3000, 6))
    assert len(calibration_windows(city.data, starts_W, 700)) == 700


@pytest.mark.parametrize("at_least", [None, 57.0])
def test_a_report_measures_them_by_horizon_and_sensor(
    city: SmallCity, calibrated: Forecaster, at_least: float | None
) -> None:
    forecaster = replace(
        calibrated, config=replace(calibrated.config, model=replace(calibrated.config.model, at_least=at_least))
    )
    intervals, data = calibrated.intervals, city.data
    assert intervals is not None
    half_width_LFNO = intervals.half_width_LFNO.copy()
    half_width_LFNO[2, :, 5] = np.nan  # a sensor without 90 %
    forecaster = replace(forecaster, intervals=replace(intervals, half_width_LFNO=half_width_LFNO))
    report = forecaster.evaluate(data, "test", batch_size=50)
    batch = data.gather(data.test.starts_W)
    with torch.no_grad():
        forecast_WFNO = data.scaler.inverse(city.model(batch.x_BPNC)).numpy()
    if at_least is not None:
        forecast_WFNO = np.maximum(forecast_WFNO, np.float32(at_least))
        assert (forecast_WFNO == at_least).any()
    y_WFNO, observed_WFNO = batch.y_BFNO.numpy(), batch.observed_BFNO.numpy()
    rows = list(csv.DictReader(io.StringIO(horizons_csv(report).decode())))
    sensors = list(csv.DictReader(io.StringIO(sensors_csv(report).decode())))
    written = json.loads(report.files()["report.json"])
    plain = written["channels"][0]["intervals"]
    if at_least is not None:
        lows = [low for one in written["series"][0]["sensors"] for low in one.get("lower", ()) if low is not None]
        assert min(lows) == at_least
    for index, level in enumerate(LEVELS):
        lower_WFNO, upper_WFNO = forecast_WFNO - half_width_LFNO[index], forecast_WFNO + half_width_LFNO[index]
        if at_least is not None:
            lower_WFNO = np.maximum(lower_WFNO, np.float32(at_least))
        outside = np.maximum(np.maximum(lower_WFNO - y_WFNO, y_WFNO - upper_WFNO), 0)
        there = observed_WFNO & ~np.isnan(half_width_LFNO[index])
        name = f"{100 * level:g}"
        assert plain[index]["level"] == level
        for where, row in [((slice(None), step), rows[step]) for step in range(4)] + [
            ((slice(None), slice(None), node), sensors[node]) for node in range(8)
        ]:
            mask = there[where]
            if not mask.any():
                assert (row["method"], row[f"coverage_{name}"], row[f"score_{name}"]) == ("DCRNN", "", "")
                continue
            width = (upper_WFNO - lower_WFNO)[where][mask].mean(dtype=np.float64)
            score = width + 2 / (1 - level) * outside[where][mask].mean(dtype=np.float64)
            assert float(row[f"coverage_{name}"]) == pytest.approx((outside[where][mask] == 0).mean(), abs=2e-3)
            assert float(row[f"width_{name}"]) == pytest.approx(width, rel=1e-5)
            assert float(row[f"score_{name}"]) == pytest.approx(score, rel=1e-4)
        for figure in ("coverage", "width", "score"):
            assert plain[index]["at_horizon"][figure] == [float(row[f"{figure}_{name}"]) for row in rows[:4]]
    assert {row[f"coverage_{name}"] for row in rows if row["method"] != "DCRNN"} == {""}
    lines = report.table().splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("interval at the horizon"))
    assert lines[at + 4].split()[:4] == ["90", "%", f"{100 * float(rows[0]['coverage_90']):.1f}", "%"]


def test_each_target_has_its_own() -> None:
    half_width_LFNO = np.arange(1, 9, dtype=np.float32).reshape(2, 1, 2, 2)
    values_FNO = np.full((1, 2, 2), 100.0, dtype=np.float32)
    intervals = Intervals((0.5, 0.9), half_width_LFNO, 20)
    lower_LFNO, upper_LFNO = intervals.bounds(values_FNO)
    made = Forecast(
        values_FNO, np.array(["2024-01-01"], "M8[s]"), ("a", "b"), ("flow", "speed"), ("", "mph"), values_FNO,
        np.array(["2023-12-31"], "M8[s]"), levels=intervals.levels, lower_LFNO=lower_LFNO, upper_LFNO=upper_LFNO,
    )  # fmt: skip
    variables = bound_variables(made)
    names = [
        f"{channel}_{bound}" for channel in made.channels for bound in ("lower_50", "upper_50", "lower_90", "upper_90")
    ]
    assert list(variables) == names
    assert variables["speed_upper_50"][1].tolist() == [[102, 104]]
    assert variables["flow_lower_90"][1].tolist() == [[95, 93]]
    assert bound_columns(made)["lower_90"].tolist() == [95, 94, 93, 92]
    assert interval_lines(made, 20) == [
        "flow: intervals of 50 and 90 % from 20 validation windows; at the last step 90 % is the forecast and 6 above "
        "and below it (median of the sensors)",
        "speed: intervals of 50 and 90 % from 20 validation windows; at the last step 90 % is the forecast and 7 mph "
        "above and below it (median of the sensors)",
    ]
    longer = intervals.of_steps(3)
    longer_FNO = np.repeat(values_FNO, 3, axis=0)
    lower_LFNO, upper_LFNO = longer.bounds(longer_FNO)
    made = replace(made, values_FNO=longer_FNO, lower_LFNO=lower_LFNO, upper_LFNO=upper_LFNO)
    assert interval_lines(made, 20)[1] == (
        "speed: intervals of 50 and 90 % from 20 validation windows; none after step 1, where 90 % is the forecast and "
        "7 mph above and below it (median of the sensors)"
    )
    sums = IntervalSums(intervals)
    y_BFNO = torch.tensor([[[101.0, 103.0], [104.0, 99.0]]])[None]
    sums.add(torch.from_numpy(values_FNO)[None], y_BFNO, torch.ones_like(y_BFNO, dtype=torch.bool))
    assert [sums.overall(0, channel).coverage.item() for channel in (0, 1)] == [0.5, 0.5]
    assert [sums.overall(0, channel).width.item() for channel in (0, 1)] == [4.0, 6.0]
    assert sums.overall(0, 1).score.item() == 6 + 2 / 0.5 * (3 - 2) / 2
    assert sums.by_sensor(1, 0).coverage.tolist() == [1, 1]


@pytest.mark.slow
def test_a_forecast_has_bounds_in_every_form(city: SmallCity, calibrated: Forecaster, tmp_path: Path) -> None:
    import pandas as pd
    import xarray as xr

    made = calibrated.forecast(city.data.series)
    intervals = calibrated.intervals
    assert intervals is not None
    assert made.levels == LEVELS
    assert made.lower_LFNO is not None
    assert made.upper_LFNO is not None
    np.testing.assert_array_equal(made.lower_LFNO, made.values_FNO - intervals.half_width_LFNO)
    np.testing.assert_array_equal(made.upper_LFNO, made.values_FNO + intervals.half_width_LFNO)
    made.lower_LFNO[2, 0, 1, 0] = np.nan  # a sensor without one
    for ending in ("csv", "parquet", "nc"):
        made.write(tmp_path / f"f.{ending}")
    table = pd.read_csv(tmp_path / "f.csv")
    bounds = [f"{bound}_{level}" for level in (50, 80, 90) for bound in ("lower", "upper")]
    assert list(table) == ["time", "step", "id", "channel", "unit", "value", *bounds]
    np.testing.assert_array_equal(table["lower_90"].astype("f4"), made.lower_LFNO[2].ravel())
    np.testing.assert_array_equal(table["upper_50"].astype("f4"), made.upper_LFNO[0].ravel())
    assert list(pd.read_parquet(tmp_path / "f.parquet")) == list(table)
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["speed_lower_90"], made.lower_LFNO[2, :, :, 0])
        np.testing.assert_array_equal(dataset["speed_upper_80"], made.upper_LFNO[1, :, :, 0])
        assert dataset["speed_upper_80"].attrs["units"] == "mph"
    made.plot(tmp_path / "f.svg")
    drawn = (tmp_path / "f.svg").read_text()
    assert all(f"{level} % interval" in drawn for level in (50, 80, 90))


def test_no_bound_is_below_what_forecasts_are_raised_to(city: SmallCity, calibrated: Forecaster) -> None:
    free_LFNO = calibrated.forecast(city.data.series).lower_LFNO
    assert free_LFNO is not None
    least = float(np.median(free_LFNO))
    model = replace(calibrated.config.model, at_least=least)
    made = replace(calibrated, config=replace(calibrated.config, model=model)).forecast(city.data.series)
    assert made.lower_LFNO is not None
    assert made.lower_LFNO.min() == least < made.lower_LFNO.max()


@pytest.fixture(scope="module")
def state(calibrated: Forecaster) -> dict[str, Any]:
    assert calibrated.intervals is not None
    return calibrated.intervals.to_state()


def test_a_checkpoint_brings_them_back(city: SmallCity, state: dict[str, Any], tmp_path: Path) -> None:
    before = load_checkpoint(city.checkpoint)
    save_checkpoint(tmp_path, before, "model.pt")
    put_intervals(tmp_path / "model.pt", state)
    after = load_checkpoint(tmp_path / "model.pt")
    assert after.keys() == before.keys() | {"intervals"}
    assert all(torch.equal(after["model"][name], weight) for name, weight in before["model"].items())
    found = load(tmp_path / "model.pt")
    assert found.notes == ()  # listed in the manifest as it is now
    assert found.intervals is not None
    assert found.intervals.half_width_LFNO.tobytes() == state["half_width"].numpy().tobytes()
    assert (found.intervals.levels, found.intervals.windows) == (LEVELS, state["windows"])
    assert [str(time) for time in found.intervals.times or ()] == state["times"]


def test_sensors_without_an_interval_are_named_with_each_forecast(
    city: SmallCity, state: dict[str, Any], tmp_path: Path
) -> None:
    silent = state["half_width"].clone()
    silent[1:, 2, 6] = np.nan
    save_checkpoint(tmp_path, load_checkpoint(city.checkpoint), "model.pt")
    put_intervals(tmp_path / "model.pt", state | {"half_width": silent})
    said = "look: 1 of 8 sensors have no 90 % interval at every step, which takes 9 validation windows with a reading: "
    assert load(tmp_path / "model.pt").notes == (said + repr(city.data.series.ids[6]),)
    assert load(tmp_path / "model.pt", future_steps=6).notes == (said + repr(city.data.series.ids[6]),)
    assert load(tmp_path / "model.pt", future_steps=2).notes == ()


WRONG: dict[str, Any] = {
    "another kind": lambda state: "90 %",
    "a list": lambda state: [1, 2],
    "another name": lambda state: state | {"more": 1},
    "no half widths": lambda state: {name: value for name, value in state.items() if name != "half_width"},
    "levels in percent": lambda state: state | {"levels": [50.0, 80.0, 90.0]},
    "levels that fall": lambda state: state | {"levels": [0.9, 0.8, 0.5]},
    "no levels": lambda state: state | {"levels": [], "half_width": state["half_width"][:0]},
    "a level too many": lambda state: state | {"levels": [*LEVELS, 0.99]},
    "levels that are no list": lambda state: state | {"levels": {"0.5": 1}},
    "another shape": lambda state: state | {"half_width": state["half_width"].transpose(1, 2).contiguous()},
    "float64": lambda state: state | {"half_width": state["half_width"].double()},
    "numbers": lambda state: state | {"half_width": [1.0]},
    "negative": lambda state: state | {"half_width": -state["half_width"]},
    "infinite": lambda state: state | {"half_width": state["half_width"] / 0},
    "repeated": lambda state: state | {"half_width": torch.ones(1).expand(state["half_width"].shape)},
    "sparse": lambda state: state | {"half_width": state["half_width"].to_sparse()},
    "no windows": lambda state: state | {"windows": 0},
    "half a window": lambda state: state | {"windows": 1.5},
    "one time": lambda state: state | {"times": state["times"][:1]},
    "no times": lambda state: state | {"times": ["yesterday", "today"]},
    "times that are none": lambda state: state | {"times": ["NaT", "NaT"]},
    "times backwards": lambda state: state | {"times": state["times"][::-1]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_intervals_is_refused_in_one_line(
    city: SmallCity, state: dict[str, Any], tmp_path: Path, wrong: str
) -> None:
    whole = load_checkpoint(city.checkpoint) | {"intervals": WRONG[wrong](state)}
    torch.save(whole, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"^checkpoint .*model\.pt(: | has wrong )(levels of )?intervals") as refused:
        load(tmp_path / "model.pt")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.slow
def test_a_model_without_them_says_how_to_get_them_and_gets_them(
    city: SmallCity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copy(city.checkpoint, tmp_path / "model.pt"))
    bare, calibrate = ["--split", "test", "--max-windows", "20"], ["--calibrate", "--max-windows", "40"]
    assert forecast.main([str(model), "-o", str(tmp_path / "f.csv")]) == 0
    hint = f"evaluate {model} --calibrate"
    assert hint in capsys.readouterr().err
    assert "lower" not in (tmp_path / "f.csv").read_text()
    assert evaluate.main([str(model), "-o", str(tmp_path / "out"), *bare]) == 0
    assert hint in capsys.readouterr().err
    lock, before = FolderLock(), model.read_bytes()
    lock.take({"--results": tmp_path}, print)
    assert evaluate.main([str(model), "-o", str(tmp_path / "out"), *calibrate]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"dcrnn-fast evaluate: error: {tmp_path} is in use by another run")
    assert said.endswith("give another folder with a copy of CHECKPOINT, or end that run first")
    assert model.read_bytes() == before
    lock.close()
    assert evaluate.main([str(model), "-o", str(tmp_path / "out"), *calibrate]) == 0
    printed = capsys.readouterr()
    assert "intervals: 50, 80 and 90 %, from 40 of 230 validation windows, evenly spread\n" in printed.err
    assert f"put into {model}" in printed.err
    assert "--calibrate" not in printed.err
    assert "interval at the horizon" in printed.out
    assert "intervals.png" in printed.out
    assert forecast.main([str(model), "-o", str(tmp_path / "f.csv")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0].startswith(
        "speed: intervals of 50, 80 and 90 % from 40 validation windows; at the last step 90 % is the forecast and "
    )
    assert "lower_90" in (tmp_path / "f.csv").read_text()
