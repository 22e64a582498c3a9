"""The part of the data that a model has seen: its times, and its least reading. Kept in checkpoints.

Shape legend: O target channels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcrnn_fast.config.plain import shown
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPart:
    """The rows that weights and best epoch were chosen by.

    Attributes:
        first, last: ``datetime64[s]``, of the first row that a training or validation window reads, and of the last one
            that such a window forecasts.
        minimum: the least observed reading of each target channel among the rows of the training windows, original
            units; None if none was observed.
    """

    first: np.datetime64
    last: np.datetime64
    minimum: tuple[float | None, ...]

    def to_state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"first": str(self.first), "last": str(self.last), "minimum": list(self.minimum)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], num_targets: int) -> "TrainingPart":
        """The part of ``to_state``, for so many target channels.

        Raises:
            UserError: it is none.
        """
        if not isinstance(state, dict) or set(state) != {"first", "last", "minimum"}:
            raise UserError(f"the saved training part must hold first, last and minimum, got {shown(state)}")
        minimum = state["minimum"]
        known = isinstance(minimum, (list, tuple)) and all(
            value is None or (type(value) in (int, float) and math.isfinite(value)) for value in minimum
        )
        if not known or len(minimum) != num_targets:
            raise UserError(
                f"the saved training part must hold a minimum for each of {num_targets} targets, got {shown(minimum)}"
            )
        if not all(isinstance(state[name], str) for name in ("first", "last")):
            raise UserError(f"the saved training part must hold times, got {shown(state)}")
        try:
            first, last = (np.datetime64(state[name], "s") for name in ("first", "last"))
        except ValueError as error:
            raise UserError(f"the saved training part must hold times, got {shown(state)}") from error
        if not first <= last:  # NaT is neither
            raise UserError(f"the saved training part must end after its beginning, got {first} and {last}")
        return cls(first=first, last=last, minimum=tuple(None if value is None else float(value) for value in minimum))


def training_part(data: ForecastData) -> TrainingPart:
    """The part of the data that a model trained on it has seen."""
    series, steps = data.series, data.window_format.window_steps
    starts_W = np.concatenate([data.train.starts_W, data.validation.starts_W])
    rows = starts_W.min(), starts_W.max() + steps - 1
    if len(series.parts) > 1:  # times of scenarios may overlap
        touched = [series.times_T[max(a, rows[0]) : min(b, rows[1] + 1)] for a, b in series.parts]
        times = np.concatenate([times_R[[0, -1]] for times_R in touched if len(times_R)])
    else:
        times = series.times_T[list(rows)]
    return TrainingPart(first=times.min(), last=times.max(), minimum=_minimum(data))


def _minimum(data: ForecastData) -> tuple[float | None, ...]:
    series, targets = data.series, list(data.window_format.target_channels)
    first = int(data.train.starts_W.min())
    stop = int(data.train.starts_W.max()) + data.window_format.window_steps
    least_O = np.full(len(targets), np.inf)
    for rows in row_pieces(series.values_TNC.shape, range(first, stop)):
        values_RNO, observed_RNO = series.values_TNC[rows][..., targets], series.observed_TNC[rows][..., targets]
        least_O = np.minimum(least_O, values_RNO.min(axis=(0, 1), where=observed_RNO, initial=np.inf))
    return tuple(value if np.isfinite(value) else None for value in least_O.tolist())
