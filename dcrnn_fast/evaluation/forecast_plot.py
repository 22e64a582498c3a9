"""The plot of one forecast: observed readings, then the forecast.

Shape legend: P past steps, F future steps, N nodes, O target channels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.bands import draw_bands
from dcrnn_fast.evaluation.labels import channel_label, zone_label
from dcrnn_fast.evaluation.style import FAINT, INK, MODEL, look, new_figure, short, time_axis, with_unit

if TYPE_CHECKING:
    from dcrnn_fast.evaluation.forecasts import Forecast

_MOST_PANELS = 6


def plot_forecast(forecast: "Forecast", ids: Sequence[str] | None = None) -> Figure:
    """A row of panels for each channel, a column for each sensor (three at most side by side).

    Raises:
        UserError: an id that the forecast does not have.
    """
    nodes = _moving_most(forecast) if ids is None else [_index(forecast, sensor) for sensor in ids[:_MOST_PANELS]]
    panels = [(node, channel) for channel in range(len(forecast.channels)) for node in nodes]
    columns = min(3, len(nodes))
    rows = -(-len(panels) // columns)
    newest = forecast.past_times_P[-1]
    everything = ids is not None or len(nodes) == len(forecast.ids)
    which = "" if everything else f"; the {len(nodes)} of {len(forecast.ids)} sensors whose forecast moves most"
    with look():
        figure = new_figure(
            3.9 * columns + 0.4,
            2.3 * rows + 1.3,
            f"Forecast from {_minute(newest)}",
            f"to {_minute(forecast.times_F[-1])}{which}",
        )
        grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, squeeze=False)).ravel()
        for axes, (node, channel) in zip(grid, panels, strict=False):
            past_P = forecast.past_values_PNO[:, node, channel]
            future_F = forecast.values_FNO[:, node, channel]
            axes.axvline(newest, color=FAINT, lw=1, ls=(0, (4, 3)))
            axes.plot(forecast.past_times_P, past_P, color=INK, lw=1.4, marker="o", ms=3, label="observed")
            if forecast.lower_LFNO is not None and forecast.upper_LFNO is not None:
                bounds = forecast.lower_LFNO[:, :, node, channel], forecast.upper_LFNO[:, :, node, channel]
                draw_bands(axes, forecast.times_F, *bounds, forecast.levels)
            axes.plot(forecast.times_F, future_F, color=MODEL, lw=2, marker="o", ms=3.5, label="forecast")
            axes.set_title(short(forecast.ids[node]))
            axes.set_ylabel(with_unit(channel_label(forecast.channels[channel]), forecast.units[channel]))
            axes.margins(y=0.15)
            time_axis(axes, fewest=3)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[len(panels) - columns : len(panels)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(zone_label(forecast.in_utc))
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels) if columns > 1 else 2)
    return figure


def _index(forecast: "Forecast", sensor: str) -> int:
    if sensor not in forecast.ids:
        raise UserError(f"the forecast has no sensor {sensor!r}")
    return forecast.ids.index(sensor)


def _moving_most(forecast: "Forecast") -> list[int]:
    """Sensors in the order of their first channel's range over the forecast, the widest first."""
    range_N = np.ptp(forecast.values_FNO[:, :, 0], axis=0)
    return [int(node) for node in np.argsort(-range_N, kind="stable")[:_MOST_PANELS]]


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")
