"""Where a run's errors are: a map of its sensors, from sensors.csv."""

import csv
import math
from pathlib import Path

from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.evaluation.report_files import TEXTS
from dcrnn_fast.evaluation.report_json import ReportFigures

_TABLE = TEXTS[-1]
_MOST = 20_000
"""sensors that are read"""


def map_section(folder: Path, report: ReportFigures | None) -> Markup | None:
    """A map for each target; None if no position is known."""
    if report is None:
        return None
    maps = []
    for channel in report.channels:
        model = next(iter(channel.methods))
        found = _sensors(folder / _TABLE, model, channel.name)
        if any(math.isfinite(latitude) for _, _, latitude, _ in found):
            maps.append(_map(f"{channel.name}: MAE of {model} over all horizons", found, channel.unit))
    return tag("section", tag("h2", "Where the errors are"), maps) if maps else None


def _sensors(path: Path, method: str, channel: str) -> list[tuple[str, float, float, float]]:
    """(id, MAE, latitude, longitude) of one method and channel; none of a report of an older version or of a file that
    is not one.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [
                (row["id"], _number(row["mae"]), _number(row["latitude"]), _number(row["longitude"]))
                for row, _ in zip(csv.DictReader(stream), range(_MOST), strict=False)
                if row.get("method") == method and row.get("channel") == channel
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return rows


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


def _map(title: str, sensors: list[tuple[str, float, float, float]], unit: str) -> Markup:
    # Imported here: a run without positions needs no numpy.
    import numpy as np

    from dcrnn_fast.drawing.map_svg import sensor_map

    ids, maes, latitudes, longitudes = zip(*sensors, strict=True)
    positions_N2 = np.array([latitudes, longitudes]).T
    return sensor_map(title, positions_N2, ids, values_N=np.array(maes), words=unit)
