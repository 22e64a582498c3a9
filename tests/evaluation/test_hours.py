"""Errors by the hour, against loops."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast.evaluation.hours import HourSums


def data_of(times_T: np.ndarray, past: int, channels: int, interval: np.timedelta64) -> Any:
    form = SimpleNamespace(past_steps=past, output_channels=channels, interval=interval)
    return SimpleNamespace(window_format=form, series=SimpleNamespace(times_T=times_T, num_steps=len(times_T)))


def test_hours_are_the_means_of_all_forecasts_for_them() -> None:
    rows, past, future, nodes, channels = 67, 3, 5, 4, 2
    times_T = np.datetime64("2024-01-01T22:40", "s") + np.arange(rows) * np.timedelta64(600, "s")
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(rows, nodes, channels, generator=generator) * 5
    seen = torch.rand(rows, nodes, channels, generator=generator) > 0.3
    sums = HourSums(data_of(times_T, past, channels, np.timedelta64(600, "s")), future - 1)
    errors: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for first in (0, 20, 40):
        starts = np.arange(first, min(first + 20, rows - past - future + 1))
        at = starts[:, None] + past + np.arange(future)
        truth, mask = y[at], seen[at]
        model, baseline = (truth + torch.randn(truth.shape, generator=generator) for _ in range(2))
        sums.add(starts, model, truth, mask)
        sums.add(starts, baseline, truth, mask, baseline=True)
        for b, f, n, o in np.ndindex(*truth.shape):
            if mask[b, f, n, o] and f < future - 1:
                hour = str(times_T[at[b, f]].astype("datetime64[h]"))
                both = [float(abs(one[b, f, n, o] - truth[b, f, n, o])) for one in (model, baseline)]
                errors.setdefault((hour, o), []).append((both[0], both[1]))
    for channel, hours in enumerate(sums.hours()):
        means = {hour: np.mean(pairs, axis=0) for (hour, o), pairs in errors.items() if o == channel}
        counts = {hour: len(pairs) for (hour, o), pairs in errors.items() if o == channel}
        enough = [hour for hour in means if counts[hour] >= 0.5 * np.median(list(counts.values()))]
        assert len(enough) < len(means)  # the first hour has few
        expected = sorted(enough, key=lambda hour: -means[hour][0])[:10]
        assert [str(one.time) for one in hours.worst] == expected
        for one in hours.worst:
            assert (one.mae, one.baseline_mae) == pytest.approx(tuple(means[str(one.time)]), rel=1e-6)
            assert one.count == counts[str(one.time)]
        pairs = [pair for (hour, o), found in errors.items() if o == channel and hour.endswith("T23") for pair in found]
        assert hours.of_day is not None
        assert tuple(hours.of_day[23]) == pytest.approx(tuple(np.mean(pairs, axis=0)), rel=1e-6)
        assert np.isnan(hours.of_day[12]).all()
        json.dumps(hours.to_dict(), allow_nan=False)


@pytest.mark.parametrize("interval", [np.timedelta64(86_400, "s"), np.timedelta64(1, "M")])
def test_longer_rows_have_no_hour_of_the_day(interval: np.timedelta64) -> None:
    times_T = np.datetime64("2024-01-01", "s") + np.arange(9) * np.timedelta64(30 * 86_400, "s")
    sums = HourSums(data_of(times_T, 2, 1, interval), 1)
    starts, ones = np.arange(6), torch.ones(6, 1, 3, 1)
    sums.add(starts, ones * 3, ones, ones > 0)
    (hours,) = sums.hours()
    assert hours.of_day is None
    assert [one.time for one in hours.worst] == list(times_T[2:8])
    assert all(one.mae == 2 and np.isnan(one.baseline_mae) for one in hours.worst)
