"""``python -m bench.step``: a METR-LA training step, forward and backward, of every contestant beside the reference.

Each contestant has its own process on the same pinned core with one thread. First each runs alone, once: that gives its
peak memory (resident, above what importing torch leaves) and its results, which must equal the reference's within the
error budget, or nothing is reported. Then all are started again and take turns, so that a disturbance meets everybody.

In the timed processes the heap is kept between steps (glibc's MALLOC_MMAP_MAX_=0 and no trimming): with the default,
every large tensor is fresh memory, and what page faults cost on a virtual machine would be measured, to the
reference's disadvantage (1.5 times its time at B=64). The first ``--warm-up`` rounds are not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bench.contestants import REFERENCE, Contestant, largest_errors
from bench.machine import available_mib, commit, machine, versions
from bench.workload import SMALL, Workload, data_folder, metr_la

DEFAULT_CONTESTANTS = ("specification", "manual", "cpu")
_KEEP_THE_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """A ``bench.worker`` process; ends when it is closed."""

    def __init__(self, contestant: Contestant, workload: Workload, core: int, *, results: Path | None) -> None:
        task = {
            "contestant": contestant.name,
            "workload": asdict(workload),
            "core": core,
            "results": None if results is None else str(results),
        }
        extra = _KEEP_THE_HEAP if results is None else {}
        self.contestant = contestant
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(task)],
            cwd=_ROOT,
            env={**os.environ, **_ONE_THREAD, **extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.peak_mib = float(self._answer()["peak_mib"])

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and waits for it."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.communicate()

    def step(self) -> dict[str, float]:
        """Seconds and CPU seconds of one training step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench.step: {self.contestant.name} ended with code {self.process.wait()}; see above")
        answer: dict[str, float] = json.loads(line)
        return answer


def measure(
    workload: Workload, contestants: list[Contestant], *, rounds: int, warm_up: int, core: int, restart: bool = True
) -> list[dict[str, Any]]:
    """The rows of the table; the reference comes first.

    Args:
        restart: time in fresh processes that keep their heap; False: in those that measured memory (small workloads).
    Raises:
        SystemExit: a contestant failed, misses the error budget, or they do not fit in memory together.
    """
    contestants = [Contestant(REFERENCE), *(c for c in contestants if c != Contestant(REFERENCE))]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "results.pt"
        workers, peaks, errors, wanted = [], {}, {}, None
        for contestant in contestants:
            worker = stack.enter_context(Worker(contestant, workload, core, results=path))
            workers.append(worker)
            peaks[contestant] = worker.peak_mib
            got = torch.load(path, weights_only=True)
            wanted = wanted or got
            errors[contestant] = largest_errors(got, wanted)
            _require_equal(contestant, errors[contestant])
            if restart:
                worker.close()
        if restart:
            _require_room(sum(peaks.values()))
            workers = [stack.enter_context(Worker(c, workload, core, results=None)) for c in contestants]
        turns = [[worker.step() for worker in workers] for _ in range(warm_up + rounds)][warm_up:]
    rows = []
    for number, contestant in enumerate(contestants):
        times = [turn[number] for turn in turns]
        best = min(times, key=lambda time: time["seconds"])
        reference = min(turn[0]["seconds"] for turn in turns)
        rows.append(
            {
                "contestant": contestant.name,
                "backend": contestant.backend,
                "dtype": contestant.dtype,
                "threads": 1,
                "seconds_best": best["seconds"],
                "seconds_median": statistics.median(time["seconds"] for time in times),
                "cpu_share_best": best["cpu_seconds"] / best["seconds"],
                "rounds": rounds,
                "ratio_to_reference": reference / best["seconds"],
                "gflop_per_s": workload.gflop / best["seconds"],
                "peak_mib": peaks[contestant],
                "error_prediction": errors[contestant][0],
                "error_gradient": errors[contestant][1],
            }
        )
    return rows


def _require_equal(contestant: Contestant, errors: tuple[float, float]) -> None:
    for what, error, bound in zip(("predictions", "gradients"), errors, contestant.bounds, strict=True):
        if not error <= bound:
            raise SystemExit(
                f"bench.step: {contestant.name} is wrong, so no speed is reported: error of {what} {error:.1e}, "
                f"bound {bound:.0e}"
            )


def _require_room(peaks_mib: float) -> None:
    # Keeping the heap costs some memory over the peak: 1.2 times, seen with the reference.
    needed, free = 1.3 * peaks_mib, available_mib()
    if needed > free:
        raise SystemExit(
            f"bench.step: the contestants together need about {needed / 1024:.1f} GiB, {free / 1024:.1f} are free: "
            "name fewer with --contestants, or take a smaller --batch-size"
        )


def table(workload: Workload, rows: list[dict[str, Any]]) -> str:
    """The rows for a reader."""
    lines = [
        f"{workload.name}: {workload.nodes} nodes, B={workload.batch_size}, {workload.past_steps}+"
        f"{workload.future_steps} steps, {workload.num_layers}x{workload.hidden_units}, K={workload.hops}; forward and "
        f"backward, one thread, best of {rows[0]['rounds']} rounds",
        f"{'contestant':<18}{'best s':>9}{'median s':>10}{'x reference':>13}{'GFLOP/s':>9}{'peak MiB':>10}"
        f"{'error pred':>12}{'grad':>9}",
    ]
    lines += [
        f"{row['contestant']:<18}{row['seconds_best']:>9.3f}{row['seconds_median']:>10.3f}"
        f"{row['ratio_to_reference']:>13.2f}{row['gflop_per_s']:>9.1f}{row['peak_mib']:>10.0f}"
        f"{row['error_prediction']:>12.1e}{row['error_gradient']:>9.1e}"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, writes the record."""
    flags = _flags(argv)
    if flags.quick:
        workload, rounds, warm_up = SMALL["tiny"], min(flags.rounds, 2), 1
    else:
        workload, rounds, warm_up = metr_la(flags.batch_size, data_folder()), flags.rounds, flags.warm_up
    core = max(os.sched_getaffinity(0)) if flags.core is None else flags.core
    record: dict[str, Any] = {"machine": machine(), "versions": versions(), "commit": commit(), "core": core}
    try:
        contestants = [Contestant.parse(text) for text in flags.contestants]
    except ValueError as error:
        raise SystemExit(f"bench.step: {error}") from error
    rows = measure(workload, contestants, rounds=rounds, warm_up=warm_up, core=core, restart=not flags.quick)
    # The path of the graph is this machine's business; its name says which graph it was.
    shown = replace(workload, graph=None if workload.graph is None else Path(workload.graph).name)
    record |= {"workload": {**asdict(shown), "gflop": workload.gflop}, "rows": rows}
    print(table(workload, rows), flush=True)
    if flags.json is not None:
        flags.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def _flags(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="DCRNN_FAST_DATA names the folder with the real graph; without it: a synthetic one of the same size.",
    )
    add = parser.add_argument
    add(
        "--contestants",
        nargs="+",
        default=list(DEFAULT_CONTESTANTS),
        metavar="BACKEND[:bf16]",
        help="beside the reference (default: %(default)s)",
    )
    add("--batch-size", type=int, default=64, help="default: %(default)s, as published")
    add("--rounds", type=int, default=5, help="counted turns of each contestant (default: %(default)s)")
    add("--warm-up", type=int, default=2, help="turns that are not counted (default: %(default)s)")
    add("--core", type=int, help="core to pin to (default: the last one)")
    add("--json", type=Path, metavar="FILE", help="write machine, versions, commit, workload and rows")
    add("--quick", action="store_true", help="a tiny workload and two rounds, to see that it works")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
