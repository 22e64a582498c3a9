"""What saving costs a training: steps that save, steps beside a save in the background, and a save that is waited for.

    python -m bench.saving [--steps 60] [--every 6] [--nodes 207] [--batch-size 64]

One process trains the built-in city; every so many steps it saves as ``--save-every-steps`` does. Printed: medians, and
their ratios to a step beside which nothing is saved. Nothing is asserted.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.machine import circumstances
from dcrnn_fast.checkpoints.save import LATEST, save_checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resume import state_of
from dcrnn_fast.training.run import make_run
from dcrnn_fast.training.saving import saving
from dcrnn_fast.training.step import EagerStep


def measure(flags: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds of each step, by what happened beside it; and of saves that are waited for, the step not included."""
    config = Config(
        data=DataConfig(city_nodes=flags.nodes, city_days=10),
        training=TrainingConfig(batch_size=flags.batch_size, device=flags.device),
        output=OutputConfig(results=str(folder), save_every_steps=flags.every),
    )
    ranks = Ranks(device=torch.device(flags.device))
    run = make_run(config, open_data(config.data, config.graph), ranks)
    (folder / "checkpoints").mkdir()
    stepper, progress, stop = EagerStep(run), Progress(), StopRequest()
    found: dict[str, list[float]] = {"no save": [], "saves": [], "after a save": [], "save, waited for": []}
    batches = [batch for epoch in range(1 + flags.steps) for batch in run.batches.epoch(epoch)][: flags.steps + 3]
    with saving(run, progress, Watchers([]), FolderLock()) as saver:
        for number, batch in enumerate(batches):
            began = time.perf_counter()
            outcome = stepper.take(batch, progress.step, 1e-3, stop)
            assert outcome is not None
            progress.count_step(outcome, batch.stop)
            saver.after_step()
            seconds = time.perf_counter() - began
            if number >= 3:  # the first ones allocate and compile
                kinds = {0: "saves", 1: "after a save"}
                found[kinds.get(progress.step % flags.every, "no save")].append(seconds)
    for _ in range(10):
        began = time.perf_counter()
        save_checkpoint(folder / "checkpoints", state_of(run, progress), LATEST)
        found["save, waited for"].append(time.perf_counter() - began)
    found["size"] = [float((folder / "checkpoints" / LATEST).stat().st_size)]
    return found


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--nodes", type=int, default=207)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="on the disk to measure; left out: a temporary one")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        found = measure(flags, Path(folder))
    size = found.pop("size")[0]
    step = statistics.median(found["no save"])
    print(circumstances())
    print(f"a checkpoint has {size / 2**20:.1f} MiB; {flags.nodes} sensors, {flags.batch_size} windows a step")
    print("| | count | median, ms | of a step |\n|---|---:|---:|---:|")
    for kind, seconds in found.items():
        median = statistics.median(seconds)
        print(f"| {kind} | {len(seconds)} | {1000 * median:.1f} | {median / step:.3f} |")


if __name__ == "__main__":
    main()
