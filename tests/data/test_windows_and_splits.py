"""Windows and splits against brute force: which rows a window may touch, and which part it belongs to."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.windows import cut_windows, split_windows
from dcrnn_fast.errors import UserError
from tests.data.made_series import FIVE_MINUTES, random_series


@st.composite
def _cases(draw: st.DrawFn) -> tuple[SensorSeries, DataConfig]:
    num_steps = draw(st.integers(8, 90))
    gaps = tuple(sorted(draw(st.sets(st.integers(1, num_steps - 1), max_size=3))))
    series = random_series(num_steps, 1, gaps=gaps)
    train, test = draw(st.sampled_from([(0.7, 0.2), (0.5, 0.3), (0.8, 0.2), (0.9, 0.0)]))
    config = DataConfig(
        past_steps=draw(st.integers(1, 5)),
        future_steps=draw(st.integers(1, 4)),
        split=draw(st.sampled_from(["published", "strict"])),
        cross_gaps=draw(st.booleans()),
        train_fraction=train,
        test_fraction=test,
    )
    return series, config


def _all_windows_by_hand(series: SensorSeries, config: DataConfig) -> list[int]:
    steps = config.past_steps + config.future_steps
    found = []
    for start in range(series.num_steps - steps + 1):
        times = series.times_T[start : start + steps]
        if config.cross_gaps or all(b - a == FIVE_MINUTES for a, b in pairwise(times)):
            found.append(start)
    return found


@given(_cases())
def test_parts_are_those_of_the_definition(case: tuple[SensorSeries, DataConfig]) -> None:
    series, config = case
    windows = _all_windows_by_hand(series, config)
    steps = config.past_steps + config.future_steps
    if config.split == "published":
        n = len(windows)
        test, train = round(config.test_fraction * n), round(config.train_fraction * n)
        wanted = [windows[:train], windows[train : n - test], windows[n - test :]]
    else:
        rows = series.num_steps
        last = rows - round(config.test_fraction * rows)
        first = min(round(config.train_fraction * rows), last)
        wanted = [
            [w for w in windows if low <= w and w + steps <= high]
            for low, high in ((0, first), (first, last), (last, rows))
        ]
    if not wanted[0]:
        with pytest.raises(UserError, match=r"too few steps|no window is left"):
            split_windows(series, config)
        return
    split = split_windows(series, config)
    assert [part.starts_W.tolist() for part in (split.train, split.validation, split.test)] == wanted


@given(_cases())
def test_a_strict_split_shares_no_row_between_parts(case: tuple[SensorSeries, DataConfig]) -> None:
    series, config = case
    config = replace(config, split="strict")
    try:
        split = split_windows(series, config)
    except UserError:
        return
    steps = np.arange(config.past_steps + config.future_steps)
    parts = [split.train, split.validation, split.test]
    rows = [set((part.starts_W[:, None] + steps).ravel().tolist()) for part in parts]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


@pytest.mark.parametrize(
    ("num_steps", "counts"), [(34272, (23974, 3425, 6850)), (52116, (36465, 5209, 10419))], ids=["metr-la", "pems-bay"]
)
def test_published_counts(num_steps: int, counts: tuple[int, int, int]) -> None:
    split = split_windows(random_series(num_steps, 1), DataConfig())
    assert (len(split.train), len(split.validation), len(split.test)) == counts


def test_no_window_spans_a_gap_unless_asked() -> None:
    series = random_series(60, gaps=(30,))
    starts_W = cut_windows(series.segments, 24)
    assert starts_W.tolist() == [*range(7), *range(30, 37)]
    assert len(cut_windows(series.parts, 24)) == 37
    assert "1 gap" in series.notes[0]
    assert "and 2024-03-04T03:30:00; no window" in series.notes[0]


def test_limits_thin_evenly_and_leave_the_training_part_whole() -> None:
    series = random_series(200)
    whole = split_windows(series, DataConfig())
    thin = split_windows(series, DataConfig(max_train_windows=10, max_validation_windows=4))
    assert len(thin.train) == 10
    assert len(thin.validation) == 4
    assert set(thin.train.starts_W) <= set(whole.train.starts_W)
    assert np.ptp(np.diff(thin.train.starts_W)) <= 1
    assert np.array_equal(thin.whole_train_W, whole.train.starts_W)
    assert np.array_equal(thin.test.starts_W, whole.test.starts_W)
    tested = split_windows(series, DataConfig(max_test_windows=5))
    assert tested.test.starts_W.tolist() == whole.test.starts_W[np.arange(5) * len(whole.test) // 5].tolist()
    assert tested.whole_test == len(whole.test)


def test_too_few_steps_for_one_window() -> None:
    with pytest.raises(UserError, match=r"future_steps 12 = 24 rows .* 5min apart; the longest stretch has 23"):
        split_windows(random_series(23), DataConfig())
