"""The bounds of a forecast's prediction intervals as columns of a table and as variables of a data set.

Shape legend: L levels, F future steps, N nodes, O target channels, R rows of a table.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.evaluation.intervals import level_label, level_words
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.messages import counted

if TYPE_CHECKING:
    from dcrnn_fast.evaluation.forecasts import Forecast

Floats = NDArray[np.float32]


def bounds_of(forecast: "Forecast") -> Iterator[tuple[str, str, Floats]]:
    """(name, what it is, values (F, N, O)) of each bound: lower_50, upper_50, lower_80, ...; none without intervals."""
    if forecast.lower_LFNO is None or forecast.upper_LFNO is None:
        return
    for index, level in enumerate(forecast.levels):
        label = level_label(level)
        yield f"lower_{label}", f"lower bound of the {label} % interval", forecast.lower_LFNO[index]
        yield f"upper_{label}", f"upper bound of the {label} % interval", forecast.upper_LFNO[index]


def bound_columns(forecast: "Forecast") -> dict[str, Floats]:
    """A column (R,) for each bound, in the order of the forecast's values."""
    return {name: values_FNO.ravel() for name, _, values_FNO in bounds_of(forecast)}


def bound_variables(forecast: "Forecast") -> dict[str, tuple[tuple[str, str], Floats, dict[str, str]]]:
    """A variable (time, station) for each channel's bounds: speed_lower_90."""
    variables = {}
    for channel, (name, unit) in enumerate(zip(forecast.channels, forecast.units, strict=True)):
        for bound, what, values_FNO in bounds_of(forecast):
            attributes = {"long_name": f"{what} of the forecast of {name}"} | ({"units": unit} if unit else {})
            variables[f"{name}_{bound}"] = (("time", "station"), values_FNO[:, :, channel], attributes)
    return variables


def interval_lines(forecast: "Forecast", windows: int) -> list[str]:
    """A line for each channel: how far the highest level's bounds are from the forecast at the last step that has them.

    Args:
        windows: from which the intervals come.
    """
    if forecast.upper_LFNO is None or forecast.lower_LFNO is None:
        return []
    lines = []
    for channel, name in enumerate(forecast.channels):
        away_FN = (forecast.upper_LFNO[-1] - forecast.values_FNO)[:, :, channel]
        there_F = np.flatnonzero(np.isfinite(away_FN).any(axis=1))
        if there_F.size:
            step = int(there_F[-1])
            away_N = away_FN[step]
            last = len(away_FN) - 1
            at = "at the last step" if step == last else f"none after step {step + 1}, where"
            unit = f" {forecast.units[channel]}" if forecast.units[channel] else ""
            lines.append(
                f"{channel_label(name)}: intervals of {level_words(forecast.levels)} from "
                f"{counted(windows, 'validation window')}; {at} {level_label(forecast.levels[-1])} % is the forecast "
                f"and {np.median(away_N[np.isfinite(away_N)]):.3g}{unit} above and below it (median of the sensors)"
            )
    return lines
