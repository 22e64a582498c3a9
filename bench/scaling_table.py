"""A record of ``bench.scaling`` for a reader: its table, and which layout to use."""

import statistics
from collections.abc import Sequence
from typing import Any


def table(record: dict[str, Any]) -> str:
    """The record for a reader."""
    work = record["workload"]
    lines = [
        f"{work['name']}: {work['nodes']} nodes, {work['past_steps']}+{work['past_steps']} steps, global batch "
        f"{work['batch_size']}, {work['precision']}, save {work['save']}; {record['rounds']} turns of "
        f"{record['steps_a_turn']} steps",
        "",
        f"{'ranks':<30}{'best s':>9}{'median s':>10}{'speed-up':>10}{'all-reduce':>12}{'halo wait':>11}"
        f"{'gradient MB':>13}{'halo MB':>9}",
    ]
    first = next(row for row in record["rows"] if row["turns"])
    for row in record["rows"]:
        if not row["turns"]:
            lines.append(f"{row['name']:<30} cannot run: {row.get('why_not', 'no turn')}")
            continue
        other = "" if row["backend"] == first["backend"] else f" ({row['backend']})"
        of_turn = [slowest(turn) for turn in row["turns"]]
        best = min(turn["seconds"] for turn in of_turn)
        median = statistics.median(turn["seconds"] for turn in of_turn)
        reduce, halo = (
            statistics.median(turn[name] / turn["seconds"] for turn in of_turn)
            for name in ("all_reduce_seconds", "halo_seconds")
        )
        gradient, sent = (max(row["turns"][-1][name]) / 1e6 for name in ("gradient_bytes", "halo_bytes"))
        lines.append(
            f"{row['name'] + other:<30}{best:>9.3f}{median:>10.3f}{best_of(first) / best:>10.2f}{reduce:>11.1%}"
            f"{halo:>11.1%}{gradient:>13.2f}{sent:>9.2f}"
        )
    return "\n".join([*lines, *advice(record["rows"])])


def slowest(turn: dict[str, list[float]]) -> dict[str, float]:
    """The numbers of the rank that took longest."""
    rank = max(range(len(turn["seconds"])), key=lambda number: turn["seconds"][number])
    return {name: values[rank] for name, values in turn.items()}


def best_of(row: dict[str, Any]) -> float:
    """Seconds of the best turn's slowest rank."""
    return min(slowest(turn)["seconds"] for turn in row["turns"])


def advice(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Of the layouts that use the most threads in all, the fastest."""
    measured = [row for row in rows if row["turns"]]
    used = {
        row["name"]: row["layout"]["replicas"] * row["layout"]["partners"] * row["layout"]["threads"]
        for row in measured
    }
    rivals = [row for row in measured if used[row["name"]] == max(used.values())]
    if len(rivals) < 2:
        return []
    ranked = sorted(rivals, key=best_of)
    others = ", ".join(f"{row['name']} {best_of(row) / best_of(ranked[0]):.2f} times as long" for row in ranked[1:])
    return ["", f"with {max(used.values())} threads in all, use: {ranked[0]['name']} ({others})"]
