"""What the ranks of a test run; called by name in processes of the rank server."""

import dataclasses
import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.ranks import failure
from dcrnn_fast.ranks.group import join_ranks
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals
from dcrnn_fast.records import watchers
from dcrnn_fast.records.events import Event, Stepped
from dcrnn_fast.records.watcher import Watcher
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.loss import loss_value
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.step import (
    EagerStep,
    accumulate_gradients,
    finish_gradient,
    label_coins,
    micro_batches_of,
    starts_of,
)

SMALL = DataConfig(city_nodes=5, city_days=3, past_steps=3, future_steps=4, max_train_windows=40)


def debug_config(*flags: str) -> Config:
    """The preset ``debug`` on one thread, with flags."""
    return parse(Config, ["--threads", "1", *flags], prog="t", description="", default=load_config("debug"))


def train(*flags: str) -> int:
    """``fit`` as the command runs it, without the evaluation after it."""

    def body(argv: list[str]) -> int:
        with stop_on_signals() as stop:
            result = fit(debug_config(*argv), stop=stop)
        return 85 if result.stopped_by_signal else 0

    return run_command("train", body, list(flags))


def command(*flags: str) -> int:
    """``dcrnn-fast train``."""
    return sys.modules["dcrnn_fast.train"].main(list(flags))


def uneven_data(config: Config) -> ForecastData:
    """The small city with missing readings whose share differs from window to window; some windows have none at all.

    Where the loss is in deviations, with a second target of another magnitude, of which a third as many are observed.
    """
    data = open_data(config.data, config.graph)
    series, own = data.series, config.data
    if config.training.loss_unit == "deviation":
        own = dataclasses.replace(own, targets=("speed", "share"))
        values_TNC = np.concatenate([series.values_TNC, 0.2 - 1e-3 * series.values_TNC[:, ::-1]], axis=-1)
        series = dataclasses.replace(series, values_TNC=values_TNC, channels=own.targets, units=("", ""))
    chance_T11 = np.linspace(0, 1.2, series.num_steps)[:, None, None] ** 2
    observed_TNC = np.random.default_rng(1).random(series.values_TNC.shape) > chance_T11
    observed_TNC[..., 1:] &= np.random.default_rng(2).random(series.values_TNC.shape)[..., 1:] > 0.67
    values_TNC = np.where(observed_TNC, series.values_TNC, 0).astype(np.float32)
    series = dataclasses.replace(series, values_TNC=values_TNC, observed_TNC=observed_TNC)
    return assemble_data(series, data.graph, own)


def gradients(folder: str, micro: int, total: int = 8, batch_size: int = 2) -> None:
    """Gradients of three global batches (full, full, the small last one) for every loss, in float64; rank 0 saves."""
    ranks = join_ranks(60)
    assert ranks.world * micro == total
    with ranks.reporting_failure():
        ranks.connect(torch.device("cpu"), 60)
        torch.set_num_threads(1)
        found = {}
        for unit, loss in itertools.product(("original", "deviation"), ("mae", "mse", "rmse", "huber")):
            training = TrainingConfig(
                loss=loss,
                loss_unit=unit,
                huber_delta=2.0,
                batch_size=batch_size,
                accumulate=micro,
                sampling_decay=5.0,
                device="cpu",
            )
            config = Config(data=SMALL, model=ModelConfig(hidden_units=4), training=training)
            run = make_run(config, uneven_data(config), ranks, dtype=torch.float64)
            for number, batch in enumerate(run.batches.epoch(0)):
                parts, here = micro_batches_of(run, batch)
                observed_O = ranks.sum_integers(*here)
                accumulate_gradients(run, parts, observed_O, label_coins(run, number))
                ranks.sum_(run.gradients.buffer, "testing")
                value = loss_value(run.gradients.error_sum, sum(observed_O), training)
                finish_gradient(run, value)
                found[f"{unit}_{loss}_{number}_gradient"] = run.gradients.gradient.clone().numpy()
                found[f"{unit}_{loss}_{number}_loss"] = value.numpy()
                found[f"{unit}_{loss}_{number}_counts"] = np.array([int(part.observed_BFNO.sum()) for part in parts])
    if ranks.is_first:
        np.savez(Path(folder, f"{ranks.world}x{micro}.npz"), **found)


def fails_on_rank_2(where: str, *flags: str) -> int:
    """A user's mistake that only rank 2 has: in its configuration, its data, or in mid-training."""

    def fail(*_: object, **__: object) -> None:
        raise UserError(f"this rank's own {where} mistake")

    if os.environ["RANK"] == "2":
        name = {"configuration": "_flags", "data": "open_data", "training": "finish_gradient"}[where]
        home = {"configuration": "dcrnn_fast.train", "data": "dcrnn_fast.training.start"}
        setattr(sys.modules[home.get(where, "dcrnn_fast.training.step")], name, fail)
    return command("--config", "debug", "--threads", "1", *flags)


def halts_on_rank_0(where: str) -> int:
    """Rank 0 is halted before the two tell each other something, or connect."""

    def body(argv: list[str]) -> int:
        ranks = join_ranks(60)
        with ranks.reporting_failure():
            ranks.together("beginning", lambda: None)
            if ranks.is_first:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.5)
            ranks.patience, failure._STORE_ANSWERS = 1.0, 1.0
            if where == "reading":
                ranks.together("reading", lambda: None)
            else:
                ranks.connect(torch.device("cpu"), 1)
        return 0

    return run_command("train", body, [])


def in_own_folder(folder: str, *flags: str) -> int:
    """``dcrnn-fast train`` in a folder of its own, as on machines that share no disk."""
    os.chdir(Path(folder, os.environ["RANK"]))
    return command(*flags)


