"""The plot of a report's prediction intervals: coverage, width and score by horizon.

Shape legend: F horizons.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcrnn_fast.evaluation.intervals import level_label
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.style import BASELINE_MARKERS, BASELINES, MODEL, look, new_figure, spread, with_unit
from dcrnn_fast.evaluation.subtitle import subtitle

_COLOURS = (MODEL, *BASELINES[1:])


def plot_intervals(report: Report, channel: int = 0) -> Figure | None:
    """Coverage beside the levels, mean width and interval score, by horizon; None without intervals."""
    sums = report.intervals
    if sums is None:
        return None
    steps_F = np.arange(1, len(report.horizons) + 1)
    with look():
        title = f"Prediction intervals by horizon: {report.data}, {report.split}"
        figure = new_figure(10.5, 3.9, title, subtitle(report, channel))
        panels: list[Axes] = list(figure.subplots(1, 3))
        titles = (
            ("coverage", "coverage (%), beside the level"),
            ("width", with_unit("mean width", report.units[channel])),
            ("score", with_unit("interval score", report.units[channel])),
        )
        for axes, (name, text) in zip(panels, titles, strict=True):
            for index, level in enumerate(sums.intervals.levels):
                values_F = getattr(sums.by_horizon(index, "at", channel), name) * (100 if name == "coverage" else 1)
                colour = _COLOURS[index % len(_COLOURS)]
                marker = BASELINE_MARKERS[index % len(BASELINE_MARKERS)]
                label = f"{level_label(level)} % interval"
                axes.plot(steps_F, values_F, color=colour, lw=1.8, marker=marker, ms=4, label=label)
                if name == "coverage":
                    axes.axhline(100 * level, color=colour, lw=1.2, ls=(0, (4, 3)), zorder=1)
            axes.set_title(text)
            axes.set_xlabel("horizon")
            axes.set_xticks(steps_F, spread(report.horizons, 4))
            axes.set_ylim(bottom=0)
        panels[0].set_ylim(0, 105)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure
