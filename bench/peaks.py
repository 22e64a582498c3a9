"""``python -m bench.peaks``: peak memory of a step on a large graph, the reference beside what `cpu` keeps.

A process for each contestant. The reference, whose step takes many GiB, runs once and ends: its memory is measured, its
time is not. The others take turns. Peaks are above what importing torch and the package leaves; memory between steps is
as ``bench.turns`` says.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.compare import REFERENCE
from bench.contestants import Contestant
from bench.machine import circumstances
from bench.turns import contestant_worker, take_turns
from bench.workload import LARGE_NODES, Workload, large
from dcrnn_fast.files import write_bytes

OURS = ("cpu", "cpu:save=h")


def measure(workload: Workload, ours: list[Contestant], rounds: int) -> dict[str, Any]:
    """The record: ``peak_mib`` of each contestant, and ``seconds`` of the best run but the reference's."""
    with contestant_worker(REFERENCE, workload, timed=False) as worker:
        rows: list[dict[str, Any]] = [{"contestant": REFERENCE.name, "peak_mib": worker.first["peak_mib"]}]
    print(f"{REFERENCE.name}: {rows[0]['peak_mib']:.0f} MiB", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        workers = [stack.enter_context(contestant_worker(one, workload)) for one in ours]
        turns = take_turns(workers, rounds=rounds, warm_up=0)
    for one, of_one in zip(ours, turns, strict=True):
        best = min(second for turn in of_one for second in turn["seconds"])
        rows.append({"contestant": one.name, "peak_mib": of_one[-1]["peak_mib"], "seconds": best})
    return {**circumstances(), "workload": workload.describe(), "rounds": rounds, "rows": rows}


def table(record: dict[str, Any]) -> str:
    """The record for a reader."""
    work, (reference, *ours) = record["workload"], record["rows"]
    lines = [
        f"{work['name']}: {work['nodes']} nodes, B={work['batch_size']}, {work['past_steps']}+{work['future_steps']} "
        f"steps; forward and backward, best of {record['rounds']}",
        "",
        f"{'contestant':<24}{'peak MiB':>10}{'of reference':>14}{'best s':>9}{'of ' + ours[0]['contestant']:>10}",
        f"{reference['contestant']:<24}{reference['peak_mib']:>10.0f}",
    ]
    for row in ours:
        less, longer = reference["peak_mib"] / row["peak_mib"], row["seconds"] / ours[0]["seconds"]
        lines.append(
            f"{row['contestant']:<24}{row['peak_mib']:>10.0f}{f'1/{less:.1f}':>14}{row['seconds']:>9.2f}{longer:>10.2f}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, writes the record if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.peaks", description=__doc__)
    parser.add_argument("--nodes", type=int, default=LARGE_NODES, help="sensors of the city")
    parser.add_argument("--steps", type=int, default=12, help="past steps, and future ones")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--contestants", nargs="+", default=OURS, metavar="NAME[:PART...]")
    parser.add_argument("--json", type=Path, metavar="FILE")
    flags = parser.parse_args(argv)
    workload = large(flags.nodes, batch_size=flags.batch_size)
    workload = replace(workload, past_steps=flags.steps, future_steps=flags.steps)
    try:
        ours = [Contestant.parse(text) for text in flags.contestants]
    except ValueError as error:
        raise SystemExit(f"bench.peaks: {error}") from error
    record = measure(workload, ours, flags.rounds)
    print(table(record), flush=True)
    if flags.json is not None:
        write_bytes(flags.json, json.dumps(record, indent=1).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
