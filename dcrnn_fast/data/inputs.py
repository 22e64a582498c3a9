"""The network's input: scaled readings, a rule for missing ones, time of day, day of week.

The same few functions serve training, evaluation and forecasting, so that they cannot disagree.

Shape legend: B batch, P past steps, F future steps, S steps (P or P + F), N sensors, C channels, O target channels,
D time channels, K channels known ahead.
"""

import numpy as np

from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.times import day_of_week, fraction_of_day
from dcrnn_fast.data.window_format import WindowFormat

_AT_ONCE = 1 << 15
"""numbers, in a first-level or second-level cache"""


def readable(
    values_BSNC: np.ndarray,
    observed_BSNC: np.ndarray,
    scaler: Scaler,
    missing_input: str,
    dtype: np.dtype | None = None,
) -> np.ndarray:
    """Scaled readings (float32) with the rule for missing ones applied.

    zero: raw 0, scaled, as the published model read them. mean: the scaler's mean, which is 0 when scaled. last: the
    last observed reading of the same sensor and channel earlier in the same window, so that a forecast needs nothing
    older than its P steps; the mean before the first one.

    Args:
        values_BSNC: float32 or float64, original units, 0 at missing readings.
        observed_BSNC: bool.
        dtype: float32 or float64, in which they are scaled; None: their own.
    """
    scaled_BSNC = np.empty(values_BSNC.shape, dtype=np.float32)
    mean, std = scaler.arrays(values_BSNC.dtype if dtype is None else dtype)
    # What is computed stays in the cache, however many sensors there are.
    at_once = max(_AT_ONCE // max(values_BSNC[:, :1].size, 1), 1)
    for first in range(0, values_BSNC.shape[1], at_once):
        steps = slice(first, first + at_once)
        np.divide(values_BSNC[:, steps] - mean, std, out=scaled_BSNC[:, steps], casting="same_kind")
        if missing_input != "zero":
            _fill(scaled_BSNC, observed_BSNC, missing_input, steps)
    return scaled_BSNC


def _fill(scaled_BSNC: np.ndarray, observed_BSNC: np.ndarray, missing_input: str, steps: slice) -> None:
    """Puts the last reading, or the mean, where none was observed at these steps; earlier ones are filled."""
    missing_SBNC = ~observed_BSNC[:, steps].swapaxes(0, 1)
    before_BNC = scaled_BSNC[:, steps.start - 1] if steps.start and missing_input == "last" else np.float32(0)
    for now_BNC, missing_BNC in zip(scaled_BSNC[:, steps].swapaxes(0, 1), missing_SBNC, strict=True):
        np.copyto(now_BNC, before_BNC, where=missing_BNC)
        if missing_input == "last":
            before_BNC = now_BNC


def with_time_channels(scaled_BPNC: np.ndarray, times_BP: np.ndarray, window_format: WindowFormat) -> np.ndarray:
    """The value channels, then the fraction of the day, then one-hot days from Monday, as far as configured."""
    if window_format.input_channels == scaled_BPNC.shape[-1]:
        return scaled_BPNC
    x_BPNC = np.empty((*scaled_BPNC.shape[:-1], window_format.input_channels), dtype=np.float32)
    put_inputs(x_BPNC, scaled_BPNC, times_BP, window_format)
    return x_BPNC


def put_inputs(x_BPNC: np.ndarray, scaled_BPNC: np.ndarray, times_BP: np.ndarray, window_format: WindowFormat) -> None:
    """``with_time_channels``, into ``x_BPNC``."""
    num_values = scaled_BPNC.shape[-1]
    x_BPNC[..., :num_values] = scaled_BPNC
    if num_values < window_format.input_channels:
        x_BPNC[..., num_values:] = time_channels(times_BP, window_format)[..., None, :]


def put_known(known_BFNK: np.ndarray, scaled_BFNC: np.ndarray, times_BF: np.ndarray, form: WindowFormat) -> None:
    """What the decoder reads of the forecast's steps, into ``known_BFNK``: the known channels ``scaled_BFNC``, then the
    time channels with ``calendar_ahead``.
    """
    num_values = len(form.known_channels)
    known_BFNK[..., :num_values] = scaled_BFNC
    if num_values < form.num_known:
        known_BFNK[..., num_values:] = time_channels(times_BF, form)[..., None, :]


def time_channels(times: np.ndarray, window_format: WindowFormat) -> np.ndarray:
    """(..., D) float32 for times (...): fraction of the day, then one-hot days from Monday, as far as configured."""
    channels = []
    if window_format.time_of_day:
        channels.append(fraction_of_day(times)[..., None])
    if window_format.day_of_week:
        channels.append((day_of_week(times)[..., None] == np.arange(7)).astype(np.float32))
    if len(channels) == 1:
        return channels[0]
    return np.concatenate(channels, axis=-1) if channels else np.zeros((*times.shape, 0), dtype=np.float32)


def assemble_inputs(
    window_format: WindowFormat,
    scaler: Scaler,
    values_BPNC: np.ndarray,
    observed_BPNC: np.ndarray,
    times_BP: np.ndarray,
) -> np.ndarray:
    """x_BPNC, float32 and scaled: the network's input.

    Args:
        values_BPNC: float32 or float64, original units, the value channels of ``window_format``, 0 at missing readings.
        observed_BPNC: bool.
        times_BP: ``datetime64[s]``.
    """
    scaled_BPNC = readable(values_BPNC, observed_BPNC, scaler, window_format.missing_input)
    return with_time_channels(scaled_BPNC, times_BP, window_format)
