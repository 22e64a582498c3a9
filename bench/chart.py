"""The chart that README shows: how many times faster than the reference each contestant of each record was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcrnn_fast.evaluation.style import FAINT, INK, MODEL, look, new_figure, save_figure

OURS = ("cpu", "triton", "cuda")


def draw(records: Sequence[Path], path: Path) -> None:
    """One panel a record, one bar a contestant, its seconds beside it; machine and versions above.

    Raises:
        SystemExit: there is no record.
    """
    if not records:
        raise SystemExit("bench.compare: no records in bench/results/compare; make one with --json")
    loaded = [json.loads(record.read_text()) for record in records]
    bars = sum(len(record["rows"]) for record in loaded)
    with look():
        height = 0.7 * len(loaded) + 0.26 * bars + 1.0
        figure = new_figure(8, height, "Times the reference's speed", _conditions(loaded))
        panels = figure.subplots(
            len(loaded), 1, squeeze=False, height_ratios=[len(record["rows"]) + 1 for record in loaded]
        )[:, 0]
        for axes, record in zip(panels, loaded, strict=True):
            _panel(axes, record)
        save_figure(figure, path)


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
    """What was done, in words."""
    what = "training step" if workload["training"] else "forecast"
    return (
        f"{workload['name'].replace('_', ' ')}: {what}, {workload['nodes']:,} nodes, B={workload['batch_size']}, "
        f"{workload['past_steps']}+{workload['future_steps']} steps"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def _conditions(records: list[dict[str, Any]]) -> str:
    said = []
    for record in records:
        machine, versions = record["machine"], record["versions"]
        said.append(
            f"{machine['cpu']} ({machine['flags'][-1]}), torch {versions['torch']}, commit {record['commit'][:9]}"
        )
    return "; ".join(dict.fromkeys(said))
