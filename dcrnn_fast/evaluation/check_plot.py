"""One page that shows how data and graph were understood: readings with gaps, missing readings by time, the graph.

Shape legend: T time, R rows, N sensors, K of them, C channels, D bins of time, G groups of neighbouring sensors.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dcrnn_fast.data.account import minute, percent
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.facts import stretches
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import is_months
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.style import FAINT, INK, MODEL, WORST, look, new_figure, short, time_axis, with_unit
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.messages import counted

_MOST_POINTS = 1500
_MOST_BINS = 400
_MOST_ROWS = 500
_MOST_LINKS = 60_000
_MOST_NAMES = 25
_FEWEST_BINS = 5


def plot_check(data: ForecastData, name: str) -> Figure:
    """The first target's readings of the fullest, the median and the emptiest sensor, all gaps, and the graph.

    Args:
        name: of the data, for the title.
    """
    series, channel = data.series, data.window_format.target_channels[0]
    unit, what = series.units[channel], channel_label(series.channels[channel])
    edges_D, missing_DN = _missing(series, channel)
    rows_D = np.diff(edges_D)
    missing_N = np.asarray(rows_D @ missing_DN / rows_D.sum())
    picks = _picks(missing_N)
    first, last = (minute(series.times_T[row]) for row in (0, -1))
    zone = "UTC" if series.in_utc else "no zone given"
    with look():
        figure = new_figure(
            11,
            3.6 + 1.5 * len(picks) + 4.4,
            f"What was understood: {name[-80:]}",
            f"{with_unit(what, unit)}, {counted(series.num_sensors, 'sensor')}, every {series.freq}, {first} to {last}"
            f" ({zone}); {percent(missing_N.mean())} missing",
        )
        halves: Any = figure.subfigures(2, 1, height_ratios=[1.5 * len(picks), 7.4])
        upper, lower = halves
        panels = np.atleast_1d(upper.subplots(len(picks), 1, sharex=True))
        for axes, node, values_T in zip(panels, picks, _readings_of(series, picks, channel), strict=True):
            _draw_readings(axes, series, values_T)
            axes.set_title(f"{short(series.ids[node])}: {percent(missing_N[node])} missing (shaded)")
            axes.set_ylabel(with_unit(what, unit))
        grid = lower.subplots(2, 1, height_ratios=[1, 1.5])
        _draw_missing(grid[0], series, edges_D, missing_DN)
        _draw_graph(grid[1], data.graph)
    return figure


def _picks(missing_N: np.ndarray) -> list[int]:
    """The sensors with the fewest, the median and the most gaps; of those with a reading, if any has one."""
    order = np.argsort(missing_N, kind="stable")
    seen = order[missing_N[order] < 1]
    order = seen if seen.size else order
    return [int(order[i]) for i in sorted({0, len(order) // 2, len(order) - 1})]


def _readings_of(series: SensorSeries, nodes: list[int], channel: int) -> np.ndarray:
    """(K, T) float64 readings of these K sensors, NaN where missing, in one pass over the series."""
    pieces = [
        np.where(observed_RNC[:, nodes, channel], values_RNC[:, nodes, channel].astype(np.float64), np.nan)
        for _, values_RNC, observed_RNC in stretches(series)
    ]
    return np.concatenate(pieces).T


def _draw_readings(axes: Axes, series: SensorSeries, values_T: np.ndarray) -> None:
    """A line; of a long series the range within each of many bins. Missing readings and absent rows are shaded."""
    step = -(-len(values_T) // _MOST_POINTS)
    starts = np.unique([*range(0, len(values_T), step), *(start for start, _ in series.segments)])
    times_D = series.times_T[starts]
    with np.errstate(invalid="ignore"):
        low_D, high_D = np.fmin.reduceat(values_T, starts), np.fmax.reduceat(values_T, starts)
    ends_D = _ends(series, starts)
    if step == 1:
        marker = "." if len(values_T) <= 200 else ""
        for start, stop in series.segments:
            axes.plot(series.times_T[start:stop], values_T[start:stop], color=MODEL, lw=1, marker=marker)
    else:
        stairs = np.repeat(low_D, 2), np.repeat(high_D, 2)
        x = np.stack([times_D, ends_D], axis=1).ravel()
        axes.fill_between(x, *stairs, color=MODEL, lw=0.6)
    empty_D = np.isnan(low_D)
    shaded = [(times_D[i], ends_D[i]) for i in np.flatnonzero(empty_D)]
    shaded += [(_ends(series, np.array([a]))[0], series.times_T[b]) for a, b in _gaps(series)]
    for begin, end in _joined(shaded):
        axes.axvspan(date2num(begin), date2num(end), color=WORST, alpha=0.18, lw=0)
    axes.set_xlim(series.times_T[0], _ends(series, np.array([series.num_steps - 1]))[0])
    time_axis(axes)


def _gaps(series: SensorSeries) -> list[tuple[int, int]]:
    """(last row before, first row after) of the gaps in the time axis."""
    starts = [start for start, _ in series.segments if start and series.times_T[start] > series.times_T[start - 1]]
    return [(start - 1, start) for start in starts]


def _ends(series: SensorSeries, starts: np.ndarray) -> np.ndarray:
    """Ends of the bins that begin at these rows: the next one's beginning, or an interval after the last row."""
    stops = np.append(starts[1:], series.num_steps) if len(starts) > 1 else starts + 1
    last_T = series.times_T[stops - 1]
    if is_months(series.interval):
        return np.asarray((last_T.astype("datetime64[M]") + series.interval).astype("datetime64[s]"))
    return np.asarray(last_T + series.interval)


