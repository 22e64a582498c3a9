"""The plots of a report: error by horizon, worst and best sensors, forecast against truth, map of errors.

Shape legend: F horizons, N nodes, R rows.
"""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dcrnn_fast.evaluation.baselines import LastReading
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.report import Report
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
    spread,
    time_axis,
    with_unit,
)
from dcrnn_fast.files import require_writable_folder, write_together
from dcrnn_fast.graph.messages import counted

_LISTED_SENSORS = 10
_MOST_EDGES = 20_000


def save_report(report: Report, folder: str | Path) -> list[Path]:
    """Write the files of ``report.save`` and every plot that the report has data for, one set for each channel.

    ``horizons.png``, ``worst_and_best.png``, ``forecasts.png`` and ``map.png``; with several channels the channel's
    name is added. A map needs positions; forecasts need windows that follow each other. All are whole on the disk
    before the first one takes its place; the plots of a report that was there before go.

    Raises:
        UserError: the folder or a file cannot be written, the disk is full.
    """
    folder = require_writable_folder(Path(folder), "output folder")
    earlier = _channels_of(folder / "report.json")
    plotters = {
        "horizons": plot_horizons,
        "worst_and_best": plot_worst_and_best,
        "forecasts": plot_forecasts,
        "map": plot_map,
    }
    plots = {
        _file_name(stem, report.channels, channel): drawn(figure)
        for channel in range(len(report.channels))
        for stem, plot in plotters.items()
        if (figure := plot(report, channel)) is not None
    }
    written = write_together(folder, report.files() | plots)
    stale = {_file_name(stem, earlier, channel) for channel in range(len(earlier)) for stem in plotters} - plots.keys()
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return written


def _file_name(stem: str, channels: Sequence[str], channel: int) -> str:
    return stem + ("" if len(channels) == 1 else "_" + re.sub(r"\W+", "_", channels[channel])) + ".png"


def _channels_of(path: Path) -> list[str]:
    """The channels of the report that was written there; none where there is no report."""
    try:
        return [str(channel["name"]) for channel in json.loads(path.read_bytes())["channels"]]
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return []


def plot_horizons(report: Report, channel: int = 0) -> Figure:
    """MAE, RMSE and MAPE at every horizon, the model and all baselines."""
    with look():
        figure = new_figure(11, 4.1, f"Error by horizon: {report.data}, {report.split}", _subtitle(report, channel))
        steps_F = np.arange(1, len(report.horizons) + 1)
        styles = _baseline_styles(report)
        panels: list[Axes] = list(figure.subplots(1, 3))
        figures = (
            ("mae", "MAE", report.units[channel]),
            ("rmse", "RMSE", report.units[channel]),
            ("mape", "MAPE", "%"),
        )
        for axes, (name, title, unit) in zip(panels, figures, strict=True):
            for method, sums in report.methods.items():
                values_F = getattr(sums.by_horizon("at", channel), name) * (100 if name == "mape" else 1)
                if method == report.model_name:
                    axes.plot(steps_F, values_F, color=MODEL, lw=2.6, marker="o", ms=5, label=method, zorder=5)
                else:
                    colour, marker = styles[method]
                    axes.plot(steps_F, values_F, color=colour, lw=1.3, marker=marker, ms=4, label=method)
            axes.set_title(with_unit(title, unit))
            axes.set_xlabel("horizon")
            axes.set_xticks(steps_F, spread(report.horizons, 4))
            axes.set_ylim(bottom=0)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.4)
    return figure


def _baseline_styles(report: Report) -> dict[str, tuple[str, str]]:
    """Colour and marker of each baseline, the same in every report: the raw last value is not always there."""
    raw, *others = zip(BASELINES, BASELINE_MARKERS, strict=True)
    names = [name for name in report.methods if name not in (report.model_name, LastReading.name)]
    return {LastReading.name: raw} | dict(zip(names, itertools.cycle(others)))


