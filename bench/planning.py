"""What a plan says beside what a training then takes: peak of anonymous memory, and time of a step.

    python -m bench.planning [--only NAME ...] [--small]             # memory, planned and of a training
    python -m bench.planning [--only NAME ...] [--small] --times     # a step, planned and the best of three

Each case is planned (``dcrnn-fast plan --json``) and run in processes of its own. Memory is that of a training of a few
steps: RssAnon of each process is read every few milliseconds. Times are those of this machine now: on a busy one they
mean little.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bench.machine import circumstances
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.batches import GlobalBatch
from dcrnn_fast.plan import PlanFlags
from dcrnn_fast.planning.source import source_of
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.step import EagerStep
from dcrnn_fast.training.trial import trial_run

_EVERY_SECONDS = 0.005


class Case(NamedTuple):
    """A configuration by its flags; ``steps`` are trained, on ``ranks`` processes."""

    nodes: int
    batch_size: int
    flags: tuple[str, ...] = ()
    threads: int = 1
    ranks: int = 1
    steps: int = 3

    def words(self) -> list[str]:
        """For plan and train alike."""
        windows = str(self.steps * self.batch_size * self.ranks)
        return [
            *("--city-nodes", str(self.nodes), "--city-days", "2", "--test-fraction", "0"),
            *("--max-train-windows", windows, "--max-validation-windows", str(self.batch_size * self.ranks)),
            *("--batch-size", str(self.batch_size), "--threads", str(self.threads), "--epochs", "1", *self.flags),
        ]


SMALL = {
    "207, all": Case(207, 16),
    "207, h, 2 threads": Case(207, 16, ("--save", "h"), threads=2),
    "325, segments:6": Case(325, 8, ("--save", "segments:6")),
    "207, bf16": Case(207, 16, ("--precision", "bf16")),
    "207, 2 ranks": Case(207, 8, ranks=2),
    "207, manual": Case(207, 8, ("--backend", "manual"), steps=2),
}
LARGE = {
    "METR-LA's size": Case(207, 64, steps=2),
    "PEMS-BAY's size": Case(325, 64, threads=2, steps=2),
    "PEMS-BAY's size, h, bf16": Case(325, 64, ("--save", "h", "--precision", "bf16"), threads=2, steps=2),
    "2,000": Case(2000, 8, threads=2, steps=2),
    "2,000, h": Case(2000, 8, ("--save", "h"), threads=2, steps=2),
    "11,160, h": Case(11160, 2, ("--save", "h"), threads=2, steps=2),
    "11,160, segments:4": Case(11160, 2, ("--save", "segments:4"), threads=2, steps=2),
    "11,160, all": Case(11160, 2, threads=2, steps=2),
    "11,160, bf16": Case(11160, 2, ("--precision", "bf16"), threads=2, steps=2),
    "11,160, B=1": Case(11160, 1, ("--save", "h"), threads=2, steps=2),
}


class Outcome(NamedTuple):
    """Bytes, or seconds of a step, planned and measured."""

    planned: float
    measured: float

    @property
    def ratio(self) -> float:
        """Measured over planned."""
        return self.measured / self.planned


def planned(case: Case, *flags: str) -> dict[str, object]:
    """The plan of a case."""
    command = [sys.executable, "-m", "dcrnn_fast.plan", *case.words(), "--ranks", str(case.ranks), "--json", *flags]
    found: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def trained(case: Case, folder: Path) -> int:
    """Trains a case in ``folder``: the largest RssAnon of a process."""
    start = [sys.executable]
    if case.ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={case.ranks}"]
    command = [*start, "-m", "dcrnn_fast.train", *case.words(), "--results", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, *(_anonymous(pid) for pid in (process.pid, *_children(process.pid))))
        time.sleep(_EVERY_SECONDS)
    if process.returncode:
        raise RuntimeError(process.communicate()[1])
    return peak


def step_seconds(case: Case) -> float:
    """The best of three steps, in this process; the first, which loads and allocates, does not count."""
    default = PlanFlags(settings=Config())
    flags = parse(PlanFlags, case.words(), prog="bench.planning", description="", default=default)
    config = flags.settings
    torch.set_num_threads(case.threads)
    run = trial_run(config, source_of(config.data, config.graph).graph, 1, case.batch_size)
    batch = GlobalBatch(np.arange(case.batch_size, dtype=np.int64), 0, case.batch_size)
    run.model.train()
    took = []
    for _ in range(4):
        began = time.perf_counter()
        EagerStep(run).take(batch, 0, 1e-4, StopRequest())
        took.append(time.perf_counter() - began)
    return min(took[1:])


def memory_of(case: Case) -> Outcome:
    """Plans and trains."""
    memory = planned(case, "--no-calibrate")["memory"]
    assert isinstance(memory, dict)
    with tempfile.TemporaryDirectory() as folder:
        return Outcome(memory["process"], trained(case, Path(folder) / "r"))


def time_of(name: str) -> Outcome:
    """Plans, and takes steps."""
    said = planned((SMALL | LARGE)[name])["step_seconds"]
    assert isinstance(said, float)
    command = [sys.executable, "-m", "bench.planning", "--step", name]
    return Outcome(said, float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--small", action="store_true", help="the small cases alone")
    parser.add_argument("--times", action="store_true", help="times of a step instead of memory")
    parser.add_argument("--step", help="print the seconds of a step of this case, and no more")
    flags = parser.parse_args()
    cases = SMALL | LARGE
    if flags.step:
        print(step_seconds(cases[flags.step]))
        return
    unit, size = ("s", 1.0) if flags.times else ("GiB", 2.0**30)
    print(circumstances())
    print(f"| case | planned, {unit} | measured | ratio |\n|---|---:|---:|---:|")
    for name in flags.only or (SMALL if flags.small else cases):
        found = time_of(name) if flags.times else memory_of(cases[name])
        print(f"| {name} | {found.planned / size:.2f} | {found.measured / size:.2f} | {found.ratio:.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
