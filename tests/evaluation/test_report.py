"""The pass over a split, and what the report says of it: table, JSON, CSV, plots."""

import csv
import json
import math
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.baselines import fit_baselines
from dcrnn_fast.evaluation.evaluator import evaluate_model
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import Intervals
from dcrnn_fast.evaluation.labels import horizon_labels
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.evaluation.plots import plot_forecasts, plot_horizons, plot_worst_and_best, save_report
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.report_files import PICTURES, TEXTS, picture_names
from tests.evaluation.small_city import SmallCity, make_small_city


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="module")
def report(city: SmallCity) -> Report:
    return evaluate_model(city.model, city.data, "test", name="city", about={"epoch": 3})


def hand_made(errors_F: list[float], observed_F: list[bool] | None = None, unit: str = "mph") -> Report:
    """A report of one window and two sensors whose targets are 100 and whose model is off by ``errors_F``."""
    steps = len(errors_F)
    target = torch.full((1, steps, 2, 1), 100.0)
    observed = torch.ones_like(target, dtype=torch.bool) & torch.tensor(observed_F or [True] * steps).view(1, -1, 1, 1)
    sums = HorizonSums(steps, 2)
    sums.add(target - torch.tensor(errors_F).view(1, -1, 1, 1), target, observed)
    return Report(
        data="made",
        split="test",
        num_windows=1,
        times=(np.datetime64("2024-01-01T00:05:00"), np.datetime64("2024-01-01T01:00:00")),
        horizons=horizon_labels(np.timedelta64(300, "s"), steps),
        ids=("a", "b"),
        channels=("speed",),
        units=(unit,),
        methods={"DCRNN": sums},
    )


def test_scores_are_those_of_exactly_the_windows_of_the_split(city: SmallCity, report: Report) -> None:
    data = city.data
    batch = data.gather(data.test.starts_W)  # all of them at once
    with torch.no_grad():
        forecast = city.model(batch.x_BPNC) * data.scaler.std[0] + data.scaler.mean[0]
    error = (forecast - batch.y_BFNO).double().abs()
    observed = batch.observed_BFNO
    scores = report.methods["DCRNN"].by_horizon()
    for step in range(4):
        mine = error[:, step][observed[:, step]]
        assert scores.count[step] == observed[:, step].sum() == len(mine)
        assert scores.mae[step] == pytest.approx(float(mine.mean()), rel=1e-5)
        assert scores.rmse[step] == pytest.approx(float(mine.square().mean().sqrt()), rel=1e-5)
    assert report.num_windows == len(data.test)


def test_the_batch_size_changes_nothing(city: SmallCity, report: Report) -> None:
    other = evaluate_model(city.model, city.data, "test", batch_size=37)
    for name, sums in report.methods.items():
        np.testing.assert_array_equal(sums.by_horizon().count, other.methods[name].by_horizon().count)
        np.testing.assert_allclose(sums.by_horizon().mae, other.methods[name].by_horizon().mae, rtol=1e-6)
    assert report.trace is not None
    assert other.trace is not None
    for step, (times, values) in report.trace.forecasts.items():
        np.testing.assert_array_equal(times, other.trace.forecasts[step][0])
        np.testing.assert_allclose(values, other.trace.forecasts[step][1], rtol=1e-5)


def test_every_method_is_scored_on_the_same_targets(report: Report) -> None:
    assert list(report.methods) == [
        *("DCRNN", "last value", "raw last value", "weekly mean", "VAR(3)", "same time yesterday")
    ]
    counts = [sums.by_horizon().count for sums in report.methods.values()]
    for count in counts[1:]:
        np.testing.assert_array_equal(count, counts[0])


def test_windows_of_ones_own_protocol(city: SmallCity) -> None:
    starts = city.data.test.starts_W[[3, 50, 51]]
    report = evaluate_model(city.model, city.data, starts_W=starts)
    assert report.num_windows == 3
    assert report.times == (city.data.target_times(starts).min(), city.data.target_times(starts).max())


def test_the_model_goes_back_to_the_mode_it_was_in(city: SmallCity) -> None:
    city.model.train()
    evaluate_model(city.model, city.data, starts_W=city.data.test.starts_W[:2])
    assert city.model.training
    city.model.eval()


