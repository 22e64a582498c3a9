"""``python -m bench.compare``: a training step, or a forecast, of every contestant beside the reference.

Each contestant has its own process, pinned to its own cores. First each runs alone, once: that gives its peak memory
(resident, above what importing torch and the package leaves) and its results. Their distance from the same step in
float64 must be within the error budget (``bench.budget``), or no speed is reported. Then all are started again and take
turns with each other and with plain matrix products, so that a disturbance meets all of them; if they do not all fit in
memory, they do so in several heats, the reference in each. The first ``--warm-up`` rounds are not counted.
`cpu` keeps its memory between steps as a training does, seconds and peak alike; the others, which are PyTorch's own
operators, are timed with a heap that keeps everything, and their peak is read with one that does not: the best of both.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.budget import TRUTH, Errors, budget, errors, plain_for, require_equal
from bench.chart import draw
from bench.contestants import Contestant
from bench.gemm import GFLOP, KINDS, roofline
from bench.machine import circumstances
from bench.turns import KEEPS_ITS_OWN, CannotRunError, Times, Worker, contestant_worker, heats, product_worker, run_heat
from bench.workload import HEADLINE, LARGE_NODES, QUICK, Workload, data_folder, large
from dcrnn_fast.files import write_bytes

REFERENCE = Contestant("reference")
DEFAULTS = (
    "specification", "manual", "compile", "compile:bf16", "cpu", "cpu:save=h", "cpu:bf16", "cpu:bf16:save=h",
    "cpu:bf16x3", "cpu:threads=2", "cpu:bf16:threads=2",
)  # fmt: skip
"""beside the reference; a later version's operators may take more of them than this one's"""
NOT_QUICK = ("compile", "compile:bf16", "cpu:threads=2", "cpu:bf16:threads=2")
RECORDS = Path(__file__).resolve().parent / "results" / "compare"


class Comparison:
    """One workload, its contestants, and the findings about each."""

    def __init__(self, workload: Workload, contestants: Sequence[Contestant], *, insist: bool) -> None:
        self.workload = workload
        self.contestants = [REFERENCE]
        self.left_out: dict[str, str] = {}
        self.first: dict[Contestant, dict[str, float]] = {}
        self.errors: dict[Contestant, Errors] = {}
        self.budgets: dict[Contestant, Errors] = {}
        self.insist = insist
        for contestant in dict.fromkeys(contestants):
            reason = contestant.why_not(workload)
            if reason is not None:
                self._leave_out(contestant, reason)
            elif contestant not in self.contestants:
                self.contestants.append(contestant)

    def _leave_out(self, contestant: Contestant, reason: str) -> None:
        if self.insist:
            raise SystemExit(f"bench.compare: {contestant.name} cannot take part: {reason}")
        self.left_out[contestant.name] = reason

    def verify(self, stack: ExitStack | None) -> dict[Contestant, Worker]:
        """Runs everybody once, alone, and compares; returns the processes that go on, those in ``stack``.

        Raises:
            SystemExit: a contestant is over its error budget.
        """
        kept: dict[Contestant, Worker] = {}
        plains = {plain for c in self.contestants if (plain := plain_for(c)) is not None}
        with tempfile.TemporaryDirectory() as folder:
            truth = self._results(TRUTH, Path(folder), None, kept)
            found: dict[Contestant, Errors] = {}
            for contestant in [*self.contestants, *(plains - set(self.contestants))]:
                try:
                    got = self._results(contestant, Path(folder), stack, kept)
                except CannotRunError as reason:
                    self._leave_out(contestant, str(reason))
                    continue
                found[contestant] = errors(got, truth)
        self.contestants = [c for c in self.contestants if c in found]
        for contestant in self.contestants:
            plain = plain_for(contestant)
            allowed = budget(contestant, None if plain is None else found[plain])
            require_equal(contestant, found[contestant], allowed)
            self.errors[contestant], self.budgets[contestant] = found[contestant], allowed
        return kept

    def _results(
        self, contestant: Contestant, folder: Path, stack: ExitStack | None, kept: dict[Contestant, Worker]
    ) -> dict[str, torch.Tensor]:
        path = folder / "results.pt"
        worker = contestant_worker(contestant, self.workload, results=path, timed=False)
        self.first[contestant] = worker.first
        if stack is not None and contestant in self.contestants:
            kept[contestant] = stack.enter_context(worker)
        else:
            worker.close()
        results: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return results

    def measure(self, *, rounds: int, warm_up: int, fresh: bool) -> dict[str, Any]:
        """Verifies, times, and returns the record's ``gemm_gflops``, ``rows`` and ``left_out``.

        Args:
            fresh: time in new processes that keep their heap; False: in those that were verified (small workloads).
        """
        times: dict[Contestant, Times] = {}
        rates: dict[int, dict[str, float]] = {}
        with ExitStack() as stack:
            started = self.verify(None if fresh else stack)
            kinds = [kind for kind in KINDS if kind != "onednn_float32" or torch.backends.mkldnn.is_available()]
            products = {
                (threads, kind): stack.enter_context(product_worker(kind, threads))
                for threads in sorted({c.threads for c in self.contestants})
                for kind in kinds
            }
            peaks = {c: self.first[c]["peak_mib"] + self.first[c]["imported_mib"] for c in self.contestants}
            for group in heats(self.contestants, peaks):
                run_heat(
                    group,
                    self.workload,
                    times,
                    rates,
                    products=products,
                    gflop_of_product=GFLOP,
                    rounds=rounds,
                    warm_up=warm_up,
                    started=started,
                )
        rows = [self._row(contestant, times[contestant], rates, rounds) for contestant in self.contestants]
        return {"gemm_gflops": rates, "rows": rows, "left_out": self.left_out}

    def _row(
        self, contestant: Contestant, times: Times, rates: dict[int, dict[str, float]], rounds: int
    ) -> dict[str, Any]:
        best = min(times.seconds)
        gflops = self.workload.gflop / best
        beside = rates[contestant.threads]
        first, error, allowed = self.first[contestant], self.errors[contestant], self.budgets[contestant]
        return {
            "contestant": contestant.name,
            "backend": contestant.backend,
            "dtype": contestant.dtype,
            "threads": contestant.threads,
            "seconds_best": best,
            "seconds_median": statistics.median(times.seconds),
            "ratio_to_reference": 1.0 if contestant == REFERENCE else times.reference_best / best,
            "gflops": gflops,
            "roofline_fraction": gflops / roofline(contestant.dtype, beside),
            "gemm_fractions": {kind: gflops / rate for kind, rate in beside.items()},
            "peak_mib": times.peak_mib if contestant.backend == KEEPS_ITS_OWN else first["peak_mib"],
            "seconds_first": first["seconds_first"],
            "cpu_share": statistics.median(times.cpu_shares),
            "rounds": rounds,
            "error_prediction": error.prediction,
            "error_gradient": error.gradient,
            "budget_prediction": allowed.prediction,
            "budget_gradient": allowed.gradient,
        }


def table(record: dict[str, Any]) -> str:
    """The record for a reader."""
    workload, rows = record["workload"], record["rows"]
    what = "forward and backward" if workload["training"] else "forecast"
    lines = [
        f"{workload['name']}: {workload['nodes']} nodes, B={workload['batch_size']}, {workload['past_steps']}+"
        f"{workload['future_steps']} steps, {workload['num_layers']}x{workload['hidden_units']}, "
        f"K={workload['hops']}; {what}, best of {rows[0]['rounds']} rounds",
        "",
        f"{'contestant':<24}{'best s':>10}{'median s':>10}{'x reference':>13}{'GFLOP/s':>9}{'of GEMM':>9}"
        f"{'peak MiB':>10}{'first s':>9}{'err pred':>10}{'err grad':>10}",
    ]
    lines += [
        f"{row['contestant']:<24}{row['seconds_best']:>10.4f}{row['seconds_median']:>10.4f}"
        f"{row['ratio_to_reference']:>13.2f}{row['gflops']:>9.1f}{100 * row['roofline_fraction']:>7.0f} %"
        f"{row['peak_mib']:>10.0f}{row['seconds_first']:>9.2f}{row['error_prediction']:>10.1e}"
        f"{row['error_gradient']:>10.1e}"
        for row in rows
    ]
    lines.append("")
    for threads, rates in record["gemm_gflops"].items():
        said = ", ".join(f"{kind} {rate:.0f}" for kind, rate in rates.items())
        lines.append(f"GEMM in the same run, GFLOP/s on {threads} thread{'' if int(threads) == 1 else 's'}: {said}")
    lines += [f"left out: {name}: {reason}" for name, reason in record["left_out"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, writes the record; or draws the chart."""
    flags = _flags(argv)
    if flags.chart is not None:
        draw(sorted(RECORDS.glob("*.json")), flags.chart)
        return 0
    workload = _workload(flags)
    names = flags.contestants or [name for name in DEFAULTS if not (flags.quick and name in NOT_QUICK)]
    try:
        contestants = [Contestant.parse(text) for text in names]
    except ValueError as error:
        raise SystemExit(f"bench.compare: {error}") from error
    rounds, warm_up = (min(flags.rounds, 2), 1) if flags.quick else (flags.rounds, flags.warm_up)
    comparison = Comparison(workload, contestants, insist=flags.contestants is not None)
    record: dict[str, Any] = {**circumstances(), "workload": workload.describe()}
    record |= comparison.measure(rounds=rounds, warm_up=warm_up, fresh=not flags.quick)
    print(table(record), flush=True)
    if flags.json is not None:
        text = json.dumps(record, indent=1) + "\n"
        write_bytes(flags.json, text.encode())
    return 0


