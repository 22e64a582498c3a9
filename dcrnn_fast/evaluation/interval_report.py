"""What a report says of prediction intervals: a block of its table, columns of its CSV, a part of its JSON.

Shape legend: L levels, F future steps (horizons), N nodes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from dcrnn_fast.evaluation.interval_scores import IntervalScores, IntervalSums
from dcrnn_fast.evaluation.intervals import level_label
from dcrnn_fast.evaluation.metrics import Kind
from dcrnn_fast.messages import counted

FIGURES = ("coverage", "width", "score")
_HEADING = "interval at the horizon"


def interval_block(
    sums: IntervalSums,
    channel: int,
    steps: Sequence[int],
    labels: Sequence[str],
    show: Callable[[float], str],
    width: int,
) -> list[str]:
    """Lines with coverage, mean width and interval score of each level at these steps.

    Args:
        steps: 1-based; labels: their horizons.
        show, width: how an error of this channel is written, and how wide it is at least.
    """
    rows = []
    for index, level in enumerate(sums.intervals.levels):
        scores = sums.by_horizon(index, "at", channel)
        cells = [_row_of(scores, step - 1, show) for step in steps]
        rows.append((f"{level_label(level)} %", cells))
    widths = [
        max(least, len(name), *(len(cell[k]) for _, cells in rows for cell in cells))
        for k, (least, name) in enumerate(zip((8, width, width), FIGURES, strict=True))
    ]
    left = max(len(_HEADING), *(len(level) for level, _ in rows))
    group = sum(widths) + len(widths) - 1
    lines = [
        _HEADING.ljust(left) + "".join(f"   {label:^{group}}" for label in labels),
        " " * left + ("   " + _joined(FIGURES, widths)) * len(labels),
    ]
    lines += [level.ljust(left) + "".join("   " + _joined(cell, widths) for cell in cells) for level, cells in rows]
    windows = counted(sums.intervals.windows, "validation window")
    lines.append(f"intervals are from {windows}; coverage, width and score are of the windows of this report")
    return [line.rstrip() for line in lines]


def interval_columns(sums: IntervalSums | None) -> list[str]:
    """coverage_90, width_90, score_90 for each level; none without intervals."""
    return (
        [] if sums is None else [f"{name}_{level_label(level)}" for level in sums.intervals.levels for name in FIGURES]
    )


def interval_cells(sums: IntervalSums, channel: int, kind: Kind | None) -> list[list[str]]:
    """The cells of ``interval_columns`` for each horizon; with ``kind`` None for each sensor, over all horizons."""
    found = [
        sums.by_sensor(index, channel) if kind is None else sums.by_horizon(index, kind, channel)
        for index in range(len(sums.intervals.levels))
    ]
    columns = [getattr(scores, name).tolist() for scores in found for name in FIGURES]
    return [["" if math.isnan(value) else repr(value) for value in row] for row in zip(*columns, strict=True)]


def plain_intervals(sums: IntervalSums, channel: int) -> list[dict[str, Any]]:
    """One entry for each level, as plain values: its figures at each horizon and over 1..h; NaN becomes None."""
    return [
        {
            "level": level,
            "at_horizon": _plain(sums.by_horizon(index, "at", channel)),
            "cumulative": _plain(sums.by_horizon(index, "cumulative", channel)),
        }
        for index, level in enumerate(sums.intervals.levels)
    ]


def _plain(scores: IntervalScores) -> dict[str, list[float | None]]:
    return {
        name: [value if math.isfinite(value) else None for value in getattr(scores, name).tolist()]
        for name in (*FIGURES, "count")
    }


def _row_of(scores: IntervalScores, at: int, show: Callable[[float], str]) -> tuple[str, ...]:
    coverage = float(scores.coverage[at])
    return "-" if math.isnan(coverage) else f"{100 * coverage:.1f} %", show(scores.width[at]), show(scores.score[at])


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