def _joined(spans: list[tuple[np.datetime64, np.datetime64]]) -> list[list[np.datetime64]]:
    """Spans that touch become one: thousands of neighbours would be drawn one by one."""
    joined: list[list[np.datetime64]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], stop)
        else:
            joined.append([start, stop])
    return joined


def _missing(series: SensorSeries, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """(first rows of the bins and the end, (D, N) shares of missing readings).

    A bin is a day, of a few days an hour, of a few hours or of months a row; more than 400 are put together.
    """
    starts = np.arange(series.num_steps)
    if not is_months(series.interval):
        for length in (86_400, 3_600):
            begun_T = series.times_T.astype("datetime64[s]").astype(np.int64) // length
            coarser = np.flatnonzero(np.diff(begun_T, prepend=begun_T[0] - 1))
            if len(coarser) >= _FEWEST_BINS:
                starts = coarser
                break
    starts = starts[:: -(-len(starts) // _MOST_BINS)]
    edges_D = np.append(starts, series.num_steps)
    observed_DN = np.zeros((len(starts), series.num_sensors))
    for start, _, observed_RNC in stretches(series):
        observed_RN = observed_RNC[:, :, channel]
        stop = start + len(observed_RN)
        inside = starts[(starts > start) & (starts < stop)] - start
        cuts = np.append(0, inside)
        bins = np.searchsorted(edges_D, cuts + start, side="right") - 1
        observed_DN[bins] += np.add.reduceat(observed_RN, cuts, axis=0, dtype=np.float64)
    return edges_D, 1 - observed_DN / np.diff(edges_D)[:, None]


def _draw_missing(axes: Axes, series: SensorSeries, edges_D: np.ndarray, missing_DN: np.ndarray) -> None:
    group = -(-missing_DN.shape[1] // _MOST_ROWS)
    share_DG = np.add.reduceat(missing_DN, np.arange(0, missing_DN.shape[1], group), axis=1)
    share_DG /= np.diff(np.append(np.arange(0, missing_DN.shape[1], group), missing_DN.shape[1]))
    rows_D = series.times_T[edges_D[:-1]]
    end = _ends(series, np.array([series.num_steps - 1]))[0]
    image = axes.pcolormesh(
        date2num([*rows_D, end]),
        np.minimum(np.arange(share_DG.shape[1] + 1) * group, missing_DN.shape[1]),
        np.where(share_DG > 0, 100 * share_DG, np.nan).T,  # nothing missing stays white
        cmap="Reds",
        vmin=0,
        vmax=100,
        rasterized=True,
    )
    axes.xaxis_date()
    usual = int(np.median(np.diff(rows_D).astype(np.int64))) if len(rows_D) > 1 else 0
    bins = {86_400: "day", 3_600: "hour"}.get(usual, "time")
    axes.set_title(f"Missing readings by sensor and {bins} ({percent(missing_DN.mean())}; white: none)")
    _name_sensors(axes.yaxis, series.ids)
    axes.set_ylabel("sensor, in the data's order" + (f" ({group} a row)" if group > 1 else ""))
    axes.invert_yaxis()
    axes.grid(visible=False)
    time_axis(axes)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("missing (%)")
    bar.outline.set_visible(False)


def _draw_graph(axes: Axes, graph: SensorGraph) -> None:
    entries = graph.adjacency.tocoo()
    apart = entries.row != entries.col
    links = np.stack([entries.row[apart], entries.col[apart]], axis=1)
    title = f"Graph: {counted(graph.num_nodes, 'sensor')}, {counted(len(links), 'link')}"
    if graph.positions_N2 is None:
        _draw_matrix(axes, graph.ids, links, entries.data[apart])
        axes.set_title(f"{title} (no positions: as a matrix)")
        return
    latitude_N, longitude_N = graph.positions_N2.T
    pairs = np.unique(np.sort(links, axis=1), axis=0)
    shown = pairs[:: -(-max(len(pairs), 1) // _MOST_LINKS)]
    lines = np.stack([longitude_N[shown], latitude_N[shown]], axis=-1)
    around = np.abs(np.diff(lines[..., 0], axis=1)[:, 0]) > 180  # across the date line
    axes.add_collection(LineCollection(list(lines[~around]), colors="#9aa4b1", linewidths=0.6, zorder=1))
    linked_N = np.zeros(graph.num_nodes, dtype=bool)
    linked_N[links.ravel()] = True
    size = float(np.clip(3000 / graph.num_nodes, 3, 60))
    for mask_N, colour, label in ((linked_N, MODEL, "linked"), (~linked_N, WORST, "without any link")):
        if mask_N.any():
            axes.scatter(
                longitude_N[mask_N], latitude_N[mask_N], s=size, color=colour, edgecolor="white", lw=0.3, label=label
            )
    if not linked_N.all():
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.set_aspect(1 / max(float(np.cos(np.radians(latitude_N.mean()))), 0.2), adjustable="datalim")
    axes.set_xlabel("longitude (°)")
    axes.set_ylabel("latitude (°)")
    axes.ticklabel_format(useOffset=False)
    axes.margins(0.05)
    axes.set_title(title + ("" if len(shown) == len(pairs) else f" ({len(shown)} of {len(pairs)} pairs drawn)"))


def _draw_matrix(axes: Axes, ids: tuple[str, ...], links_E2: np.ndarray, weights_E: np.ndarray) -> None:
    """Weights, from row to column; of a large graph the largest weight within each cell."""
    num_nodes = len(ids)
    cell = -(-num_nodes // _MOST_ROWS)
    size = -(-num_nodes // cell)
    weights: np.ndarray = np.zeros((size, size))
    np.maximum.at(weights, (links_E2[:, 0] // cell, links_E2[:, 1] // cell), weights_E)
    weights[weights == 0] = np.nan
    image = axes.imshow(
        weights, extent=(0, num_nodes, num_nodes, 0), cmap="viridis_r", vmin=0, interpolation="nearest", aspect="equal"
    )
    _name_sensors(axes.yaxis, ids)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("to sensor (in the same order)")
    axes.set_ylabel("from sensor")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=INK)
    if len(weights_E):
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("weight")
        bar.outline.set(color=FAINT)
    axes.set_anchor("W")  # a colour bar moves it to the right


def _name_sensors(axis: Axis, ids: tuple[str, ...]) -> None:
    """The ids beside the rows, if there are few; else their numbers."""
    if len(ids) > _MOST_NAMES:
        axis.set_major_locator(MaxNLocator(integer=True))
        return
    axis.set_ticks(np.arange(len(ids)) + 0.5, [short(sensor, 16) for sensor in ids], fontsize=7)
