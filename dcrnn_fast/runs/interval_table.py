"""The table of prediction intervals on a run's page."""

import math

from dcrnn_fast.evaluation.report_json import INTERVAL_FIGURES, ChannelFigures, ReportFigures
from dcrnn_fast.runs.html import Markup, tag


def interval_table(channel: ChannelFigures, report: ReportFigures) -> Markup | None:
    """Coverage, mean width and interval score of each level at a quarter, half and all of the horizons; None: the model
    has no intervals.
    """
    if not channel.intervals:
        return None
    places = report.chosen()
    head = [tag("th", "interval", scope="col")]
    for place in places:
        head += [tag("th", f"{name} {report.horizons[place]}", class_="n", scope="col") for name in INTERVAL_FIGURES]
    rows = []
    for level, figures in channel.intervals.items():
        cells = [
            tag("td", _shown(name, figures[name][place]), class_="n") for place in places for name in INTERVAL_FIGURES
        ]
        rows.append(tag("tr", tag("td", f"{100 * level:g} %"), cells))
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", rows)), class_="scroll")


def _shown(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f} %" if name == "coverage" else f"{value:.4g}"