def plot_worst_and_best(report: Report, channel: int = 0) -> Figure | None:
    """MAE over all horizons of the worst and the best sensors, the model beside the last value."""
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    order = _by_error(mae_N)
    if not order.size:
        return None
    shown = min(_LISTED_SENSORS, -(-len(order) // 2))
    groups = [("worst", order[-shown:], WORST)]
    if len(order) > 1:
        groups.append(("best", order[:shown][::-1], MODEL))
    others = {name: sums.by_sensor(channel=channel).mae for name, sums in report.methods.items()}
    baseline = next(name for name in others if name != report.model_name) if len(others) > 1 else None
    widest = max(float(np.nanmax(mae_N[order])), 0.0 if baseline is None else float(np.nanmax(others[baseline])))
    with look():
        figure = new_figure(
            10, 2.2 + 0.27 * shown, f"Worst and best sensors: {report.data}, {report.split}", _subtitle(report, channel)
        )
        panels = np.atleast_1d(figure.subplots(1, len(groups), sharex=True))
        for axes, (title, nodes, colour) in zip(panels, groups, strict=True):
            rows = np.arange(len(nodes))
            axes.barh(rows, mae_N[nodes], color=colour, height=0.62)
            if baseline is not None:
                axes.plot(others[baseline][nodes], rows, "|", color=INK, ms=13, mew=2, label=baseline)
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
            axes.set_yticks(rows, [_short(report.ids[node]) for node in nodes])
            axes.set_title(f"{len(nodes)} {title} of {len(order)}")
            axes.set_xlabel(with_unit(f"MAE of {report.model_name} over all horizons", report.units[channel]))
            axes.grid(axis="y", visible=False)
        if baseline is not None:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, [f"MAE of {label}" for label in labels], loc="outside lower center")
    return figure


def plot_forecasts(report: Report, channel: int = 0) -> Figure | None:
    """Truth and forecasts over a stretch of the split, for the best, the median and the worst sensor."""
    trace = report.trace
    mae_N = report.methods[report.model_name].by_sensor(channel=channel).mae
    order = _by_error(mae_N)
    if trace is None or not order.size:
        return None
    picks = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    if len(order) < 3:
        picks = {"worst": order[-1]}
    with look():
        figure = new_figure(
            11,
            1.5 + 2.1 * len(picks),
            f"Forecast against truth: {report.data}, {report.split}",
            _subtitle(report, channel),
        )
        panels = np.atleast_1d(figure.subplots(len(picks), 1, sharex=True))
        for axes, (rank, node) in zip(panels, picks.items(), strict=True):
            axes.plot(trace.times_R, trace.truth_RNO[:, node, channel], color=INK, lw=1.1, label="observed")
            colours = (NEAR, MODEL)[-len(trace.forecasts) :]
            for colour, (step, (times_V, values_VNO)) in zip(colours, trace.forecasts.items(), strict=True):
                label = f"{report.model_name}, {report.horizons[step - 1]} ahead"
                axes.plot(times_V, values_VNO[:, node, channel], color=colour, lw=1.5, alpha=0.9, label=label)
            axes.set_title(f"{report.ids[node]}: {rank} sensor, MAE {mae_N[node]:#.3g} over all horizons")
            axes.set_ylabel(with_unit(channel_label(report.channels[channel]), report.units[channel]))
            axes.margins(x=0.01)
            time_axis(axes)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def plot_map(report: Report, channel: int = 0) -> Figure | None:
    """Where the errors are: sensors on the map, coloured by MAE over all horizons, over the graph's edges."""
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
            8.4, height, f"Where the errors are: {report.data}, {report.split}", _subtitle(report, channel)
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


def _subtitle(report: Report, channel: int) -> str:
    first, last = (np.datetime_as_string(time, unit="m").replace("T", " ") for time in report.times)
    name = with_unit(channel_label(report.channels[channel]), report.units[channel])
    counts = f"{counted(len(report.ids), 'sensor')}, {counted(report.num_windows, 'window')}"
    return f"{name}, {counts}, {first} to {last}"


def _short(text: str, longest: int = 24) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
