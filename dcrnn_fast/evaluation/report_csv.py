"""A report as CSV: errors and intervals by horizon, and by sensor.

Shape legend: F future steps (horizons), N nodes, O target channels.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcrnn_fast.evaluation.interval_report import interval_cells, interval_columns
from dcrnn_fast.evaluation.metrics import KINDS, Kind, Scores

if TYPE_CHECKING:
    from dcrnn_fast.evaluation.report import Report

FIGURES = ("mae", "rmse", "mape", "count", "wape")  # the newest last: others count the columns


def horizons_csv(report: "Report") -> bytes:
    """One row for each method, channel, kind (at, cumulative) and horizon; last the steps beyond those of training,
    whose cumulative figures begin with the first of them.
    """
    rows = _horizon_rows(report)
    if report.beyond is not None:
        spare = [""] * len(interval_columns(report.intervals))
        rows += [[*row, *spare] for row in _horizon_rows(report.beyond)]
    columns = ["method", "channel", "unit", "kind", "step", "horizon", *FIGURES]
    return _csv([*columns, *interval_columns(report.intervals)], rows)


def _horizon_rows(report: "Report") -> list[list[object]]:
    return [
        [method, name, report.units[channel], kind, step + report.first_step, label, *_cells(scores, step), *held[step]]
        for method, sums in report.methods.items()
        for channel, name in enumerate(report.channels)
        for kind in KINDS
        for scores in [sums.by_horizon(kind, channel)]
        for held in [_interval_cells(report, method, len(report.horizons), channel, kind)]
        for step, label in enumerate(report.horizons)
    ]


def sensors_csv(report: "Report") -> bytes:
    """One row for each method, channel and sensor: scores over all horizons, and where the sensor is, if that is
    known.
    """
    places = (
        [[]] * len(report.ids) if report.positions_N2 is None else [list(map(_cell, p)) for p in report.positions_N2]
    )
    rows = [
        [method, name, report.units[channel], sensor, *_cells(scores, node), *held[node], *places[node]]
        for method, sums in report.methods.items()
        for channel, name in enumerate(report.channels)
        for scores in [sums.by_sensor(channel=channel)]
        for held in [_interval_cells(report, method, len(report.ids), channel)]
        for node, sensor in enumerate(report.ids)
    ]
    columns = ["method", "channel", "unit", "id", *FIGURES, *interval_columns(report.intervals)]
    return _csv([*columns, *([] if report.positions_N2 is None else ["latitude", "longitude"])], rows)


def _interval_cells(
    report: "Report", method: str, rows: int, channel: int, kind: Kind | None = None
) -> list[list[str]]:
    if report.intervals is None or method != report.model_name:
        return [[""] * len(interval_columns(report.intervals))] * rows
    return interval_cells(report.intervals, channel, kind)


def _cells(scores: Scores, index: int) -> list[str]:
    return [_cell(getattr(scores, name)[index]) for name in FIGURES]


def _cell(figure: np.float64 | np.int64) -> str:
    return "" if np.isnan(figure) else repr(figure.item())


def _csv(header: list[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
