"""Which windows of a file an evaluation scores: those that the model was not trained on.

Shape legend: W windows, F future steps, T time, R rows, K readings, N sensors, C channels.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.data.windows import WindowSet, evenly, split_windows
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted

SPLITS = ("all", "train", "validation", "test")
_COMPARED_ROWS, _ROUNDING, _MOSTLY = 1000, 1e-3, 0.9
_SAME_DATA = ("readings", "missing readings", "times")


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """The windows to score.

    Attributes:
        starts_W: their first rows; name: theirs in the report.
        held_out: the model was not trained on this data.
        why: a line that names these windows and the reason for them.
    """

    starts_W: NDArray[np.int64]
    name: str
    held_out: bool
    why: str


def is_held_out(data: ForecastData, digests: dict[str, str] | None) -> bool | None:
    """Whether the data differs from the training data, reading for reading; None: the checkpoint cannot tell."""
    if digests is None:
        return None
    ours = digests_of(data)
    return any(digests.get(what) != ours[what] for what in _SAME_DATA)


def scored_windows(
    data: ForecastData,
    split: str | None,
    name: str,
    *,
    held_out: bool | None,
    part: TrainingPart | None = None,
    training: ForecastData | None = None,
) -> Scored:
    """The windows of ``split``, or, if it is None, those that the model was not trained on.

    That is the test part of the training data; all windows of other data, except those with a target in the time of the
    training and validation windows (if the training data is at hand and has other readings there, those too); and again
    the test part if the checkpoint has no record of its training data.

    Args:
        name: of the data, for messages.
        held_out: as ``is_held_out``.
        part: the checkpoint's record of its training data; training: that data, if it is at hand.
    Raises:
        UserError: there is no such window; the message lists those that there are.
    """
    if split is not None or not held_out:
        return _of_split(data, split, name, held_out=held_out)
    starts_W = data.windows("all").starts_W
    if part is None:
        raise UserError(
            f"{name} is not the data that the model was trained on, and the checkpoint is too old to say at what times "
            "that was: say with --split all or --split test which windows to score"
        )
    times_WF = data.target_times(starts_W)
    seen_W = np.any((times_WF >= part.first) & (times_WF <= part.last), axis=1)
    if seen_W.any() and training is not None and not _same_readings(data, training, part):
        why = f"scored: all {counted(len(starts_W), 'window')} of {name}, whose readings are not those of the training"
        return Scored(starts_W, "all", True, why)
    span = f"{_minute(part.first)} to {_minute(part.last)}"
    if seen_W.all():
        raise UserError(
            f"all {len(seen_W)} windows of {name} forecast times that training has seen ({span}): give later data, or, "
            "where these are other readings of the same times, --split all"
        )
    left = int(seen_W.sum())
    why = f"scored: all {counted(len(seen_W), 'window')} of {name}, which the model was not trained on"
    if left:
        why = (
            f"scored: {len(seen_W) - left} of {counted(len(seen_W), 'window')} of {name}; the other {left} forecast "
            f"times that training has seen ({span}); --split all scores them too"
        )
    return Scored(starts_W[~seen_W], "unseen" if left else "all", True, why)


def as_cut_in_training(data: ForecastData, trained_steps: int) -> ForecastData:
    """``data``, whose windows forecast more steps than those of training, with its parts divided as for those.

    So both horizons are measured on the same windows, but for the last ones, which end before the longer forecast does.
    """
    if data.window_format.future_steps <= trained_steps:
        return data
    split = split_windows(data.series, replace(data.config, future_steps=trained_steps), to_train=False)
    long_W = data.windows("all").starts_W

    def of(part: WindowSet) -> WindowSet:
        return WindowSet(part.name, part.starts_W[np.isin(part.starts_W, long_W)])

    return replace(data, train=of(split.train), validation=of(split.validation), test=of(split.test))


def limited(scored: Scored, limit: int | None) -> Scored:
    """So many of these windows at most, evenly spread, and ``why`` says so; None: all."""
    few_W = evenly(scored.starts_W, limit)
    if len(few_W) == len(scored.starts_W):
        return scored
    why = f"{scored.why}; {len(few_W)} of these {len(scored.starts_W)}, evenly spread (--max-windows)"
    return replace(scored, starts_W=few_W, why=why)


def _same_readings(data: ForecastData, training: ForecastData, part: TrainingPart) -> bool:
    """Whether most readings of the common times within the training part are the same, but for rounding."""
    times_T = data.series.times_T
    seen_T = np.flatnonzero((times_T >= part.first) & (times_T <= part.last))
    common, ours_R, theirs_R = np.intersect1d(times_T[seen_T], training.series.times_T, return_indices=True)
    if not len(common):
        return False
    some_R = np.unique(np.linspace(0, len(common) - 1, min(len(common), _COMPARED_ROWS)).astype(np.int64))
    rows_R, theirs_R = seen_T[ours_R[some_R]], theirs_R[some_R]
    close = compared = 0
    for piece in row_pieces((len(rows_R), *data.series.values_TNC.shape[1:])):
        our_R, their_R = rows_R[piece], theirs_R[piece]
        both_RNC = data.series.observed_TNC[our_R] & training.series.observed_TNC[their_R]
        ours_K = data.series.values_TNC[our_R][both_RNC].astype(np.float64)
        theirs_K = training.series.values_TNC[their_R][both_RNC].astype(np.float64)
        close += int((np.abs(ours_K - theirs_K) <= _ROUNDING * np.abs(theirs_K)).sum())
        compared += len(ours_K)
    return close / compared > _MOSTLY if compared else True


def _of_split(data: ForecastData, split: str | None, name: str, *, held_out: bool | None) -> Scored:
    part = split or "test"
    starts_W = data.windows(part).starts_W
    count = f"{'all' if part == 'all' else 'the'} {counted(len(starts_W), 'window')}"
    which = f"{count} of {name}" + ("" if part == "all" else f"'s {part} part")
    why = f"scored: {which}"
    if held_out is None:
        why += "; the checkpoint does not say what it was trained on" + ("" if split else ", --split all scores all")
    elif held_out:
        why += "; the model was not trained on this file as it is"
    elif part != "test":
        why = f"look: scored: {which}, also what the model was trained on; only the test part says how good it is"
    return Scored(starts_W, part, bool(held_out), why)


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")


def same_source(data: DataConfig, training: DataConfig) -> bool:
    """Whether both read the same, but for the sensors left out."""
    return replace(data, leave_out=()) == replace(training, leave_out=())
