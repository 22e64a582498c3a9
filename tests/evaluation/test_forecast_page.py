"""The page of a forecast, and what a run's page shows of sensors: whole in one file, foreign texts escaped."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast import forecast as forecast_command
from dcrnn_fast import train
from dcrnn_fast.evaluation.forecast_page import forecast_page
from dcrnn_fast.evaluation.forecasts import Forecast
from dcrnn_fast.evaluation.report_json import read_report
from dcrnn_fast.runs.page import page_of
from dcrnn_fast.runs.record import read_run
from tests.checkout import require_tool
from tests.runs.browser import EVIL, Page, in_chromium


def made(nodes: int = 5, steps: int = 3, zone: str | None = None) -> Forecast:
    rng = np.random.default_rng(nodes)
    start = np.datetime64("2024-03-04T07:40", "s")
    past, values = rng.normal(50, 5, (4, nodes, 2)), rng.normal(50, 5, (steps, nodes, 2)).astype(np.float32)
    past[1:, 0] = math.nan
    return Forecast(
        values_FNO=values,
        times_F=start + np.arange(1, steps + 1) * np.timedelta64(600, "s"),
        ids=tuple(f"s{n}" for n in range(nodes)),
        channels=("speed", "flow"),
        units=("mph", ""),
        past_values_PNO=past.astype(np.float32),
        past_times_P=start + np.arange(-3, 1) * np.timedelta64(600, "s"),
        zone=zone,
        positions_N2=rng.normal([34, -118], 0.1, (nodes, 2)),
        levels=(0.5, 0.9),
        lower_LFNO=np.stack([values - 1, values - 3]),
        upper_LFNO=np.stack([values + 1, values + 3]),
    )


def test_it_says_where_how_sure_and_when_most_changes() -> None:
    forecast = made()
    page = Page(forecast_page(forecast))
    assert page.headings.count("Where") == page.headings.count("Worst hours") == page.headings.count("Series") == 2
    assert page.tags.count("polygon") == 2 * 5 * 2  # channels, sensors, levels
    words = " ".join(page.words)
    change_F = np.nanmean(np.abs(forecast.values_FNO[..., 0] - forecast.past_values_PNO[-1, :, 0]), axis=1)
    newest = forecast.past_values_PNO[0, 0, 0]  # of the first sensor, whose other readings are missing
    change_FN = np.abs(forecast.values_FNO[..., 0] - np.r_[newest, forecast.past_values_PNO[-1, 1:, 0]])
    hours = {"2024-03-04 07:00": change_FN[:1], "2024-03-04 08:00": change_FN[1:]}
    first = max(hours, key=lambda hour: hours[hour].mean())
    second = min(hours, key=lambda hour: hours[hour].mean())
    assert words.index(f"{first} {hours[first].mean():.3g}") < words.index(f"{second} {hours[second].mean():.3g}")
    assert np.isfinite(change_F).all()
    step, node = np.unravel_index(change_FN.argmax(), change_FN.shape)
    value = forecast.values_FNO[step, node, 0]
    assert f"s{node}" in words
    assert f"{value - 3:.3g} to {value + 3:.3g} (90 %)" in words


def test_without_positions_and_intervals_the_rest_is_there() -> None:
    bare = replace(made(), positions_N2=None, levels=(), lower_LFNO=None, upper_LFNO=None)
    page = Page(forecast_page(bare))
    assert "Where" not in page.headings
    assert "polygon" not in page.tags
    assert "Series" in page.headings


def test_times_are_in_the_zone_of_the_readings() -> None:
    words = " ".join(Page(forecast_page(made(zone="Europe/Berlin"))).words)
    assert "from 2024-03-04 08:40" in words
    assert "time (Europe/Berlin)" in words


def test_nothing_comes_from_outside_and_foreign_texts_stay_texts() -> None:
    forecast = made()
    evil = replace(forecast, ids=(EVIL, *forecast.ids[1:]), channels=(EVIL, "b"), units=(EVIL, ""), notes=(EVIL,))
    text = forecast_page(replace(evil, about={"checkpoint": EVIL}))
    page = Page(text)
    assert {"script", "img", "link", "iframe", "object"} & set(page.tags) == set()
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert re.findall(r"https?://|url\(|@import", text) == []
    assert "\x1b" not in text


def test_a_sensor_without_readings_has_the_time_axis_of_the_others() -> None:
    forecast = made()
    forecast.past_values_PNO[:, 3] = math.nan
    charts = re.findall(r"<svg.*?</svg>", forecast_page(replace(forecast, positions_N2=None)), re.DOTALL)
    assert len(charts) == 10
    times = {tuple(re.findall(r'<text x="([\d.-]+)"[^>]*>(\d\d:\d\d)</text>', chart)) for chart in charts}
    assert len(times) == 1


def test_thousands_of_sensors_stay_a_page() -> None:
    text = forecast_page(made(nodes=3000))
    assert len(text.encode()) < 3_000_000
    assert "2,880 sensors that move less are not drawn" in text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    words = ["--city-nodes", "9", "--city-days", "4", "--max-train-windows", "64", "--device", "cpu", "--epochs", "1"]
    assert train.main(["--config", "debug", *words, "--results", str(folder)]) == 0
    best = str(folder / "checkpoints" / "best.pt")
    assert forecast_command.main([best, "-o", str(folder / "f.csv"), "--html", str(folder / "f.html")]) == 0
    assert forecast_command.main([best, "-o", str(folder / "f.csv"), "--html", str(folder / "f.txt")]) == 2
    return folder


def test_a_runs_page_has_a_map_series_with_intervals_and_hours(run: Path) -> None:
    page = Page(page_of(read_run(run)))
    assert {"Where the errors are", "Forecasts beside readings", "Worst hours"} <= set(page.headings)
    (series,) = read_report(run / "report.json").series
    assert series is not None
    assert series.level == 0.9
    for sensor in series.sensors:
        assert len(sensor.observed) == len(sensor.forecast) == len(series.times)
        pairs = zip(sensor.lower, sensor.forecast, sensor.upper, strict=True)
        assert all(low < value < high for low, value, high in pairs)
    assert page.tags.count("polygon") == len(series.sensors) == 3
    assert page.words.count(f"forecast {series.horizon} ahead, 90 % interval") == 3  # legends
    text = (run / "sensors.csv").read_text().splitlines()
    assert text[0].endswith(",latitude,longitude")


def test_its_report_keeps_the_hours_and_the_page_shows_them(run: Path) -> None:
    figures = read_report(run / "report.json")
    assert len(figures.hours[0].worst) == 10
    assert len(figures.hours[0].of_day) == 24
    page = (run / "run.html").read_text()
    assert figures.hours[0].worst[0][0].replace("T", " ")[:16] in page
    assert "worst hours, MAE" in (run / "report.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["f.html", "run.html"])
def test_a_browser_shows_them_without_scrolling_sideways(name: str, width: int, run: Path, tmp_path: Path) -> None:
    require_tool("chromium")
    content, window = in_chromium(run / name, width, tmp_path / "picture.png", tmp_path)
    assert window == width
    assert content <= window
