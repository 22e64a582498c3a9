"""Doubts about the scale of the readings: one line each, for ``ForecastData.notes``.

Shape legend: R rows, W windows, N sensors, C value channels, X N with a scaler for each sensor, else 1.
"""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.pieces import rows_at_once
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.windows import window_counts
from dcrnn_fast.messages import first_few

_ROWS = 8192
"""by which sensors are compared, spread evenly over the training part"""
_FAR = 5.0
"""a sensor's own mean lies so many common deviations from the common mean"""
_FLAT = 20
"""a sensor's own deviation is less than this part of the common one"""
_STEPS = 50
"""float32 numbers in one deviation, below which rounding shows in the forecasts"""


_READ = {"zero": "raw 0", "last": "the last observed one", "mean": "the mean"}
_SCALED = {
    "published": "all readings, missing ones as 0",
    "observed": "observed readings",
    "sensor": "each sensor's observed readings",
}


def input_words(config: DataConfig) -> str:
    """The network's input at missing readings, and the readings that mean and deviation are computed from."""
    return (
        f"the network reads {_READ[config.missing_input]} where a reading is missing (--missing-input "
        f"{config.missing_input}); mean and deviation are of {_SCALED[config.scaler]} (--scaler {config.scaler})"
    )


def scale_notes(
    series: SensorSeries, starts_W: np.ndarray, past_steps: int, scaler: Scaler, how: str
) -> tuple[str, ...]:
    """Sensors that one mean and deviation fit badly; with one for each, those that have none of their own; channels
    that vary too little around a large number.

    Args:
        starts_W: int64, first rows of the training windows that ``scaler`` was fitted on.
        how: as ``fit_scaler`` has it.
    """
    rows_R = np.flatnonzero(window_counts(starts_W, past_steps, series.num_steps))
    if not scaler.per_sensor:
        rows_R = rows_R[:: max(1, len(rows_R) // _ROWS)]
    count_NC, mean_NC, std_NC = _moments(series, rows_R)
    mean_XC, std_XC = (np.asarray(numbers).reshape(-1, scaler.num_channels) for numbers in (scaler.mean, scaler.std))
    cure = "--scaler sensor gives each its own"
    if how == "published":
        cure = f"--scaler observed does not count missing readings as 0, {cure}"
    notes = []
    for c, channel in enumerate(series.channels):
        seen_N = count_NC[:, c] > 0
        mean_N, std_N = mean_NC[:, c], std_NC[:, c]
        resolved_N = std_N > 1e-10 * np.abs(mean_N)
        if scaler.per_sensor:
            if len(weak := np.flatnonzero(~(seen_N & resolved_N))):
                notes.append(
                    f"look: {_named(series, weak)} no two different readings of {channel!r} in the training part: "
                    "scaled by the deviation that sensors have on average"
                )
            continue
        common, spread = mean_XC[0, c], std_XC[0, c]
        far_N = np.abs(mean_N - common) > _FAR * spread
        unfit_N = seen_N & resolved_N & (far_N | (std_N < spread / _FLAT))
        if (unfit := np.flatnonzero(unfit_N)).size:
            n, which = int(unfit[0]), _named(series, unfit, "")
            notes.append(
                f"look: one mean and deviation of {channel!r} ({common:.4g}, {spread:.4g}) fit {which} badly, "
                f"{series.ids[n]} has {mean_N[n]:.4g} and {std_N[n]:.4g}: {cure}"
            )
    step_XC = np.spacing(np.abs(mean_XC).astype(np.float32))
    coarse_XC = step_XC * _STEPS > std_XC
    for c in np.flatnonzero(coarse_XC.any(axis=0)).tolist():
        x = int(np.flatnonzero(coarse_XC[:, c])[0])
        notes.append(
            f"look: {series.channels[c]!r} varies by {std_XC[x, c]:.3g} around {mean_XC[x, c]:.7g}, where float32 has "
            f"steps of {step_XC[x, c]:.3g}: subtract a constant from the readings"
        )
    return tuple(notes)


def _moments(series: SensorSeries, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, C) each: observed readings among these rows, their mean and deviation; 0 where there are none."""
    shape = (series.num_sensors, len(series.channels))
    count_NC, sum_NC, squares_NC = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    chunk = rows_at_once(series.values_TNC.shape)
    pieces = [rows_R[start : start + chunk] for start in range(0, len(rows_R), chunk)]
    for rows in pieces:
        observed_RNC = series.observed_TNC[rows]
        count_NC += observed_RNC.sum(axis=0)
        sum_NC += np.where(observed_RNC, series.values_TNC[rows], 0).sum(axis=0, dtype=np.float64)
    mean_NC = sum_NC / np.maximum(count_NC, 1)
    for rows in pieces:
        error_RNC = np.where(series.observed_TNC[rows], series.values_TNC[rows] - mean_NC, 0.0)
        squares_NC += (error_RNC * error_RNC).sum(axis=0)
    return count_NC, mean_NC, np.sqrt(squares_NC / np.maximum(count_NC, 1))


def _named(series: SensorSeries, index: np.ndarray, has: str = " has") -> str:
    verb = has and (" has" if len(index) == 1 else " have")
    return f"{len(index)} of {series.num_sensors} sensors ({first_few([series.ids[n] for n in index])}){verb}"
