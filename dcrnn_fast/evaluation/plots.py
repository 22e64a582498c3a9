"""The plots of a report: error by horizon, worst and best sensors, forecast against truth, map of errors.

Shape legend: F horizons, N nodes, R rows.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dcrnn_fast.evaluation.bands import draw_widest
from dcrnn_fast.evaluation.baselines import LastReading, LastValue
from dcrnn_fast.evaluation.interval_plots import plot_intervals
from dcrnn_fast.evaluation.labels import channel_label, zone_label
from dcrnn_fast.evaluation.plot_format import lost_picture
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.report_files import PICTURES, REPORT, picture_names
from dcrnn_fast.evaluation.report_series import shown_sensors
from dcrnn_fast.evaluation.style import (
    BASELINE_MARKERS,
    BASELINES,
    FAINT,
    INK,
    MODEL,
    NEAR,
    WORST,
    drawn,
    look,
    new_figure,
    short,
    spread,
    time_axis,
    with_unit,
)
from dcrnn_fast.evaluation.subtitle import subtitle
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, open_regular, write_together

_LISTED_SENSORS = 10
_MOST_EDGES = 20_000


def save_report(report: Report, folder: str | Path, say: Callable[[str], object] | None = None) -> list[Path]:
    """Write the files of ``report.save``, then every plot that the report has data for, one set for each channel.

    ``horizons.png``, ``worst_and_best.png``, ``forecasts.png``, ``map.png`` and ``intervals.png``; with several
    channels the channel's name is added. A map needs positions; forecasts need windows that follow each other;
    intervals need a model that has some. The pictures of an earlier report are removed.

    Args:
        say: takes a line for each picture that could not be drawn or written; left out: it goes to stderr.
    Returns:
        The files that were written.
    Raises:
        UserError: the folder or a file of ``report.save`` cannot be written, or the disk is full; the report that was
            there is complete then.
    """
    folder = Path(folder)
    earlier = _channels_of(folder / "report.json")
    draw = (plot_horizons, plot_worst_and_best, plot_forecasts, plot_map, plot_intervals)
    plots = dict(zip(PICTURES, draw, strict=True))
    with folder_for_new_files(folder, "output folder"):
        clear_leftovers(folder, REPORT)
        written = write_together(folder, report.files())
    stale = {name for stem in PICTURES for name in picture_names(stem, earlier)}
    for stem, plot in plots.items():
        for channel, name in enumerate(picture_names(stem, report.channels)):
            stale.add(name)
            try:
                if (figure := plot(report, channel)) is not None:
                    written += write_together(folder, {name: drawn(figure)})
                    stale.remove(name)
            except Exception as error:  # what was measured stands
                line = f"look: {lost_picture(folder / name, error)}"
                print(line, file=sys.stderr) if say is None else say(line)
    for name in stale:
        if not (folder / name).is_dir():  # which is no picture of ours
            (folder / name).unlink(missing_ok=True)
    return written


def _channels_of(path: Path) -> list[str]:
    """The channels of the report in that folder; none if there is no report."""
    try:
        with open_regular(path) as stream:
            return [str(channel["name"]) for channel in json.loads(stream.read())["channels"]]
    except (OSError, KeyError, RecursionError, TypeError, ValueError):
        return []


def plot_horizons(report: Report, channel: int = 0) -> Figure:
    """MAE, RMSE, MAPE and WAPE at every horizon, the model and all baselines, the strongest of them thicker."""
    with look():
        figure = new_figure(14, 4.1, f"Error by horizon: {report.data}, {report.split}", subtitle(report, channel))
        steps_F = np.arange(1, len(report.horizons) + 1)
        styles = _baseline_styles(report)
        panels: list[Axes] = list(figure.subplots(1, 4))
        figures = (
            ("mae", "MAE", report.units[channel]),
            ("rmse", "RMSE", report.units[channel]),
            ("mape", "MAPE", "%"),
            ("wape", "WAPE", "%"),
        )
        for axes, (name, title, unit) in zip(panels, figures, strict=True):
            for method, sums in report.methods.items():
                values_F = getattr(sums.by_horizon("at", channel), name) * (100 if name in ("mape", "wape") else 1)
                if method == report.model_name:
                    axes.plot(steps_F, values_F, color=MODEL, lw=2.6, marker="o", ms=5, label=method, zorder=5)
                else:
                    colour, marker = styles[method]
                    width = 2.2 if method == report.strongest else 1.2
                    axes.plot(steps_F, values_F, color=colour, lw=width, marker=marker, ms=4, label=method)
            axes.set_title(with_unit(title, unit))
            axes.set_xlabel("horizon")
            axes.set_xticks(steps_F, spread(report.horizons, 4))
            axes.set_ylim(bottom=0)
        handles, labels = panels[0].get_legend_handles_labels()
        labels = [_marked(report, label) for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.4)
    return figure


def _marked(report: Report, method: str) -> str:
    return f"{method} (strongest baseline)" if method == report.strongest else method


def _baseline_styles(report: Report) -> dict[str, tuple[str, str]]:
    """Colour and marker of each baseline, the same in every report."""
    styles = list(zip(BASELINES, BASELINE_MARKERS, strict=True))
    return {name: styles[_style_of(name)] for name in report.methods if name != report.model_name}


def _style_of(name: str) -> int:
    if name in (LastReading.name, LastValue.name):
        return int(name == LastValue.name)
    return 2 if name.endswith(" mean") else 3 if name.startswith("VAR") else 4


def plot_worst_and_best(report: Report, channel: int = 0) -> Figure | None:
    """MAE over all horizons of the worst and the best sensors, the model beside last value and strongest baseline."""
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    order = _by_error(mae_N)
    if not order.size:
        return None
    shown = min(_LISTED_SENSORS, -(-len(order) // 2))
    groups = [("worst", order[-shown:], WORST)]
    if len(order) > 1:
        groups.append(("best", order[:shown][::-1], MODEL))
    others = {name: sums.by_sensor(channel=channel).mae for name, sums in report.methods.items()}
    baselines = [name for name in (LastValue.name, report.strongest) if name in others]
    styles = _baseline_styles(report)
    widest = max(float(np.nanmax(mae_N[order])), *(float(np.nanmax(others[name])) for name in baselines), 0.0)
    with look():
        figure = new_figure(
            10,
            2.2 + 0.27 * shown,
            f"Worst and best sensors: {report.data}, {report.split}",
            subtitle(report, channel),
        )
        panels = np.atleast_1d(figure.subplots(1, len(groups), sharex=True))
        for axes, (title, nodes, colour) in zip(panels, groups, strict=True):
            rows = np.arange(len(nodes))
            axes.barh(rows, mae_N[nodes], color=colour, height=0.62)
            for name in dict.fromkeys(baselines):
                colour, marker = (INK, "|") if name == LastValue.name else styles[name]
                size = {"ms": 13, "mew": 2} if marker == "|" else {"ms": 7, "mec": "white"}
                axes.plot(others[name][nodes], rows, marker, color=colour, label=name, **size)
            for row, node in zip(rows, nodes, strict=True):
                inside = mae_N[node] > 0.15 * widest
                axes.annotate(
                    f"{mae_N[node]:#.3g}",
                    (0 if inside else mae_N[node], row),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    color="white" if inside else INK,
                )
            axes.set_yticks(rows, [short(report.ids[node], 24) for node in nodes])
            axes.set_title(f"{len(nodes)} {title} of {len(order)}")
            axes.set_xlabel(with_unit(f"MAE of {report.model_name} over all horizons", report.units[channel]))
            axes.grid(axis="y", visible=False)
        if baselines:
            handles, labels = panels[0].get_legend_handles_labels()
            labels = [f"MAE of {_marked(report, name)}" for name in labels]
            figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def plot_forecasts(report: Report, channel: int = 0) -> Figure | None:
    """Truth and forecasts over a stretch of the split, for the best, the median and the worst sensor."""
    trace = report.trace
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    picks = shown_sensors(mae_N)
    if trace is None or not picks:
        return None
    with look():
        figure = new_figure(
            11,
            1.5 + 2.1 * len(picks),
            f"Forecast against truth: {report.data}, {report.split}",
            subtitle(report, channel),
        )
        panels = np.atleast_1d(figure.subplots(len(picks), 1, sharex=True))
        for axes, (rank, node) in zip(panels, picks.items(), strict=True):
            axes.plot(trace.times_R, trace.truth_RNO[:, node, channel], color=INK, lw=1.1, label="observed")
            if trace.baseline is not None:
                name, values_VNO = trace.baseline
                times_V = trace.forecasts[max(trace.forecasts)][0]
                label = f"{name}, {report.horizons[-1]} ahead"
                colour = _baseline_styles(report)[name][0]
                axes.plot(times_V, values_VNO[:, node, channel], color=colour, lw=1.3, ls=(0, (4, 2)), label=label)
            if report.intervals is not None:
                draw_widest(axes, report.intervals, trace.forecasts, node, channel)
            colours = (NEAR, MODEL)[-len(trace.forecasts) :]
            for colour, (step, (times_V, values_VNO)) in zip(colours, trace.forecasts.items(), strict=True):
                label = f"{report.model_name}, {report.horizons[step - 1]} ahead"
                axes.plot(times_V, values_VNO[:, node, channel], color=colour, lw=1.5, alpha=0.9, label=label)
            axes.set_title(f"{short(report.ids[node])}: {rank} sensor, MAE {mae_N[node]:#.3g} over all horizons")
            axes.set_ylabel(with_unit(channel_label(report.channels[channel]), report.units[channel]))
            axes.margins(x=0.01)
            time_axis(axes)
        panels[-1].set_xlabel(zone_label(report.in_utc))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def plot_map(report: Report, channel: int = 0) -> Figure | None:
    """A map of the errors: sensors coloured by MAE over all horizons, over the graph's edges."""
    if report.positions_N2 is None:
        return None
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    order = _by_error(mae_N)
    if not order.size:
        return None
    latitude_N, longitude_N = report.positions_N2.T
    size = float(np.clip(4000 / len(mae_N), 6, 110))
    with look():
        height = float(np.clip(6.4 * _height_of_map(report.positions_N2) + 1.5, 4, 10))
        figure = new_figure(
            8.4, height, f"Where the errors are: {report.data}, {report.split}", subtitle(report, channel)
        )
        axes = figure.subplots()
        edges_E2 = report.edges_E2
        if edges_E2 is not None and len(edges_E2) <= _MOST_EDGES:
            lines = np.stack([longitude_N[edges_E2], latitude_N[edges_E2]], axis=-1)
            axes.add_collection(LineCollection(list(lines), colors="#c9ced6", linewidths=0.6, zorder=1))
        low, high = np.percentile(mae_N[order], [2, 98])
        unseen = np.isnan(mae_N)
        axes.scatter(longitude_N[unseen], latitude_N[unseen], s=size / 2, color="white", edgecolor=FAINT, zorder=2)
        # The worst are drawn last, so that no better neighbour hides them.
        dots = axes.scatter(
            longitude_N[order],
            latitude_N[order],
            c=mae_N[order],
            s=size,
            cmap="viridis_r",
            vmin=low,
            vmax=high,
            edgecolor="white",
            linewidth=0.4,
            zorder=3,
        )
        bar = figure.colorbar(dots, ax=axes, shrink=0.75, extend="both", pad=0.02)
        bar.set_label(with_unit("MAE over all horizons", report.units[channel]))
        bar.outline.set_visible(False)
        axes.set_aspect(1 / _shrinkage(latitude_N))
        axes.set_xlabel("longitude (°)")
        axes.set_ylabel("latitude (°)")
        axes.ticklabel_format(useOffset=False)
        axes.margins(0.05)
    return figure


def _shrinkage(latitude_N: NDArray[np.float64]) -> float:
    """Length of a degree of longitude over one of latitude, bounded near the poles."""
    return max(float(np.cos(np.radians(latitude_N.mean()))), 0.2)


def _height_of_map(positions_N2: NDArray[np.float64]) -> float:
    """Height over width of the sensors' surroundings."""
    north_south, east_west = np.ptp(positions_N2, axis=0)
    return float(north_south / max(east_west * _shrinkage(positions_N2[:, 0]), 1e-9))


def _by_error(mae_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sensors with a finite error, the best first."""
    order = np.argsort(mae_N)
    return order[np.isfinite(mae_N[order])]
