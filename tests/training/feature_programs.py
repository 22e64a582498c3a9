"""What the ranks of a test run of global batches, averages and bad steps do; called by name in the rank server."""

import hashlib
import json
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rank_programs import SMALL, train, uneven_data

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.data.batches import GlobalBatch
from dcrnn_fast.data.dataset import Batch
from dcrnn_fast.ranks.group import join_ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.progress import Outcome
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.step import EagerStep


def curve(folder: str, batch_size: int) -> None:
    """Two epochs of steps of 8 windows in float64; rank 0 saves losses, norms, weights and how often it was summed."""
    sums = []
    real = dist.all_reduce

    def counted(tensor: torch.Tensor) -> None:
        sums.append(tensor.is_floating_point())
        real(tensor)

    dist.all_reduce = counted
    ranks = join_ranks(60)
    with ranks.reporting_failure():
        ranks.connect(torch.device("cpu"), 60)
        torch.set_num_threads(1)
        training = TrainingConfig(
            batch_size=batch_size, global_batch_size=8, loss_unit="deviation", device="cpu", clip_norm=0.5
        )
        config = resolved(Config(data=SMALL, model=ModelConfig(hidden_units=4), training=training), ranks.world)
        run = make_run(config, uneven_data(config), ranks, dtype=torch.float64)
        stepper, losses, norms = EagerStep(run), [], []
        for epoch in range(2):
            for batch in run.batches.epoch(epoch):
                outcome = stepper.take(batch, len(losses), 0.01, StopRequest())
                assert outcome is not None
                losses.append(outcome.loss)
                norms.append(outcome.norm)
        weights = torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()]).numpy()
    if ranks.is_first:
        name = f"{ranks.world}x{batch_size}x{config.training.accumulate}.npz"
        np.savez(Path(folder, name), losses=losses, norms=norms, weights=weights, sums=sum(sums))


def logs_windows(log: str, stop_at: int, *flags: str) -> int:
    """Trains; each rank adds the windows of its steps to its log. Rank 0 asks to stop before step ``stop_at``."""
    take = EagerStep.take

    def logged(self: EagerStep, global_batch: GlobalBatch, step: int, rate: float, stop: StopRequest) -> Outcome | None:
        run = self._run
        if step == stop_at and run.ranks.is_first:
            os.kill(os.getpid(), signal.SIGTERM)
        outcome = take(self, global_batch, step, rate, stop)
        if outcome is not None:
            mine = global_batch.share(run.ranks.rank, run.ranks.world, run.config.training.accumulate)
            with open(f"{log}.{run.ranks.rank}", "a") as file:
                file.write(json.dumps([step, np.concatenate(mine).tolist()]) + "\n")
        return outcome

    EagerStep.take = logged
    return train(*flags)


def poisoned_on_rank_1(log: str, *flags: str) -> int:
    """Trains; at the third step rank 1 alone reads NaN. Each rank logs its weights and their average before a step."""
    module = sys.modules["dcrnn_fast.training.step"]
    gather, seen = module.micro_batches_of, []

    def poisoned(run: Run, global_batch: GlobalBatch) -> tuple[list[Batch], list[int]]:
        batches, observed_O = gather(run, global_batch)
        seen.append([_digest(run.model.state_dict()), _digest(run.average.to_state())])
        if len(seen) == 3 and run.ranks.rank == 1:
            batches = [replace(batch, x_BPNC=batch.x_BPNC * math.nan) for batch in batches]
        return batches, observed_O

    module.micro_batches_of = poisoned
    code = train(*flags)
    Path(f"{log}.{os.environ['RANK']}").write_text(json.dumps(seen))
    return code


def _digest(weights: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights.values())).hexdigest()
