"""Mean and standard deviation of each channel, and the arithmetic between original and scaled units.

Shape legend: T time, N sensors, C value channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError

Values = TypeVar("Values", np.ndarray, torch.Tensor)


@dataclass(frozen=True, slots=True)
class Scaler:
    """scaled = (value - mean) / std, for each channel; the channel is the last dimension.

    Attributes:
        mean, std: one float each for every value channel, original units; std is positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def transform(self, values: Values) -> Values:
        """Original units to scaled, in the dtype of ``values`` (..., C)."""
        return (values - _like(self.mean, values)) / _like(self.std, values)

    def inverse(self, scaled: Values) -> Values:
        """Scaled to original units, in the dtype of ``scaled`` (..., C)."""
        return scaled * _like(self.std, scaled) + _like(self.mean, scaled)

    def take(self, channels: Sequence[int]) -> "Scaler":
        """The scaler of these channels, in this order (for the targets: ``window_format.target_channels``)."""
        return Scaler(tuple(self.mean[i] for i in channels), tuple(self.std[i] for i in channels))

    def to_state(self) -> dict[str, list[float]]:
        """Plain lists, for a checkpoint."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Scaler":
        """The scaler of ``to_state``.

        Raises:
            UserError: mean or std is missing, or they do not fit together.
        """
        if set(state) != {"mean", "std"} or len(state["mean"]) != len(state["std"]):
            raise UserError(f"the saved scaler must hold mean and std of the same length, it holds {sorted(state)}")
        return cls(tuple(float(m) for m in state["mean"]), tuple(float(s) for s in state["std"]))


def _like(numbers: tuple[float, ...], values: Values) -> Values:
    if isinstance(values, torch.Tensor):
        return torch.tensor(numbers, dtype=values.dtype, device=values.device)
    return np.asarray(numbers, dtype=values.dtype)


def fit_scaler(series: SensorSeries, starts_W: np.ndarray, past_steps: int, how: str) -> Scaler:
    """The scaler of the training windows' inputs (Li et al. 2018, released code: ``StandardScaler`` of x_train).

    A reading counts once for each training window that reads it. Sums are float64, in two passes, O(T N C); no window
    is built.

    Args:
        starts_W: int64, first rows of the training windows.
        how: "published": every reading, a missing one as the 0 that the series holds; "observed": observed ones only.

    Raises:
        UserError: a channel has no observed reading in the training part, or is constant there.
    """
    count_T = window_counts(starts_W, past_steps, series.num_steps)
    rows_R = np.flatnonzero(count_T)
    total_C, weight_C = _weighted_sums(series, rows_R, count_T, how, center_C=None)
    if (empty := np.flatnonzero(weight_C == 0)).size:
        raise UserError(f"channel {series.channels[empty[0]]!r} has no observed reading in the training part")
    mean_C = total_C / weight_C
    squares_C, _ = _weighted_sums(series, rows_R, count_T, how, center_C=mean_C)
    std_C = np.sqrt(squares_C / weight_C)
    if (flat := np.flatnonzero(std_C == 0)).size:
        raise UserError(
            f"channel {series.channels[flat[0]]!r} is {mean_C[flat[0]]:g} throughout the training part: there is "
            f"nothing to learn from it; choose other channels with --variables"
        )
    return Scaler(tuple(mean_C.tolist()), tuple(std_C.tolist()))


def window_counts(starts_W: np.ndarray, past_steps: int, num_steps: int) -> np.ndarray:
    """(T,) int64: how many windows read each row as input."""
    edges = np.zeros(num_steps + 1, dtype=np.int64)
    np.add.at(edges, starts_W, 1)
    np.add.at(edges, starts_W + past_steps, -1)
    return np.cumsum(edges[:-1])


def _weighted_sums(
    series: SensorSeries, rows_R: np.ndarray, count_T: np.ndarray, how: str, center_C: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the rows, times their counts: of the readings, or of their squared distance from ``center_C``."""
    num_channels = len(series.channels)
    total_C, weight_C = np.zeros(num_channels), np.zeros(num_channels)
    chunk = max(1, (1 << 22) // (series.num_sensors * num_channels))
    for start in range(0, len(rows_R), chunk):
        rows = rows_R[start : start + chunk]
        # Rows mostly follow one another; a slice is read from a memory map without copying single rows.
        together = rows[-1] - rows[0] + 1 == len(rows)
        index: slice | np.ndarray = slice(rows[0], rows[-1] + 1) if together else rows
        term_RNC = series.values_TNC[index].astype(np.float64)
        if center_C is not None:
            term_RNC -= center_C
            term_RNC *= term_RNC
        count_R = count_T[rows].astype(np.float64)
        if how == "observed":
            observed_RNC = series.observed_TNC[index]
            term_RNC *= observed_RNC
            weight_C += count_R @ observed_RNC.sum(axis=1)
        else:
            weight_C += count_R.sum() * series.num_sensors
        total_C += count_R @ term_RNC.sum(axis=1)
    return total_C, weight_C
