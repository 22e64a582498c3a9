"""What watching costs: optimiser steps with every watcher on, beside the same steps with none.

    python -m bench.watching [--nodes 207] [--batch-size 64] [--steps 20] [--rounds 5] [--wandb]

Both sides take turns in one process, on the same model; a turn is one epoch of ``--steps`` steps, and its time is that
of its steps, not of opening and closing. The best turn of each side counts. With many short turns the monitors would
hardly read: let a turn last several seconds. Processor time is this process's, all threads; it says more on a machine
that does other work. Weights & Biases (offline) is on with ``--wandb``, and works in a process of its own besides.
Nothing is asserted.
"""

import argparse
import contextlib
import io
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config, OutputConfig, WatchConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.records.events import Started, Starting, Stepped
from dcrnn_fast.records.watchers import Watchers, open_watchers
from dcrnn_fast.training.loop import train_epoch
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.start import open_run
from dcrnn_fast.training.step import EagerStep

_TOLD = 900
"""fewer than may wait for a slow watcher"""
_LATER = 1_000_000
_SETTLES = 3.0
"""seconds for the trackers' threads to start what they need, once a run"""


def opened(run: Run) -> Watchers:
    """All watchers, as a run begins them."""
    watchers = open_watchers(run.config)
    watchers.tell(Starting())
    watchers.tell(Started(False, 0, 0, (), 1, len(run.data.train), len(run.data.validation), (("speed", "mph"),)))
    time.sleep(_SETTLES)
    return watchers


def turn(run: Run, stepper: EagerStep, watchers: Watchers) -> tuple[float, float]:
    """Seconds and processor seconds of a step, mean over an epoch."""
    progress, steps = Progress(), run.batches.num_batches()
    wall, processor = time.perf_counter(), time.process_time()
    train_epoch(run, stepper, progress, StopRequest(), watchers, lambda: None)
    return (time.perf_counter() - wall) / steps, (time.process_time() - processor) / steps


def cost_of_telling(watchers: Watchers) -> float:
    """Seconds for which the loop waits when it tells of a step."""
    began = time.perf_counter()
    for number in range(_TOLD):
        watchers.tell(Stepped(0, _LATER + number, 1, 1.0, 0.01))
    return (time.perf_counter() - began) / _TOLD


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=207)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--wandb", action="store_true", help="Weights & Biases too, offline")
    flags = parser.parse_args()
    windows = flags.steps * flags.batch_size
    days = 2 + math.ceil(windows / 0.7 / 288)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = Config(
            data=DataConfig(city_nodes=flags.nodes, city_days=days, max_train_windows=windows),
            training=TrainingConfig(batch_size=flags.batch_size, threads=flags.threads),
            output=OutputConfig(results=str(Path(folder) / "run")),
            watch=WatchConfig(
                monitor_gpu=True, monitor_cpu=True, tensorboard=True, wandb="offline" if flags.wandb else "off"
            ),
        )
        Path(config.output.results).mkdir()
        run, _ = open_run(config, Ranks())
        stepper = EagerStep(run)
        turn(run, stepper, Watchers([]))  # everything is loaded and allocated
        best = {"none": (math.inf, math.inf), "all": (math.inf, math.inf)}
        told = math.inf
        for number in range(flags.rounds):
            for side in ("none", "all") if number % 2 else ("all", "none"):
                run.config = replace(config, data=run.config.data)
                with contextlib.closing(opened(run) if side == "all" else Watchers([])) as watchers:
                    times = turn(run, stepper, watchers)
                    if side == "all":
                        told = min(told, cost_of_telling(watchers))
                best[side] = (min(best[side][0], times[0]), min(best[side][1], times[1]))
    print(f"{'watchers':10}{'s a step':>12}{'processor s':>14}")
    for side, (wall, processor) in best.items():
        print(f"{side:10}{wall:12.5f}{processor:14.5f}")
    ratio = [ours / theirs for ours, theirs in zip(best["all"], best["none"], strict=True)]
    print(f"{'ratio':10}{ratio[0]:12.4f}{ratio[1]:14.4f}")
    print(f"telling of a step: {1e6 * told:.1f} microseconds")


if __name__ == "__main__":
    main()
