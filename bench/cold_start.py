"""The cost of a command before it works: processor time and peak memory of fresh processes, beside ``import torch``.

    python -m bench.cold_start [--rounds 5] [--json FILE]

Each round runs ``import torch`` first, then every command once, each in a process of its own with one thread; the best
of all rounds counts, so a busy machine does little harm. A command's own work (its processor time when it runs a second
time in the same process, everything imported) is subtracted before the comparison with ``import torch``: imports and
other work that a process does once remain. ``evaluate`` and ``train`` draw: the column "no drawing" leaves out what it
costs to load the library for that, which has a line of its own. Peak memory is compared as it is. The model is small,
trained for one step on the built-in city, and forecasts from an .npz file.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAIN = [
    *("--city-nodes", "8", "--city-days", "8", "--hidden-units", "8", "--epochs", "1"),
    *("--max-train-windows", "64", "--max-validation-windows", "64"),
]
TORCH = "import torch"
DRAWING = "import torch, matplotlib.figure"
DRAW = ("evaluate", "train")
WRITE_READINGS = """
import numpy as np
from dcrnn_fast.data.city import synthetic_city
series, _ = synthetic_city(nodes=8, days=8, seed=0)
rows = slice(-288, None)
np.savez(
    "readings.npz", data=series.values_TNC[rows], ids=np.array(series.ids), times=series.times_T[rows],
    channels=np.array(series.channels),
)
"""
_RUN = """
import contextlib, io, sys, time
from dcrnn_fast.cli import main
for repetition in range({repetitions}):
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main({words!r})
    assert code == 0, code
print(time.process_time() - began)
"""


@dataclass
class Cost:
    """The smallest cost seen.

    Attributes:
        seconds: processor time, user and system.
        own_seconds: of which the work itself; 0 for imports.
        mib: peak resident memory.
    """

    seconds: float = float("inf")
    own_seconds: float = 0.0
    mib: float = float("inf")

    def include(self, seconds: float, mib: float) -> None:
        """Notes one more process."""
        self.seconds, self.mib = min(self.seconds, seconds), min(self.mib, mib)


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands' words, by name; the model and the readings lie in ``folder``."""
    checkpoint = str(folder / "trained" / "checkpoints" / "best.pt")
    return {
        "forecast": [
            *("forecast", checkpoint, "--data", str(folder / "readings.npz"), "--output", str(folder / "forecast.csv"))
        ],
        "evaluate": ["evaluate", checkpoint],
        "train": ["train", *TRAIN, "--results", str(folder / "again")],
    }


def prepare(folder: Path) -> None:
    """Trains the model and writes the readings."""
    run(_RUN.format(repetitions=1, words=["train", *TRAIN, "--results", str(folder / "trained")]), folder)
    run(WRITE_READINGS, folder)


def run(code: str, folder: Path) -> tuple[float, float, str]:
    """Runs Python code in a fresh process in ``folder``: processor seconds, peak MiB, and what it printed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
    with tempfile.TemporaryFile() as out:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1)]
        words = [sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{code}"]
        process = os.posix_spawn(sys.executable, words, environment, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        if status != 0:
            raise SystemExit(f"a process ended with {os.waitstatus_to_exitcode(status)}; it ran {code}")
        out.seek(0)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode()


def measure(folder: Path, rounds: int) -> dict[str, Cost]:
    """The costs of ``import torch``, of the public name and of every command."""
    imports = (TORCH, DRAWING, "from dcrnn_fast import DCRNN")
    codes = dict(zip(imports, imports, strict=True))
    codes |= {name: _RUN.format(repetitions=1, words=words) for name, words in commands(folder).items()}
    costs = {name: Cost() for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            seconds, mib, _ = run(code, folder)
            costs[name].include(seconds, mib)
    for name, words in commands(folder).items():
        own = [float(run(_RUN.format(repetitions=2, words=words), folder)[2]) for _ in range(min(rounds, 3))]
        costs[name].own_seconds = min(own)
    return costs


def main() -> None:
    """Measures, prints a table, and writes it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        costs = measure(Path(name), flags.rounds)
    base = costs[TORCH]
    drawing_seconds = costs[DRAWING].seconds - base.seconds
    print(
        f"{'':31} {'seconds':>8} {'own work':>9} {'rest / torch':>13} {'no drawing':>11} {'MiB':>6} {'MiB / torch':>12}"
    )
    for name, cost in costs.items():
        rest = cost.seconds - cost.own_seconds
        undrawn = rest - (drawing_seconds if name in DRAW else 0.0)
        print(
            f"{name:31} {cost.seconds:8.2f} {cost.own_seconds:9.2f} {rest / base.seconds:13.2f} "
            f"{undrawn / base.seconds:11.2f} {cost.mib:6.0f} {cost.mib / base.mib:12.2f}"
        )
    if flags.json is not None:
        flags.json.write_text(json.dumps({name: asdict(cost) for name, cost in costs.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
