"""The page of ``--check --plot``: it draws the gaps, the shares and the links that are there."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data import pieces
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.evaluation.check_plot import _missing, plot_check
from dcrnn_fast.evaluation.style import drawn, save_figure
from tests.data.made_series import START, random_series, ring

HOUR = np.timedelta64(3600, "s")


def opened(series: SensorSeries, positions: bool = False) -> ForecastData:
    graph = ring(series)
    if positions:
        graph = graph.with_positions(np.random.default_rng(0).uniform(40, 50, (series.num_sensors, 2)))
    return assemble_data(series, graph, DataConfig(data="x", past_steps=3, future_steps=2))


def hourly(num_steps: int, num_sensors: int, interval: np.timedelta64 = HOUR) -> SensorSeries:
    readings = np.random.default_rng(0).normal(5, 1, (num_steps, num_sensors))
    return make_series(
        readings, times_T=count_from(START, interval, num_steps), ids=tuple(f"s{n}" for n in range(num_sensors)),
        missing="nan", where="t", interval=interval, units=("kW",),
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 40, 1 << 22])
def test_the_share_of_missing_readings_is_that_of_each_day(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", at_once)
    series = hourly(24 * 7 + 5, 4)
    observed = np.random.default_rng(1).random(series.observed_TNC.shape) < 0.7
    edges_D, missing_DN = _missing(replace(series, observed_TNC=observed), 0)
    assert edges_D.tolist() == [*range(0, 24 * 7 + 1, 24), 24 * 7 + 5]
    wanted = [1 - observed[a:b, :, 0].mean(axis=0) for a, b in itertools.pairwise(edges_D)]
    np.testing.assert_allclose(missing_DN, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("steps", "interval", "bins", "title"),
    [
        (24 * 8, HOUR, 8, "sensor and day"),
        (24 * 3, HOUR, 72, "sensor and hour"),
        (40, np.timedelta64(300, "s"), 40, "sensor and time"),
        (30, np.timedelta64(1, "M"), 30, "sensor and time"),
        (24 * 500, HOUR, 250, "sensor and time"),
    ],
)
def test_bins_fit_the_length_of_the_series(steps: int, interval: np.timedelta64, bins: int, title: str) -> None:
    series = hourly(steps, 3, interval)
    assert len(_missing(series, 0)[1]) == bins
    figure = plot_check(opened(series), "data.csv")
    assert any(title in axes.get_title(loc="left") for axes in figure.axes)


def test_the_page_names_sensors_times_units_and_links() -> None:
    series = hourly(100, 5)
    observed = series.observed_TNC.copy()
    observed[20:60, 3] = False
    observed[10:20, 1] = False
    figure = plot_check(opened(replace(series, observed_TNC=observed)), "data.csv")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == [
        "s0: 0 % missing (shaded)", "s4: 0 % missing (shaded)", "s3: 40 % missing (shaded)",
    ]  # fmt: skip
    assert "Graph: 5 sensors, 5 links (no positions: as a matrix)" in titles
    assert figure.axes[0].get_ylabel() == "value (kW)"
    (head,) = [text.get_text() for text in figure.texts if "2024-03-04 00:00 to 2024-03-08 03:00" in text.get_text()]
    assert head.endswith("(no zone given); 10 % missing")
    shaded = [len(axes.patches) for axes in figure.axes[:3]]
    assert shaded == [0, 0, 1]


def test_gaps_in_the_time_axis_are_shaded_too() -> None:
    series = replace(random_series(60, 2, gaps=(30,)), observed_TNC=np.ones((60, 2, 1), dtype=bool))
    figure = plot_check(opened(series), "x")
    assert [len(axes.patches) for axes in figure.axes[:2]] == [1, 1]


@pytest.mark.parametrize(("name", "positions"), [("page.png", True), ("page.svg", False), ("page.pdf", True)])
def test_a_page_is_written_in_each_format_whatever_ids_are(tmp_path: Path, name: str, positions: bool) -> None:
    series = replace(hourly(50, 3), ids=(r"$\x$", "a_{", "%"))
    save_figure(plot_check(opened(series, positions), "$x"), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5000


def test_a_sensor_without_any_reading_can_be_drawn() -> None:
    series = hourly(50, 2)
    observed = np.zeros_like(series.observed_TNC)
    data = opened(series)
    assert drawn(plot_check(replace(data, series=replace(series, observed_TNC=observed)), "x"))
