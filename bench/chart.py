"""The chart that README shows: how many times faster than the reference each contestant of each record was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dcrnn_fast.evaluation.style import FAINT, INK, MODEL, look, new_figure, save_figure

OURS = ("cpu", "triton", "cuda")
NAMES = {
    "metr_la": "METR-LA",
    "metr_la_forecast": "METR-LA",
    "metr_la_synthetic_graph": "METR-LA's size",
    "pems_bay": "PEMS-BAY",
    "city_11160": "city",
}
"""how workloads are written, in the order of their panels; others follow by name"""


def draw(records: Sequence[Path], path: Path) -> None:
    """Draws the records into a file.

    Raises:
        SystemExit: there is no record.
    """
    if not records:
        raise SystemExit("bench.compare: no records in bench/results/compare; make one with --json")
    with look():
        save_figure(chart([json.loads(record.read_text()) for record in records]), path)


def chart(records: Sequence[dict[str, Any]]) -> Figure:
    """One panel a record, its commit at the right; one bar a contestant, its seconds beside it; machines above."""
    records = sorted(records, key=_place)
    machines = list(dict.fromkeys(map(_machine, records)))
    bars = sum(len(record["rows"]) for record in records)
    height = 0.7 * len(records) + 0.26 * bars + 0.84 + 0.16 * len(machines)
    figure = new_figure(8, height, "Times the reference's speed", "\n".join(machines))
    heights = [len(record["rows"]) + 1 for record in records]
    for axes, record in zip(
        figure.subplots(len(records), squeeze=False, height_ratios=heights).flat, records, strict=True
    ):
        _panel(axes, record)
        cpu = f"{record['machine']['cpu']}, " if len(machines) > 1 else ""
        axes.set_title(f"{cpu}commit {record['commit'][:9]}", loc="right", fontsize=8, fontweight="normal", color=FAINT)
    return figure


def _place(record: dict[str, Any]) -> tuple[int, str]:
    name = record["workload"]["name"]
    return (list(NAMES).index(name) if name in NAMES else len(NAMES)), name


def _machine(record: dict[str, Any]) -> str:
    machine = record["machine"]
    return f"{machine['cpu']} ({machine['flags'][-1]}), torch {record['versions']['torch']}"


def _panel(axes: Any, record: dict[str, Any]) -> None:
    rows = record["rows"]
    ratios = [row["ratio_to_reference"] for row in rows]
    colours = [MODEL if row["backend"] in OURS else FAINT for row in rows]
    axes.barh(range(len(rows)), ratios, color=colours, height=0.72)
    for place, (row, ratio) in enumerate(zip(rows, ratios, strict=True)):
        text = f" {ratio:.1f}×  {_seconds(row['seconds_best'])}"
        axes.text(ratio, place, text, va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(rows)), [row["contestant"].replace(":", ", ") for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(ratios))
    axes.grid(axis="y", visible=False)
    axes.set_title(title(record["workload"]))


def title(workload: dict[str, Any]) -> str:
    """The workload in words."""
    name = NAMES.get(workload["name"], workload["name"].replace("_", " "))
    what = "training step" if workload["training"] else "forecast"
    steps = f"{workload['past_steps']}+{workload['future_steps']} steps"
    return f"{name}: {what}, {workload['nodes']:,} nodes, B={workload['batch_size']}, {steps}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"