def doctor(planted: str, *flags: str) -> int:
    """``dcrnn-fast doctor --all-ranks``, with something wrong on rank 1: planted is its name, or empty."""
    from dcrnn_fast import doctor as program
    from dcrnn_fast.doctoring import all_ranks

    if os.environ["RANK"] == "1":
        if planted == "clock":
            own_clock = functools.partial(all_ranks.skew_of, clock=lambda: time.time() - 7.25)
            all_ranks.skew_of = own_clock  # type: ignore[assignment]
        elif planted == "numpy":
            np.__version__ = "1.0"
        elif planted == "absent":
            time.sleep(600)
        elif planted.startswith("folder "):
            os.chdir(planted.removeprefix("folder "))
        elif planted:
            name, _, value = planted.partition("=")
            os.environ[name] = value
    return program.main(["--all-ranks", *flags])


def other_version(*flags: str) -> int:
    """Rank 1 has another version of NumPy."""
    if os.environ["RANK"] == "1":
        np.__version__ = "1.0"
    return train(*flags)


def slow_to_print(*flags: str) -> int:
    """``other_version``, and rank 0 takes a while for its message."""
    if os.environ["RANK"] == "0":
        module = sys.modules["dcrnn_fast.command"]
        one_line = module.one_line

        def slowly(error: BaseException) -> str:
            time.sleep(0.15)
            return one_line(error)

        module.one_line = slowly
    return other_version(*flags)


def other_data(*flags: str) -> int:
    """Rank 1 reads a city with another reading."""
    if os.environ["RANK"] == "1":
        module = sys.modules["dcrnn_fast.training.start"]

        def changed(*args: Any, **kwargs: Any) -> ForecastData:
            data = open_data(*args, **kwargs)
            data.series.values_TNC[0, 0, 0] += 1
            return data

        module.open_data = changed
    return train(*flags)


def stops_in_validation(*flags: str) -> int:
    """Is asked to stop while it validates for the first time."""
    module = sys.modules["dcrnn_fast.training.fit"]
    validate = module.validate

    def asked(run: Run, stop: StopRequest, *told: Any) -> HorizonSums | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(run, stop, *told)

    module.validate = asked
    return train(*flags)


def sleeps_on_rank_1(*flags: str) -> int:
    """Rank 1 takes long to get its windows."""
    if os.environ["RANK"] == "1":
        module = sys.modules["dcrnn_fast.training.step"]
        gather = module.micro_batches_of

        def slowly(*args: Any) -> Any:
            time.sleep(1.5)
            return gather(*args)

        module.micro_batches_of = slowly
    return train(*flags)


def fails_late(*flags: str) -> int:
    """Rank 1 fails after fifty steps, at the earliest a second after the first."""
    if os.environ["RANK"] == "1":
        module = sys.modules["dcrnn_fast.training.step"]
        finish = module.finish_gradient
        steps: list[float] = []

        def fail(*args: Any) -> None:
            steps.append(time.monotonic())
            if len(steps) > 50 and steps[-1] - steps[0] > 1:
                raise UserError("this rank's own late mistake")
            finish(*args)

        module.finish_gradient = fail
    return train(*flags)


def reads_copies(node: str, *flags: str) -> int:
    """Notes which files this rank opens within ``node``."""
    module = sys.modules["dcrnn_fast.training.start"]
    opened = module.Staged.open_data

    def noting(self: Any, *args: Any, **kwargs: Any) -> ForecastData:
        names = sorted(path.name for path in Path(self.folder).rglob("*.csv") if path.is_relative_to(node))
        Path(node, f"read.{os.environ['RANK']}").write_text(json.dumps(names))
        return opened(self, *args, **kwargs)

    module.Staged.open_data = noting
    return train(*flags)


class StepsFile(Watcher):
    """A line for each step, in the file that ``train_noting_steps`` is given."""

    path = Path()

    def see(self, event: Event) -> None:
        if isinstance(event, Stepped):
            with open(self.path, "a") as file:
                file.write(f"{event.step}\n")


def train_noting_steps(path: str, *flags: str) -> int:
    """``train``, with the number of each step in a file."""
    StepsFile.path = Path(path)
    watchers.WATCHERS = (*watchers.WATCHERS, StepsFile)
    return train(*flags)


def notes_windows(path: str, stop_at: int, *flags: str) -> int:
    """``train``, with a line for each step that was taken here: its position in the epoch, and its windows' first rows.

    Rank 0 is asked to stop before step ``stop_at``.
    """
    take, rank = EagerStep.take, os.environ.get("RANK", "0")

    def noting(self: EagerStep, batch: Any, step: int, *more: Any) -> Any:
        if step == stop_at and rank == "0":
            os.kill(os.getpid(), signal.SIGUSR1)
        outcome = take(self, batch, step, *more)
        if outcome is not None:
            rows = [row for starts in starts_of(self._run, batch) for row in starts.tolist()]
            with open(f"{path}.{rank}", "a") as file:
                file.write(json.dumps([step, batch.start, rows]) + "\n")
        return outcome

    EagerStep.take = noting
    return train(*flags)


def loses_its_disk(*flags: str) -> int:
    """Rank 0's disk is full from its second save on."""
    sync, saves = os.fsync, itertools.count()

    def full(descriptor: int) -> None:
        # Of each save two files are synced here, the manifest and latest.pt, and their folder twice.
        if threading.current_thread().name.startswith("checkpoints") and next(saves) >= 4:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    os.fsync = full
    return train(*flags)
