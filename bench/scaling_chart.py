"""The plot of ``bench.scaling``: speed-up over one rank, and what a rank sends in a step."""

from pathlib import Path
from typing import Any

from bench.scaling_table import best_of
from dcrnn_fast.evaluation.style import FAINT, look, new_figure, save_figure

_KINDS = {
    "data-parallel": lambda layout: layout["partners"] == 1,
    "node-parallel": lambda layout: layout["replicas"] == 1,
    "both": lambda layout: layout["replicas"] > 1 and layout["partners"] > 1,
}


def draw(record: dict[str, Any], path: Path) -> Path:
    """Draws it into a file whose ending says the format."""
    rows = [row for row in record["rows"] if row["turns"]]
    threads = rows[0]["layout"]["threads"]
    alone = [row for row in rows if _ranks(row) == 1 and row["layout"]["threads"] != threads]
    ranks = sorted({_ranks(row) for row in rows})
    work = record["workload"]
    with look():
        title = f"Training on {ranks[-1]} ranks: {work['nodes']:,} nodes, global batch {work['batch_size']}"
        figure = new_figure(9, 3.6, title, f"{record['machine']['cpu']}, commit {record['commit'][:9]}")
        speed, sent = figure.subplots(1, 2)
        speed.plot(ranks, ranks, color=FAINT, linestyle="--", label="as many times as ranks")
        for kind, is_kind in _KINDS.items():
            of_kind = [row for row in rows if is_kind(row["layout"]) and row not in alone]
            if len(of_kind) > (kind != "both"):
                speed.plot(
                    [_ranks(row) for row in of_kind],
                    [best_of(rows[0]) / best_of(row) for row in of_kind],
                    marker="o",
                    label=kind,
                )
        for row in alone:
            times, count = best_of(rows[0]) / best_of(row), row["layout"]["threads"]
            speed.plot([count / threads], [times], marker="s", linestyle="", label=row["name"])
        speed.set_title("times as fast as one rank")
        speed.set_xlabel("ranks")
        speed.set_xticks(ranks)
        speed.legend(fontsize=8)
        several = [row for row in rows if _ranks(row) > 1]
        places = range(len(several))
        for shift, (name, label) in enumerate((("gradient_bytes", "gradient"), ("halo_bytes", "rows of partners"))):
            megabytes = [max(row["turns"][-1][name]) / 1e6 for row in several]
            sent.bar([place + 0.4 * shift for place in places], megabytes, width=0.4, label=label)
        sent.set_xticks([place + 0.2 for place in places], [row["name"].replace(" ", "\n", 1) for row in several])
        sent.set_title("MB that a rank gives to the network in a step")
        sent.legend(fontsize=8)
        return save_figure(figure, path)


def _ranks(row: dict[str, Any]) -> int:
    return int(row["layout"]["replicas"] * row["layout"]["partners"])
