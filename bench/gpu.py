"""``python -m bench.gpu``: the METR-LA training step on a GPU, every contestant beside the reference.

All contestants have the same weights and batch; first each one's results are held
against float64, within the error budget of ``bench.budget``, then they take turns. A contestant with ``graph`` replays
its step from a CUDA graph. ``--device cpu`` runs the program itself, small, where there is no GPU.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.budget import TRUTH, Errors, budget, errors, plain_for, require_equal
from bench.contestants import Contestant, Step
from bench.machine import circumstances
from bench.workload import QUICK, Workload, data_folder, metr_la
from dcrnn_fast.files import write_atomically

CONTESTANTS = ("reference", "plain", "compile", "manual", "triton", "cuda")
DTYPES = ("float32", "bf16")
CAPTURED = ("manual", "triton", "cuda")
NO_GPU = "no CUDA device: GPU rows skipped"


class Row:
    """One contestant on the device, launch by launch or captured."""

    def __init__(self, step: Step, run: Callable[[], None], *, captured: bool) -> None:
        self.name = step.contestant.name + (" graph" if captured else "")
        self.contestant, self.captured = step.contestant, captured
        self.run = run
        self.seconds: list[float] = []
        self.peak_mib = 0.0


def capture(step: Step) -> Callable[[], None]:
    """The step as a CUDA graph.

    Raises:
        RuntimeError: it cannot be captured.
    """
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step.run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step.run()
    return graph.replay


def rows_of(workload: Workload, device: str, names: Sequence[str], left_out: dict[str, str]) -> list[Row]:
    """Those of ``names``, and those whose errors are the others' budget, who can run here and are right.

    Raises:
        SystemExit: a contestant is over its error budget.
    """
    truth_step = Step(TRUTH, workload, device)
    truth_step.run()
    truth = truth_step.results()
    found: dict[Contestant, Errors] = {}
    rows = []
    for dtype in DTYPES:
        for backend in (name for name in CONTESTANTS if name in ("reference", "plain", *names)):
            contestant = Contestant(backend, dtype)
            if backend == "reference" and dtype != "float32":
                continue
            try:
                step = Step(contestant, workload, device)
                _before(device)
                step.run()
            except NotImplementedError as error:
                left_out[contestant.name] = str(error)
                continue
            row = Row(step, step.run, captured=False)
            row.peak_mib = _peak_mib(device)
            found[contestant] = errors(step.results(), truth)
            plain = plain_for(contestant)
            allowed = budget(contestant, None if plain is None else found[plain])
            require_equal(contestant, found[contestant], allowed)
            rows.append(row)
            if device == "cuda" and backend in CAPTURED:
                try:
                    replay = capture(step)
                except RuntimeError as error:
                    left_out[f"{contestant.name} graph"] = " ".join(str(error).split())[:200]
                    continue
                replay()
                require_equal(contestant, errors(step.results(), truth), allowed)
                rows.append(Row(step, replay, captured=True))
    return rows


def _before(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def _peak_mib(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0


def _timed(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def record(rows: list[Row], workload: Workload, device: str, left_out: dict[str, str]) -> dict[str, Any]:
    """What ``--json`` writes."""
    reference = min(next(row.seconds for row in rows if row.name == "reference"))
    return {
        **circumstances(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu: a run of the program, not of a GPU",
        "workload": workload.describe(),
        "left_out": left_out,
        "rows": [
            {
                "contestant": row.name,
                "backend": row.contestant.backend,
                "dtype": row.contestant.dtype,
                "captured": row.captured,
                "seconds_best": min(row.seconds),
                "seconds_median": statistics.median(row.seconds),
                "ratio_to_reference": reference / min(row.seconds),
                "gflops": workload.gflop / min(row.seconds),
                "peak_mib": row.peak_mib,
            }
            for row in rows
        ],
    }


def table(found: dict[str, Any]) -> str:
    """One line a contestant."""
    lines = [f"{'contestant':24}{'ms best':>10}{'median':>10}{'x reference':>13}{'GFLOP/s':>10}{'peak MiB':>10}"]
    for row in found["rows"]:
        lines.append(
            f"{row['contestant']:24}{1e3 * row['seconds_best']:10.2f}{1e3 * row['seconds_median']:10.2f}"
            f"{row['ratio_to_reference']:13.2f}{row['gflops']:10.0f}{row['peak_mib']:10.0f}"
        )
    return "\n".join([*lines, *(f"not here: {name}: {why}" for name, why in found["left_out"].items())])


def main(argv: list[str] | None = None) -> int:
    """The command: 1 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only to see that it works")
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each contestant")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument(
        "--contestants",
        nargs="+",
        choices=CONTESTANTS,
        metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)} (default: all; on a CPU without compile)",
    )
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 1
    workload = metr_la(data_folder()) if options.device == "cuda" else QUICK["metr-la"]
    left_out: dict[str, str] = {}
    names = options.contestants or [name for name in CONTESTANTS if name != "compile" or options.device == "cuda"]
    rows = rows_of(workload, options.device, names, left_out)
    for _ in range(options.rounds):
        for row in rows:
            row.seconds.append(_timed(row.run, options.device))
    found = record(rows, workload, options.device, left_out)
    print(f"{found['device']}, {workload.name}")
    print(table(found))
    if options.json is not None:
        write_atomically(options.json, lambda file: file.write((json.dumps(found, indent=2) + "\n").encode()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