def _workload(flags: argparse.Namespace) -> Workload:
    if flags.quick:
        workload = QUICK[flags.workload]
    elif flags.workload == "large":
        workload = large(flags.nodes)
    else:
        workload = HEADLINE[flags.workload](data_folder())
    return workload if flags.batch_size is None else replace(workload, batch_size=flags.batch_size)


def _flags(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description=__doc__.replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="DCRNN_FAST_DATA names the folder with the real graphs; without it: synthetic ones of the same size.",
    )
    add = parser.add_argument
    add("--workload", choices=list(HEADLINE), default="metr-la", help="what is measured (default: %(default)s)")
    add(
        "--contestants",
        nargs="+",
        metavar="NAME[:PART...]",
        help="beside the reference; names: reference, plain, compile, specification, manual, cpu; parts: bf16, bf16x3, "
        f"save=MODE, unit=NAME, threads=NUMBER (default: {' '.join(DEFAULTS)}, without those that cannot run here)",
    )
    add("--batch-size", type=int, help="windows in the batch (default: as published; 2 for large, 1 for inference)")
    add("--nodes", type=int, default=LARGE_NODES, help="sensors of the workload large (default: %(default)s)")
    add("--rounds", type=int, default=5, help="counted turns of each contestant (default: %(default)s)")
    add("--warm-up", type=int, default=2, help="turns that are not counted (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write machine, versions, commit, workload and rows")
    add("--quick", action="store_true", help="a tiny workload, two rounds, nothing compiled: to see that it works")
    add("--chart", type=Path, metavar="FILE", help="measure nothing: draw the records in bench/results/compare")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
