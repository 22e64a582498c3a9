"""Mean and standard deviation of each channel, or each sensor's own, and the way between original and scaled units.

Shape legend: T time, R rows, W windows, N sensors, C value channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from dcrnn_fast.data.pieces import rows_at_once
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.windows import window_counts
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import some

Values = TypeVar("Values", np.ndarray, torch.Tensor)


Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]

# Sums over equal readings may miss their mean by rounding: smaller values are no deviation.
_ROUNDING = 1e-10


def unscaled(scaled: Values, mean: Values, std: Values) -> Values:
    """Scaled to original units; ``mean`` and ``std`` in the dtype of ``scaled``."""
    return scaled * std + mean


@dataclass(frozen=True, slots=True)
class Scaler:
    """scaled = (value - mean) / std, for each channel, or for each sensor and channel; the channel is the last
    dimension, the sensor the one before.

    Attributes:
        mean, std: original units; C numbers, or N tuples of C of them; std is positive.
    """

    mean: Numbers
    std: Numbers
    _arrays: dict[np.dtype, tuple[np.ndarray, np.ndarray]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @property
    def per_sensor(self) -> bool:
        """Whether each sensor has its own mean and deviation."""
        return np.ndim(self.mean) == 2

    @property
    def num_channels(self) -> int:
        """C."""
        return int(np.shape(self.mean)[-1])

    @property
    def num_sensors(self) -> int | None:
        """N; None: the same numbers for any sensors."""
        return len(self.mean) if self.per_sensor else None

    def arrays(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, (C,) or (N, C), in this dtype; made once: of many sensors that takes milliseconds."""
        if dtype not in self._arrays:
            self._arrays[dtype] = np.asarray(self.mean, dtype=dtype), np.asarray(self.std, dtype=dtype)
        return self._arrays[dtype]

    def transform(self, values: Values) -> Values:
        """Original units to scaled, in the dtype of ``values`` (..., N, C)."""
        mean, std = self._like(values)
        return (values - mean) / std

    def inverse(self, scaled: Values) -> Values:
        """Scaled to original units, in the dtype of ``scaled`` (..., N, C)."""
        return unscaled(scaled, *self._like(scaled))

    def _like(self, values: Values) -> tuple[Values, Values]:
        """Mean and deviation of the kind of ``values``."""
        if isinstance(values, torch.Tensor):
            mean, std = map(torch.from_numpy, self.arrays(np.dtype(np.float64)))
            return mean.to(values.device, values.dtype), std.to(values.device, values.dtype)
        return self.arrays(values.dtype)

    def take(self, channels: Sequence[int]) -> "Scaler":
        """The scaler of these channels, in this order (for the targets: ``window_format.target_channels``)."""
        mean, std = (np.asarray(numbers)[..., list(channels)] for numbers in (self.mean, self.std))
        return Scaler(_numbers(mean), _numbers(std))

    def take_sensors(self, sensors: Sequence[int] | np.ndarray) -> "Scaler":
        """The scaler of these sensors, by their numbers, in this order."""
        if not self.per_sensor:
            return self
        return Scaler(tuple(self.mean[n] for n in sensors), tuple(self.std[n] for n in sensors))  # type: ignore[arg-type]

    def to_state(self) -> dict[str, list[Any]]:
        """Plain lists, for a checkpoint."""
        return {"mean": np.asarray(self.mean).tolist(), "std": np.asarray(self.std).tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Scaler":
        """The scaler of ``to_state``.

        Raises:
            UserError: mean or std is missing, they do not fit together, or hold values that no scaler can.
        """
        if set(state) != {"mean", "std"}:
            raise UserError(f"the saved scaler must hold mean and std, it holds {some(sorted(map(str, state)))}")
        if not all(_are_numbers(value) for value in state.values()):
            raise UserError("the saved scaler must hold numbers, as many for each sensor")
        try:
            mean, std = (np.asarray(state[name], dtype=np.float64) for name in ("mean", "std"))
        except (ValueError, OverflowError) as error:
            raise UserError("the saved scaler must hold numbers, as many for each sensor") from error
        if mean.shape != std.shape or mean.ndim not in (1, 2) or not mean.size:
            raise UserError(
                "the saved scaler must hold mean and std for each channel, or for each sensor and channel, it holds "
                f"{mean.shape} and {std.shape} numbers"
            )
        made = cls(_numbers(mean), _numbers(std))
        made.require_usable("the saved scaler")
        return made

    def require_usable(self, what: str) -> None:
        """Checks that float32, in which windows are scaled, can hold the numbers; ``what`` begins the message.

        Raises:
            UserError: a mean is not finite there, or a deviation not positive and finite.
        """
        with np.errstate(over="ignore", under="ignore"):
            mean, std = (np.asarray(numbers, dtype=np.float64).astype(np.float32) for numbers in (self.mean, self.std))
        for name, numbers, wrong in (
            ("mean", self.mean, ~np.isfinite(mean)),
            ("std", self.std, ~(np.isfinite(std) & (std > 0))),
        ):
            if wrong.any():
                raise UserError(
                    f"{what} must hold finite means and positive deviations, of float32's size, got {name} "
                    f"{np.asarray(numbers)[wrong][0]:g}"
                )

    def require_shape(self, num_channels: int, num_sensors: int) -> None:
        """Checks that the scaler is of so many channels and, if each sensor has its own, sensors.

        Raises:
            UserError: it is not.
        """
        if self.num_channels != num_channels or self.num_sensors not in (None, num_sensors):
            each = "" if self.num_sensors is None else f" of {self.num_sensors} sensors"
            raise UserError(
                f"the saved scaler is of {self.num_channels} channels{each}, wanted {num_channels} channels of "
                f"{num_sensors} sensors"
            )


def _are_numbers(value: Any) -> bool:
    """Whether this is a list of numbers, or of lists of them."""
    return isinstance(value, (list, tuple)) and all(type(item) in (int, float) or _are_numbers(item) for item in value)


def _numbers(array: np.ndarray) -> Numbers:
    if array.ndim == 1:
        return tuple(array.tolist())
    return tuple(tuple(row) for row in array.tolist())


def fit_scaler(series: SensorSeries, starts_W: np.ndarray, past_steps: int, how: str) -> Scaler:
    """The scaler of the training windows' inputs (Li et al. 2018, released code: ``StandardScaler`` of x_train).

    A reading counts once for each training window that reads it. Sums are float64, in two passes, O(T N C); no window
    is built.

    Args:
        starts_W: int64, first rows of the training windows.
        how: "published": every reading, a missing one as the 0 that the series holds; "observed": observed ones only;
            "sensor": observed ones, for each sensor alone. A sensor without a reading takes the mean of all, and one
            whose readings do not differ the deviation that sensors have on average (``weak_sensors`` names them).

    Raises:
        UserError: a channel has no observed reading in the training part, or is constant there.
    """
    count_T = window_counts(starts_W, past_steps, series.num_steps)
    rows_R = np.flatnonzero(count_T)
    total, weight = _weighted_sums(series, rows_R, count_T, how, center=None)
    weight_C = weight.reshape(-1, weight.shape[-1]).sum(axis=0)
    if (empty := np.flatnonzero(weight_C == 0)).size:
        raise UserError(f"channel {series.channels[empty[0]]!r} has no observed reading in the training part")
    if how == "sensor":
        common_C = total.sum(axis=0) / weight_C
        mean = np.where(weight > 0, total / np.maximum(weight, 1), common_C)
    else:
        mean = total / weight
    squares, _ = _weighted_sums(series, rows_R, count_T, how, center=mean)
    if how == "sensor":
        within_C = np.sqrt(squares.sum(axis=0) / weight_C)
        std = np.sqrt(squares / np.maximum(weight, 1))
        std = np.where(std > _ROUNDING * np.abs(mean), std, within_C)
    else:
        std = np.sqrt(squares / weight)
    flat = ~(std > _ROUNDING * np.abs(mean))
    if (at := np.flatnonzero(flat.reshape(-1, flat.shape[-1]).any(axis=0))).size:
        channel, value = series.channels[at[0]], mean[..., at[0]].ravel()[0]
        said = "does not change in any sensor" if how == "sensor" else f"is {value:g} throughout"
        where = " throughout the training part" if how == "sensor" else " the training part"
        zeros = ""
        if series.missing == "zero" and how != "published":
            zeros = "zeros are missing readings here (missing: zero): where they mean something, write other numbers; "
        raise UserError(
            f"channel {channel!r} {said}{where}: there is nothing to learn from it; {zeros}choose other channels with "
            "--variables"
        )
    return Scaler(_numbers(mean), _numbers(std))


def _weighted_sums(
    series: SensorSeries, rows_R: np.ndarray, count_T: np.ndarray, how: str, center: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the rows, times their counts, and the sums of these counts: of the readings, or of their squared
    distance from ``center``. (N, C) for "sensor", else (C,).
    """
    num_channels = len(series.channels)
    shape = (series.num_sensors, num_channels) if how == "sensor" else (num_channels,)
    total, weight = np.zeros(shape), np.zeros(shape)
    chunk = rows_at_once(series.values_TNC.shape)
    for start in range(0, len(rows_R), chunk):
        rows = rows_R[start : start + chunk]
        # Rows mostly follow one another; a slice is read without copying single rows.
        together = rows[-1] - rows[0] + 1 == len(rows)
        index: slice | np.ndarray = slice(rows[0], rows[-1] + 1) if together else rows
        term_RNC = series.readings(index)
        if center is not None:
            term_RNC -= center
            term_RNC *= term_RNC
        count_R = count_T[rows].astype(np.float64)
        if how == "published":
            weight += count_R.sum() * series.num_sensors
        else:
            observed_RNC = series.observed_TNC[index]
            term_RNC *= observed_RNC
        if how == "sensor":
            total += np.tensordot(count_R, term_RNC, 1)
            weight += np.tensordot(count_R, observed_RNC.astype(np.float64), 1)
            continue
        if how == "observed":
            weight += count_R @ observed_RNC.sum(axis=1)
        total += count_R @ term_RNC.sum(axis=1)
    return total, weight