def test_bf16_comes_close(city: SmallCity, report: Report) -> None:
    lower = evaluate_model(city.model, city.data, "test", precision="bf16")
    exact, rounded = report.methods["DCRNN"].by_horizon().mae, lower.methods["DCRNN"].by_horizon().mae
    np.testing.assert_allclose(rounded, exact, rtol=0.03)
    assert (rounded != exact).all()
    assert lower.about["precision"] == "bf16"


def test_an_empty_split_is_an_error(city: SmallCity) -> None:
    empty = replace(city.data, test=replace(city.data.test, starts_W=np.zeros(0, dtype=np.int64)))
    with pytest.raises(UserError, match="the test part of city has no window"):
        evaluate_model(city.model, empty, "test", name="city")


def test_the_trace_is_what_was_forecast_for_those_times(city: SmallCity, report: Report) -> None:
    assert report.trace is not None
    times_V, values_VNO = report.trace.forecasts[4]
    series = city.data.series
    for place in (0, 17):
        row = int(np.flatnonzero(series.times_T == times_V[place])[0])
        batch = city.data.gather(np.array([row - 4 - 6 + 1]))
        with torch.no_grad():
            forecast = city.data.scaler.inverse(city.model(batch.x_BPNC))
        np.testing.assert_allclose(values_VNO[place], forecast[0, 3], rtol=1e-5)
        at = int(np.flatnonzero(report.trace.times_R == times_V[place])[0])
        truth = np.where(series.observed_TNC[row], series.values_TNC[row], np.nan)
        np.testing.assert_array_equal(report.trace.truth_RNO[at], truth)


def test_table_says_at_horizon_and_cumulative_apart() -> None:
    table = hand_made([1.0, 2.0, 6.0]).table()
    at, cumulative, every = re.split(r"\n\n", table)[3:6]
    assert at.splitlines()[0].split("   ")[0] == "at the horizon"
    assert at.splitlines()[-1].split()[1:7] == ["1.000", "1.000", "1.0", "%", "1.0", "%"]
    assert "6.000    6.000   6.0 %   6.0 %" in at
    assert cumulative.startswith("mean of horizons 1..h")
    assert "3.000    3.697   3.0 %   3.0 %" in cumulative  # mean 9 / 3, root of 41 / 3
    assert [line.split()[-1] for line in every.splitlines()[1:]] == ["1.000", "2.000", "6.000"]
    assert "speed in mph" in table


def test_table_prints_a_horizon_without_targets_as_a_dash() -> None:
    report = hand_made([1.0, 2.0], [True, False])
    row = report.table((1, 2)).split("\n\n")[3].splitlines()[-1]
    assert row.split() == ["DCRNN", "1.000", "1.000", "1.0", "%", "1.0", "%", "-", "-", "-", "-"]
    assert report.to_dict()["channels"][0]["methods"]["DCRNN"]["at_horizon"]["mae"] == [1.0, None]


def test_one_of_a_kind_is_called_so() -> None:
    one = hand_made([1.0])
    assert one.table().startswith("made, test: 1 window, 2 sensors, targets")


def test_table_at_chosen_horizons(report: Report) -> None:
    assert report.chosen_horizons() == (1, 2, 4)
    assert hand_made([1.0] * 12).chosen_horizons() == (3, 6, 12)
    heading = report.table((3,)).split("\n\n")[3].splitlines()[0]
    assert heading.split("  ")[0] == "at the horizon"
    assert heading.endswith(" 15 min")
    assert report.table((3, 3, 1)) == report.table((3, 1)) != report.table((1, 3))
    with pytest.raises(UserError, match=r"horizons must lie in 1\.\.4, got 5"):
        report.table((5,))


@pytest.mark.parametrize(
    ("interval", "last"),
    [
        (np.timedelta64(300, "s"), "1 h"),
        (np.timedelta64(900, "s"), "3 h"),
        (np.timedelta64(450, "s"), "1 h 30 min"),
        (np.timedelta64(86_400, "s"), "12 d"),
        (np.timedelta64(1, "M"), "12 months"),
    ],
)
def test_horizons_in_words(interval: np.timedelta64, last: str) -> None:
    assert horizon_labels(interval, 12)[-1] == last


