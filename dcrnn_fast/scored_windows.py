"""Which windows of a file an evaluation scores: those that the model was not trained on.

Shape legend: W windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import counted
from dcrnn_fast.training.run import digests_of

SPLITS = ("all", "train", "validation", "test")
_SAME_DATA = ("readings", "missing readings", "times")


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """The windows to score.

    Attributes:
        starts_W: their first rows; name: what they are called in the report.
        held_out: the data is not what the model was trained on.
        why: a line that says which windows these are and why.
    """

    starts_W: NDArray[np.int64]
    name: str
    held_out: bool
    why: str


def scored_windows(
    data: ForecastData, split: str | None, name: str, *, digests: dict[str, str] | None, part: TrainingPart | None
) -> Scored:
    """The windows of ``split``, or, where it is None, those that the model was not trained on.

    That is the test part of the training data; all windows of other data, but for those with a target in the time of
    the training and validation windows; and again the test part where the checkpoint does not say what it was trained
    on.

    Args:
        name: of the data, for messages.
        digests, part: what the checkpoint says of its training data; None: nothing.
    Raises:
        UserError: there is no such window; the message says what there is.
    """
    if digests is None:
        held_out = False
    else:
        ours = digests_of(data)
        held_out = any(digests.get(what) != ours[what] for what in _SAME_DATA)
    if split is not None or digests is None or not held_out:
        return _of_split(data, split, name, held_out=held_out, known=digests is not None)
    starts_W = data.windows("all").starts_W
    if part is None:
        raise UserError(
            f"{name} is not the data that the model was trained on, and the checkpoint is too old to say at what times "
            "that was: say with --split all or --split test which windows to score"
        )
    times_WF = data.target_times(starts_W)
    seen_W = ((times_WF >= part.first) & (times_WF <= part.last)).any(axis=1)
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


def _of_split(data: ForecastData, split: str | None, name: str, *, held_out: bool, known: bool) -> Scored:
    part = split or "test"
    starts_W = data.windows(part).starts_W
    count = f"{'all' if part == 'all' else 'the'} {counted(len(starts_W), 'window')}"
    which = f"{count} of {name}" + ("" if part == "all" else f"'s {part} part")
    why = f"scored: {which}"
    if not known:
        why += "; the checkpoint does not say what it was trained on" + ("" if split else ", --split all scores all")
    elif held_out:
        why += "; the model was not trained on this file as it is"
    elif part != "test":
        why = f"look: scored: {which}, also what the model was trained on; only the test part says how good it is"
    return Scored(starts_W, part, held_out, why)


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")
