"""Prediction intervals in plots: shaded bands around forecasts.

Shape legend: L levels, T times, V windows, N nodes, O target channels.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import level_label
from dcrnn_fast.evaluation.style import MODEL
from dcrnn_fast.evaluation.trace import Forecasts

_FAINTEST, _STRONGEST = 0.14, 0.4


def draw_bands(
    axes: Axes,
    times_T: NDArray[np.datetime64],
    lower_LT: NDArray[np.float32],
    upper_LT: NDArray[np.float32],
    levels: Sequence[float],
) -> None:
    """A band for each level, the wider the fainter, behind everything else; a bar where there is one time alone."""
    for index in reversed(range(len(levels))):
        colour, label = band_colour(index, len(levels)), f"{level_label(levels[index])} % interval"
        if len(times_T) == 1:
            axes.vlines(times_T, lower_LT[index], upper_LT[index], color=colour, lw=9, label=label, zorder=1)
        else:
            axes.fill_between(times_T, lower_LT[index], upper_LT[index], color=colour, lw=0, label=label, zorder=1)


def draw_widest(axes: Axes, sums: IntervalSums, forecasts: Forecasts, node: int, channel: int) -> None:
    """The band of the highest level around what was forecast for the last horizon of a stretch."""
    step = max(forecasts)
    times_V, values_VNO = forecasts[step]
    half_width = sums.intervals.half_width_LFNO[-1, step - 1, node, channel]
    lower_V, upper_V = values_VNO[:, node, channel] - half_width, values_VNO[:, node, channel] + half_width
    if sums.at_least is not None:
        lower_V = np.maximum(lower_V, np.float32(sums.at_least))
    draw_bands(axes, times_V, lower_V[None], upper_V[None], sums.intervals.levels[-1:])


def band_colour(index: int, number: int) -> tuple[float, ...]:
    """The colour of the ``index``-th of so many levels: the model's, mixed with white."""
    share = _FAINTEST + (_STRONGEST - _FAINTEST) * (number - 1 - index) / max(number - 1, 1)
    return tuple(1 - share * (1 - part) for part in to_rgb(MODEL))
