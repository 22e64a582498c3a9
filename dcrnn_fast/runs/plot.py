"""The picture of compared runs: validation error over epochs and over time, and the final errors."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dcrnn_fast.evaluation.style import BASELINES, INK, MODEL, look, new_figure, short
from dcrnn_fast.messages import counted, some
from dcrnn_fast.records.events import EpochRow
from dcrnn_fast.runs.record import RunRecord
from dcrnn_fast.runs.table import Group

_DISTINCT = (MODEL, *BASELINES)
_MOST_BARS = 30
_MOST_GROUPS = 8


def plot_runs(groups: Sequence[Group]) -> Figure:
    """A row of three panels for each group; lines and bars of a run have one colour, the best one's line is thick."""
    drawn = groups[:_MOST_GROUPS]
    named = max(min(max(len(group.runs) for group in drawn), _MOST_BARS), 4)
    height = 3.0 + 0.16 * named
    title = "Runs side by side" if len(drawn) > 1 else f"Runs side by side: {short(drawn[0].title, 90)}"
    what = counted(sum(len(group.runs) for group in drawn), "run")
    if len(drawn) < len(groups):
        what += f" of the first {len(drawn)} of {len(groups)} groups"
    with look():
        subtitle = f"{what}; the bars name the colours, the thick line is the best run"
        figure = new_figure(13, 0.8 + height * len(drawn), title, subtitle)
        panels: Any = figure.subplots(len(drawn), 3, squeeze=False, width_ratios=(1, 1, 1.1))
        for group, (by_epoch, by_time, final) in zip(drawn, panels, strict=True):
            above = "" if len(drawn) == 1 else f"{short(group.title, 44)}\n"
            _draw(group, by_epoch, by_time, final, above)
    return figure


def _draw(group: Group, by_epoch: Axes, by_time: Axes, final: Axes, above: str) -> None:
    several = any(len(row.targets) > 1 for run in group.runs for row in run.rows)
    what = "validation error" if several else "validation MAE"
    longest = max((run.seconds or 0.0 for run in group.runs), default=0.0)
    unit, size = ("hours", 3600.0) if longest > 7200 else ("minutes", 60.0) if longest > 120 else ("seconds", 1.0)
    ranked = sorted(group.runs, key=lambda run: math.inf if run.best is None else run.best.error)
    for order, run in reversed(list(enumerate(ranked))):
        errors = [_error(row, several) for row in run.rows]
        width, above_others = (2.4, 3) if order == 0 else (1.2, 2)
        style: Any = {"color": _colour(group, run), "lw": width, "zorder": above_others}
        style["marker"] = "o" if len(errors) < 30 else None
        by_epoch.plot([row.epoch for row in run.rows], errors, ms=3, **style)
        spent = accumulate(row.train_seconds + row.validation_seconds for row in run.rows)
        by_time.plot([seconds / size for seconds in spent], errors, ms=3, **style)
    by_epoch.set(title=f"{above}{what} by epoch", xlabel="epoch", ylabel=what)
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_time.set(title=f"{what} by time", xlabel=f"{unit} of training and validation")
    for axes in (by_epoch, by_time):
        if not any(run.rows for run in group.runs):
            axes.text(0.5, 0.5, "no epoch is done yet", ha="center", transform=axes.transAxes)
    _bars(group, final, several)


def _bars(group: Group, axes: Axes, several: bool) -> None:
    """The test error at the last horizon; without reports the best validation error."""
    report = next((run.report for run in group.runs if run.report is not None), None)
    if report is not None and not several:
        what = f"test MAE at {report.horizons[-1]}"
        if unit := report.channels[0].unit:
            what += f" ({short(unit)})"
        values = [math.nan if run.report is None else _last(run) for run in group.runs]
    else:
        what = "best validation error" if several else "best validation MAE"
        values = [math.nan if run.best is None else _error(run.best, several) for run in group.runs]
    shown = [(run, value) for run, value in zip(group.runs, values, strict=True)][:_MOST_BARS]
    rows = np.arange(len(shown))
    lengths = [0.0 if math.isnan(value) else value for _, value in shown]
    axes.barh(rows, lengths, color=[_colour(group, run) for run, _ in shown], height=0.66)
    for row, (run, value) in enumerate(shown):
        words = f"{value:#.4g}" if math.isfinite(value) else f"none: {run.state}"
        axes.annotate(words, (lengths[row], row), (4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_yticks(rows, [_end(run.name) for run, _ in shown])
    axes.set_ylim(max(len(shown), 4) - 0.5, -0.5)
    axes.set_xlim(right=1.18 * max([*lengths, 1e-12]))
    rest = len(group.runs) - len(shown)
    axes.set(title=what + (f", the first {len(shown)} of {len(group.runs)}" if rest else ""))
    axes.grid(axis="y", visible=False)
    if group.differing:
        axes.set_xlabel(f"the runs differ in {short(some([key.split('.')[1] for key in group.differing], 3), 60)}")


def _end(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else "…" + name[1 - longest :]


def _last(run: RunRecord) -> float:
    assert run.report is not None
    channel = run.report.channels[0]
    return channel.methods[next(iter(channel.methods))]["mae"][-1]


def _error(row: EpochRow, several: bool) -> float:
    return row.error if several else row.validation_mae


def _colour(group: Group, run: RunRecord) -> Any:
    """The same in all panels: few runs have distinct colours, many a scale in their order."""
    order, runs = group.runs.index(run), len(group.runs)
    return _DISTINCT[order] if runs <= len(_DISTINCT) else colormaps["viridis"](0.9 * order / (runs - 1))
