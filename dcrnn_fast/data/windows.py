"""Which windows there are, and which of them train, validate and test.

Shape legend: W windows. A window is named by its first row: it reads rows s .. s+P-1 and forecasts s+P .. s+P+F-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError

Rows = tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class WindowSet:
    """The windows of one part.

    Attributes:
        name: train, validation or test.
        starts_W: int64, increasing first rows.
    """

    name: str
    starts_W: np.ndarray

    def __len__(self) -> int:
        return len(self.starts_W)


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Training, validation and test windows; the training part before any limit (the scaler is fitted on it), and how
    many windows the test part has without one.
    """

    train: WindowSet
    validation: WindowSet
    test: WindowSet
    whole_train_W: np.ndarray
    whole_test: int


def cut_windows(segments: Sequence[Rows], window_steps: int) -> np.ndarray:
    """(W,) int64: the first rows of all windows that lie within one segment."""
    pieces = [np.arange(start, stop - window_steps + 1, dtype=np.int64) for start, stop in segments]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)


def split_windows(series: SensorSeries, config: DataConfig, *, to_train: bool = True) -> Split:
    """Cut and split as configured.

    published (Li et al. 2018, released code): all windows in time order; test = round(test_fraction n), train =
    round(train_fraction n), validation the windows between. strict: the rows are divided so, and a window belongs to
    the part that all its rows lie in; one that crosses a border is dropped.

    A limit keeps that many windows, evenly spread over the part.

    Raises:
        UserError: the series is too short for one window, or (``to_train``) no window is left to train on.
    """
    window_steps = config.past_steps + config.future_steps
    segments = series.parts if config.cross_gaps else series.segments
    starts_W = cut_windows(segments, window_steps)
    if len(starts_W) == 0:
        longest = max(stop - start for start, stop in segments)
        raise UserError(
            f"{config.data}: too few steps for one window: past_steps {config.past_steps} + future_steps "
            f"{config.future_steps} = {window_steps} rows without a gap are needed, {series.freq} apart; the longest "
            f"stretch has {longest}"
        )
    if config.split == "published":
        n = len(starts_W)
        num_test, num_train = round(n * config.test_fraction), round(n * config.train_fraction)
        num_train = min(num_train, n - num_test)
        train_W, validation_W, test_W = np.split(starts_W, [num_train, n - num_test])
    else:
        rows = series.num_steps
        test_row = rows - round(rows * config.test_fraction)
        train_row = min(round(rows * config.train_fraction), test_row)
        train_W, validation_W, test_W = (
            starts_W[(starts_W >= first) & (starts_W + window_steps <= last)]
            for first, last in ((0, train_row), (train_row, test_row), (test_row, rows))
        )
    if to_train and len(train_W) == 0:
        raise UserError(
            f"{config.data}: no window is left to train on: {len(starts_W)} window(s) of {window_steps} rows, split "
            f"{config.split} with train_fraction {config.train_fraction}; give a longer series or shorter windows"
        )
    return Split(
        WindowSet("train", evenly(train_W, config.max_train_windows)),
        WindowSet("validation", evenly(validation_W, config.max_validation_windows)),
        WindowSet("test", evenly(test_W, config.max_test_windows)),
        train_W,
        len(test_W),
    )


def evenly(starts_W: np.ndarray, limit: int | None) -> np.ndarray:
    """So many of the windows at most, evenly spread, the first among them; None: all."""
    if limit is None or limit >= len(starts_W):
        return starts_W
    return starts_W[np.arange(limit) * len(starts_W) // limit]


def window_counts(starts_W: np.ndarray, past_steps: int, num_steps: int) -> np.ndarray:
    """(T,) int64: how many windows read each row as input."""
    edges = np.zeros(num_steps + 1, dtype=np.int64)
    np.add.at(edges, starts_W, 1)
    np.add.at(edges, starts_W + past_steps, -1)
    return np.cumsum(edges[:-1])