def test_json_and_csv_hold_the_figures(report: Report, tmp_path: Path) -> None:
    written = report.save(tmp_path)
    assert [path.name for path in written] == ["report.txt", "report.json", "horizons.csv", "sensors.csv"]
    loaded = json.loads((tmp_path / "report.json").read_text())
    at = loaded["channels"][0]["methods"]["DCRNN"]["at_horizon"]
    np.testing.assert_array_equal(at["mae"], report.methods["DCRNN"].by_horizon().mae)
    assert loaded["about"] == {"epoch": 3, "precision": "fp32"}
    assert [step["label"] for step in loaded["horizons"]] == ["5 min", "10 min", "15 min", "20 min"]
    rows = list(csv.DictReader((tmp_path / "horizons.csv").open()))
    assert len(rows) == 6 * 2 * 4
    cumulative = next(row for row in rows if (row["method"], row["kind"], row["step"]) == ("VAR(3)", "cumulative", "4"))
    assert float(cumulative["rmse"]) == report.methods["VAR(3)"].by_horizon("cumulative").rmse[3]
    assert (cumulative["unit"], cumulative["horizon"]) == ("mph", "20 min")
    sensors = list(csv.DictReader((tmp_path / "sensors.csv").open()))
    assert [row["id"] for row in sensors[:8]] == list(report.ids)
    for figure in ("mape", "wape"):
        assert float(sensors[2][figure]) == getattr(report.methods["DCRNN"].by_sensor(), figure)[2]
    assert list(sensors[0])[-3:] == ["wape", "latitude", "longitude"]
    assert loaded["strongest_baseline"] == "VAR(3)"


def test_plots_are_whole_images(report: Report, tmp_path: Path) -> None:
    names = [path.name for path in save_report(report, tmp_path)][4:]
    assert names == ["horizons.png", "worst_and_best.png", "forecasts.png", "map.png"]
    for name in names:
        with Image.open(tmp_path / name) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 400
        assert 0.005 < (pixels < 200).mean() < 0.5


def test_no_map_without_positions_and_no_forecasts_without_a_stretch(tmp_path: Path) -> None:
    names = [path.name for path in save_report(hand_made([1.0, math.nan]), tmp_path)][4:]
    assert names == ["horizons.png"]  # the NaN leaves no sensor with a finite error either


def test_each_channel_has_its_own_plots_and_table(report: Report, tmp_path: Path) -> None:
    methods = {}
    for name, sums in report.methods.items():
        methods[name] = HorizonSums(4, len(report.ids), 2)
        methods[name].sums_SFNO = sums.sums_SFNO.repeat(1, 1, 1, 2)
    both = replace(report, channels=("speed", "flow / h"), units=("mph", ""), methods=methods, trace=None, hours=())
    names = {path.name for path in save_report(both, tmp_path)}
    assert {"horizons_speed.png", "horizons_flow_h.png", "map_flow_h.png"} <= names
    assert "\nflow / h; only observed" in both.table()
    # Plots of the report before it would be taken for this one's; others' files stay.
    (tmp_path / "map_mine.png").touch()
    save_report(hand_made([1.0, math.nan]), tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"horizons.png", "map_mine.png"}


