"""Several series as one: behind each other in time, each a part that no window leaves.

Shape legend: T time, N sensors, C channels.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import gap_notes
from dcrnn_fast.errors import UserError


def join_parts(series: list[SensorSeries], names: list[str], where: str) -> SensorSeries:
    """Several series on the same sensors as one, each a part that no window leaves.

    Raises:
        UserError: sensors, channels or interval differ, or only some have times with an offset; the file is named.
    """
    first = series[0]
    for other, name in zip(series[1:], names[1:], strict=True):
        if other.in_utc != first.in_utc:
            raise UserError(
                f"{where}: the times of one of {names[0]} and {name} have an offset, the other's have none: make them "
                "alike"
            )
        for what in ("ids", "channels", "interval"):
            if getattr(other, what) != getattr(first, what):
                got, wanted = getattr(other, what), getattr(first, what)
                if isinstance(got, tuple):
                    got, wanted = _first_difference(got, wanted)
                raise UserError(f"{where}: {name} has other {what} than {names[0]}: {got} where that has {wanted}")
    offsets = np.cumsum([0, *(one.num_steps for one in series)]).tolist()
    joined = replace(
        first,
        values_TNC=np.concatenate([one.values_TNC for one in series]),
        observed_TNC=np.concatenate([one.observed_TNC for one in series]),
        rest_TNC=join_rests(series, 0),
        times_T=np.concatenate([one.times_T for one in series]),
        segments=tuple(
            (a + offset, b + offset) for one, offset in zip(series, offsets[:-1], strict=True) for a, b in one.segments
        ),
        parts=tuple(itertools.pairwise(offsets)),
        notes=(),
    )
    return replace(joined, notes=gap_notes(joined, where))


def join_rests(series: Sequence[SensorSeries], axis: int) -> np.ndarray | None:
    """``rest_TNC`` of several series along an axis; 0 for those that have none."""
    if all(one.rest_TNC is None for one in series):
        return None
    rests = [np.zeros(one.values_TNC.shape, np.float32) if one.rest_TNC is None else one.rest_TNC for one in series]
    return np.concatenate(rests, axis=axis)


def _first_difference(got: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, str]:
    if len(got) != len(wanted):
        return f"{len(got)} of them", f"{len(wanted)}"
    return next((repr(a), repr(b)) for a, b in zip(got, wanted, strict=True) if a != b)
