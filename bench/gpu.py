"""``python -m bench.gpu``: the METR-LA training step on a GPU, every contestant beside the reference.

All contestants have the same weights and batch; first each one's results are held
against float64, within the error budget of ``bench.budget``, then they take turns. A contestant with ``graph`` replays
its step from a CUDA graph. One that cannot run is left out with its reason; one that is over its budget gets no speed,
and the command ends with 1. ``--device cpu`` runs the program itself, small, where there is no GPU.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.budget import TRUTH, Errors, budget, errors, over_budget, plain_for
from bench.contestants import MODULES, Contestant, Step
from bench.machine import circumstances
from bench.workload import QUICK, Workload, data_folder, metr_la
from dcrnn_fast.files import write_bytes
from dcrnn_fast.kernels.gpu.devices import gpu_facts
from dcrnn_fast.training.cuda_graphs import capture, warm_up

CONTESTANTS = ("reference", "plain", "compile", "manual", "triton", "cuda")
DTYPES = ("float32", "bf16")
CAPTURED = ("manual", "triton", "cuda")
NO_GPU = "no CUDA device: GPU rows skipped"


@dataclass
class Row:
    """One contestant on the device, launch by launch or captured; ``peak_mib`` without the others' memory there."""

    contestant: Contestant
    run: Callable[[], None]
    captured: bool = False
    peak_mib: float | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.contestant.name + (" graph" if self.captured else "")


class Rows:
    """Contestants in ``names``, and those whose errors are the others' budget, that can run here and are right.

    Attributes:
        rows: the contestants that are timed.
        left_out: those that cannot run here: name -> reason.
        wrong: those over their error budget: name -> by how much.
        failed: of those left out, our own that could run here and raised.
    """

    def __init__(self, workload: Workload, device: str, names: Sequence[str]) -> None:
        self.rows: list[Row] = []
        self.left_out: dict[str, str] = {}
        self.wrong: dict[str, str] = {}
        self.failed: list[str] = []
        self._device, self._workload = device, workload
        truth_step = Step(TRUTH, workload, device)
        truth_step.run()
        self._truth = truth_step.results()
        self._right: dict[Contestant, Errors] = {}
        del truth_step
        for dtype in DTYPES:
            for backend in (name for name in CONTESTANTS if name in ("reference", "plain", *names)):
                if backend != "reference" or dtype == "float32":
                    self._admit(Contestant(backend, dtype))

    def measure(self, rounds: int) -> None:
        """In turns; a contestant that fails is left out from then on."""
        for _ in range(rounds):
            for row in list(self.rows):
                try:
                    row.seconds.append(_timed(row.run, self._device))
                except Exception as error:
                    self._leave_out(row.name, error)
                    self.rows.remove(row)

    def _admit(self, contestant: Contestant) -> None:
        before = _allocated_mib(self._device)
        try:
            step = Step(contestant, self._workload, self._device)
            # Checks and compilation on first use take memory that a step does not.
            step.run()
            peak_mib = _peak_mib(step.run, self._device) - before
            is_right = self._is_right(step, contestant.name)
        except Exception as error:
            self._leave_out(contestant.name, error)
            return
        if not is_right:
            return
        self.rows.append(Row(contestant, step.run, peak_mib=peak_mib))
        if self._device == "cuda" and contestant.backend in CAPTURED:
            self._admit_captured(step)

    def _admit_captured(self, step: Step) -> None:
        name, device = f"{step.contestant.name} graph", torch.device(self._device)
        try:
            warm_up(step.run, device)
            replay = capture(step.run, device).replay
            replay()
            is_right = self._is_right(step, name)
        except Exception as error:
            self._leave_out(name, error)
            return
        if is_right:
            self.rows.append(Row(step.contestant, replay, captured=True))

    def _is_right(self, step: Step, name: str) -> bool:
        """Whether the results of the step's last run are within its budget; prints those that are not."""
        contestant, found = step.contestant, errors(step.results(), self._truth)
        plain = plain_for(contestant)
        beside = found if plain == contestant else self._right.get(plain) if plain else None
        if beside is None and contestant.backend not in MODULES:
            raise NotImplementedError(f"its budget is by the error of {plain and plain.name}, which is not here")
        allowed = budget(contestant, beside)
        over = over_budget(found, allowed)
        if over:
            self.wrong[name] = over
        else:
            self._right.setdefault(contestant, found)
        return not over

    def _leave_out(self, name: str, error: Exception) -> None:
        said = " ".join(str(error).split())[:200]
        self.left_out[name] = said
        if not isinstance(error, NotImplementedError):
            self.left_out[name] = f"{type(error).__name__}: {said}"
            if name.startswith(CAPTURED):
                self.failed.append(name)


def _allocated_mib(device: str) -> float:
    if device != "cuda":
        return 0.0
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() / 2**20


def _peak_mib(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0


def _timed(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def record(found: Rows, workload: Workload, device: str) -> dict[str, Any]:
    """The record that ``--json`` writes; the ratio is None if the reference is left out."""
    best = {row.name: min(row.seconds) for row in found.rows}
    reference = best.get("reference")
    return {
        **circumstances(),
        "gpu": gpu_facts(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu: a run of the program, not of a GPU",
        "workload": workload.describe(),
        "left_out": found.left_out,
        "wrong": found.wrong,
        "rows": [
            {
                "contestant": row.name,
                "backend": row.contestant.backend,
                "dtype": row.contestant.dtype,
                "captured": row.captured,
                "seconds_best": best[row.name],
                "seconds_median": statistics.median(row.seconds),
                "ratio_to_reference": None if reference is None else reference / best[row.name],
                "gflops": workload.gflop / best[row.name],
                "peak_mib": row.peak_mib,
            }
            for row in found.rows
        ],
    }


def table(found: dict[str, Any]) -> str:
    """One line a contestant."""
    lines = [f"{'contestant':24}{'ms best':>10}{'median':>10}{'x reference':>13}{'GFLOP/s':>10}{'peak MiB':>10}"]
    for row in found["rows"]:
        ratio, peak = _or_dash(row["ratio_to_reference"], ".2f"), _or_dash(row["peak_mib"], ".0f")
        lines.append(
            f"{row['contestant']:24}{1e3 * row['seconds_best']:10.2f}{1e3 * row['seconds_median']:10.2f}"
            f"{ratio:>13}{row['gflops']:10.0f}{peak:>10}"
        )
    lines += [f"not here: {name}: {why}" for name, why in found["left_out"].items()]
    lines += [f"WRONG, so no speed: {name}: {why}" for name, why in found["wrong"].items()]
    return "\n".join(lines)


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def main(argv: list[str] | None = None) -> int:
    """The command: 1 without a GPU, or if a contestant is wrong or one of our own failed."""
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
    names = options.contestants or [name for name in CONTESTANTS if name != "compile" or options.device == "cuda"]
    rows = Rows(workload, options.device, names)
    rows.measure(options.rounds)
    found = record(rows, workload, options.device)
    print(f"{found['device']}, {workload.name}")
    print(table(found))
    if options.json is not None:
        write_bytes(options.json, (json.dumps(found, indent=2) + "\n").encode())
    return 1 if rows.wrong or rows.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