def test_a_full_disk_leaves_the_report_that_was_there_or_the_new_one_without_pictures(
    report: Report, small_disk: Path
) -> None:
    report.save(small_disk)
    (small_disk / "map.png").write_bytes(b"the old map")
    before = {path: path.read_bytes() for path in small_disk.iterdir()}
    with (small_disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space left"):
        ballast.write(bytes(1 << 23))
    other = replace(report, data="other")
    with pytest.raises(UserError, match=r"cannot write .*report\.txt: No space left on device; nothing there"):
        save_report(other, small_disk)
    assert {path: path.read_bytes() for path in small_disk.iterdir() if path.name != "ballast"} == before
    with (small_disk / "ballast").open("r+b") as ballast:
        ballast.truncate((small_disk / "ballast").stat().st_size - 120_000)
    said: list[str] = []
    written = {path.name for path in save_report(other, small_disk, said.append)}
    assert written >= set(TEXTS)
    assert (small_disk / "report.txt").read_text().startswith("other")
    assert written == {path.name for path in small_disk.iterdir()} - {"ballast"}, "no picture of the earlier report"
    assert said
    assert all(re.fullmatch(r"look: cannot write .*\.png: No space left on device", line) for line in said)


def test_folders_and_pipes_under_the_names_of_a_report_cost_a_line_at_most(tmp_path: Path) -> None:
    for name in ("horizons.png", "worst_and_best.png"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "report.json")
    said: list[str] = []
    written = {path.name for path in save_report(hand_made([1.0, math.nan]), tmp_path, said.append)}
    assert {"report.txt", "report.json", "horizons.csv", "sensors.csv"} <= written
    assert said
    assert all(re.fullmatch(r"look: cannot write .*\.png: Is a directory", line) for line in said)


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "forecasts.png").touch()

    def broken(*_: object) -> None:
        raise RuntimeError("first line\nsecond")

    monkeypatch.setattr("dcrnn_fast.evaluation.plots.plot_forecasts", broken)
    for quick in ("horizons", "worst_and_best"):
        monkeypatch.setattr(f"dcrnn_fast.evaluation.plots.plot_{quick}", lambda *_: None)
    names = [path.name for path in save_report(report, tmp_path)]
    assert names == [*TEXTS, "map.png"]
    assert not (tmp_path / "forecasts.png").exists()
    wanted = f"look: cannot draw {tmp_path}/forecasts.png: RuntimeError: first line second\n"
    assert capsys.readouterr().err == wanted


ODD = ("$\\x$", "\\", "a$b$", "{}%s", "a\nb", "\t\x00\x1b[31m", "\u202e", "x" * 300, "🚲", "../a")


@pytest.mark.slow
def test_no_name_costs_a_picture(report: Report, tmp_path: Path) -> None:
    ids = tuple(f"{ODD[node % len(ODD)]}{node}" for node in range(len(report.ids)))
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odd = "".join(ODD)
        held = IntervalSums(Intervals((0.5, 0.9), np.ones((2, 4, len(ids), 1), dtype=np.float32), windows=9))
        odd_report = replace(report, ids=ids, channels=(odd,), units=(odd,), data=odd, intervals=held)
        save_report(odd_report, tmp_path, said.append)
    assert said == []
    assert {path.name for path in tmp_path.iterdir()} == {*TEXTS, *(f"{stem}.png" for stem in PICTURES)}


def test_pictures_of_channels_have_different_names_that_a_folder_takes() -> None:
    assert picture_names("map", ["a b", "a_b", "x" * 300, "x" * 301, "a/b"]) == [
        *("map_a_b.png", "map_a_b-2.png", f"map_{'x' * 80}.png", f"map_{'x' * 80}-2.png", "map_a_b-3.png"),
    ]


def test_figures_that_are_infinite_are_written(tmp_path: Path) -> None:
    report = hand_made([1.0, math.inf])
    said: list[str] = []
    save_report(report, tmp_path, said.append)
    figures = json.loads((tmp_path / "report.json").read_text())["channels"][0]["methods"]["DCRNN"]
    assert figures["at_horizon"]["mae"] == [1.0, None]


def test_a_method_has_one_colour_whatever_stands_beside_it(report: Report) -> None:
    def colours(of: Report) -> dict[str, object]:
        return {str(line.get_label()): line.get_color() for line in plot_horizons(of).axes[0].get_lines()}

    every = colours(report)
    assert len(set(every.values())) == len(report.methods)
    some = {name: sums for name, sums in report.methods.items() if name != "raw last value"}
    assert colours(replace(report, methods=some)) == {name: every[name] for name in some}


def test_a_channel_that_is_only_a_number_is_called_one(report: Report) -> None:
    table = replace(report, channels=("0",)).table()
    assert "\nchannel 0 in mph; only observed" in table


def lines_of(report: Report) -> list[str]:
    return report.table().splitlines()


