"""What a plan says beside what a training then takes: peak of anonymous memory, and time of a step.

    python -m bench.planning [--only NAME ...] [--small] [--memory]

Each case is planned (``dcrnn-fast plan --json``) and trained for a few steps in processes of its own; RssAnon of each
process is read every few milliseconds. Times are those of this machine now: on a busy one they mean little.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.machine import circumstances

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
    """Bytes and seconds of a step, planned and measured."""

    planned_bytes: int
    peak_bytes: int
    planned_seconds: float
    seconds: float

    @property
    def memory_ratio(self) -> float:
        """Measured over planned."""
        return self.peak_bytes / self.planned_bytes

    @property
    def time_ratio(self) -> float:
        """Measured over planned."""
        return self.seconds / self.planned_seconds


def planned(case: Case, *flags: str) -> dict[str, object]:
    """The plan of a case."""
    command = [sys.executable, "-m", "dcrnn_fast.plan", *case.words(), "--ranks", str(case.ranks), "--json", *flags]
    found: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def trained(case: Case, folder: Path) -> tuple[int, float]:
    """Trains a case in ``folder``: the largest RssAnon of a process, and the seconds of a step."""
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
    with (folder / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    return peak, float(row["train_seconds"]) / case.steps


def outcome(case: Case, *flags: str) -> Outcome:
    """Plans and trains."""
    plan = planned(case, *flags)
    with tempfile.TemporaryDirectory() as folder:
        peak, seconds = trained(case, Path(folder) / "r")
    memory = plan["memory"]
    assert isinstance(memory, dict)
    said = plan["step_seconds"]
    return Outcome(memory["process"], peak, said if isinstance(said, float) else float("nan"), seconds)


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
    parser.add_argument("--memory", action="store_true", help="plan memory alone, without timing a step")
    flags = parser.parse_args()
    cases = SMALL if flags.small else SMALL | LARGE
    print(circumstances())
    print("| case | planned, GiB | measured | ratio | a step planned, s | measured | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in flags.only or cases:
        found = outcome((SMALL | LARGE)[name], *(["--no-calibrate"] if flags.memory else []))
        print(
            f"| {name} | {found.planned_bytes / 2**30:.2f} | {found.peak_bytes / 2**30:.2f} | {found.memory_ratio:.2f} "
            f"| {found.planned_seconds:.2f} | {found.seconds:.2f} | {found.time_ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