@pytest.mark.parametrize("factor", [1e-6, 1, 1e9])
def test_digits_and_columns_fit_any_unit(report: Report, factor: float) -> None:
    scaled = {}
    for name, sums in report.methods.items():
        scaled[name] = HorizonSums(4, len(report.ids))
        scaled[name].sums_SFNO = sums.sums_SFNO.clone()
        scaled[name].sums_SFNO[0] *= factor
        scaled[name].sums_SFNO[1] *= factor**2
    lines = lines_of(replace(report, methods=scaled, notes=()))
    heads = [at for at, line in enumerate(lines) if re.match(r" +MAE +RMSE +MAPE +WAPE", line)]
    assert len(heads) == 2
    for at in heads:
        assert {len(line) for line in lines[at : at + 1 + len(scaled)]} == {len(lines[at])}
    row = next(line for line in lines if line.startswith("DCRNN"))
    shown = float(row[22:].split()[0])
    assert shown == pytest.approx(float(scaled["DCRNN"].by_horizon().mae[0]), rel=1e-3)


def test_a_mape_above_100_percent_carries_a_caution_and_wape_beside_it() -> None:
    assert not any("MAPE above" in line for line in lines_of(hand_made([1.0, 2.0])))
    report = hand_made([1.0, 150.0])
    line = lines_of(report)[-1]
    assert line == "look: MAPE above 100 % (DCRNN): readings near 0 dominate it; see WAPE"
    assert line in report.to_dict()["notes"]
    assert report.to_dict()["channels"][0]["methods"]["DCRNN"]["at_horizon"]["wape"] == pytest.approx([0.01, 1.5])


def test_the_report_has_a_line_for_each_target_beside_the_strongest_baseline() -> None:
    one = hand_made([2.0, 2.0])
    other = hand_made([4.0, 4.0])
    sums = {}
    for name, report in (("DCRNN", one), ("VAR(3)", other)):
        sums[name] = HorizonSums(2, 2, 2)
        sums[name].sums_SFNO = report.methods["DCRNN"].sums_SFNO.repeat(1, 1, 1, 2)
    both = replace(
        one, channels=("speed", "flow"), units=("mph", ""), methods=sums, strongest="VAR(3)", chosen_by="validation"
    )
    lines = lines_of(both)
    assert lines[2] == (
        "speed: DCRNN MAE 2.000 mph over all horizons; strongest baseline by validation: VAR(3), MAE 4.000 mph "
        "(the model's is 50.0 % less)"
    )
    assert lines[3].startswith("flow: DCRNN MAE 2.000 over all horizons; strongest baseline by validation: VAR(3)")


def test_pictures_draw_the_strongest_baseline_beside_last_value(city: SmallCity, report: Report) -> None:
    assert report.strongest == "VAR(3)"
    texts = [text.get_text() for text in plot_worst_and_best(report).legends[0].get_texts()]
    assert texts == ["MAE of last value", "MAE of VAR(3) (strongest baseline)"]
    forecasts = plot_forecasts(report)
    assert "VAR(3), 20 min ahead" in [text.get_text() for text in forecasts.legends[0].get_texts()]
    assert report.trace is not None
    assert report.trace.baseline is not None
    times_V, _ = report.trace.forecasts[4]
    newest = int(np.flatnonzero(city.data.series.times_T == times_V[5])[0]) - 4
    var = next(baseline for baseline in fit_baselines(city.data).methods if baseline.name == "VAR(3)")
    np.testing.assert_allclose(report.trace.baseline[1][5], var.predict(np.array([newest - 5]))[0, -1], rtol=1e-5)


def test_time_axes_and_tables_say_the_zone(report: Report) -> None:
    local = plot_forecasts(report)
    assert local.axes[-1].get_xlabel() == "time as in the data, which names no zone"
    utc = replace(report, in_utc=True)
    assert plot_forecasts(utc).axes[-1].get_xlabel() == "UTC"
    assert lines_of(utc)[0].endswith(" UTC")
    assert not lines_of(report)[0].endswith(" UTC")


def test_a_report_that_cannot_be_written_leaves_no_folder(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("cannot write: No space left on device")

    monkeypatch.setattr("dcrnn_fast.evaluation.plots.write_together", full)
    with pytest.raises(UserError, match="No space left"):
        save_report(report, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
