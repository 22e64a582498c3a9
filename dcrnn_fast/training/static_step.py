"""The optimiser step with fixed shapes and no wait inside, so that a GPU can replay it as CUDA graphs.

Everything that changes from step to step is a tensor at a fixed address: the windows' first rows, which of them count,
the coins of scheduled sampling, the number of observed targets, the channels' weights, the learning rate. Two graphs
stand around the all-reduce: one for a micro-batch (gather, forward, backward), one for the update (norm, clipping,
Adam). A batch that is not full, the last of an epoch, is filled up with windows whose targets do not count. An update
with a non-finite gradient is masked, as a gradient scaler does it: neither weights nor moments move. Windows of a
series that is not on the device are gathered on the host, and copied to where the graph reads them.

If a capture fails, or the device is a CPU, the same functions run launch by launch, and one line says so.

Shape legend: B windows of one micro-batch, K micro-batches, F future steps.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
import torch

from dcrnn_fast.data.batches import GlobalBatch
from dcrnn_fast.data.device_windows import HostWindows
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.cuda_graphs import capture, warm_up
from dcrnn_fast.training.loss import channel_weights, error_sum, gradient_factor, in_loss_unit, loss_mean
from dcrnn_fast.training.optimizer import make_static
from dcrnn_fast.training.progress import Outcome
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.step import label_coins, starts_of


class StaticStep:
    """Takes optimiser steps of ``run`` (fp32 or bf16) by replaying two CUDA graphs.

    Made after a resumed state is in place: Adam's moments must exist, at the addresses that they keep.
    """

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        training, device = run.config.training, run.ranks.device
        self._run = run
        self._windows = run.device_windows or HostWindows(run.own_data, device, training.batch_size, run.host_windows)
        pinned = device.type == "cuda"
        shape_KB = (training.accumulate, training.batch_size)
        self._host_starts_KB = torch.zeros(shape_KB, dtype=torch.int64, pin_memory=pinned)
        self._host_counts_KB = torch.zeros(shape_KB, dtype=torch.bool, pin_memory=pinned)
        self._host_coins_F = torch.zeros(run.model.future_steps, dtype=torch.bool, pin_memory=pinned)
        self._starts_B = torch.zeros(training.batch_size, dtype=torch.int64, device=device)
        self._counts_B = torch.zeros(training.batch_size, dtype=torch.bool, device=device)
        self._coins_F = torch.zeros(run.model.future_steps, dtype=torch.bool, device=device)
        self._observed = torch.ones((), dtype=run.gradients.buffer.dtype, device=device)
        channels = run.data.window_format.output_channels
        weighted = channel_weights([1] * channels, training) is not None
        self._weight_O = torch.ones(channels, dtype=torch.float64, device=device) if weighted else None
        self._masked = torch.ones((), device=device)  # 1: the warm-up's updates change nothing
        self._results = torch.zeros(3, dtype=run.gradients.buffer.dtype, device=device)
        self._rate = make_static(run.optimizer, device)
        self.micro_batch: Callable[[], None] = self._micro_batch
        self.update: Callable[[], None] = self._update
        with run.phases.uncounted():
            self._capture(say)

    def gathered(self, global_batches: Iterable[GlobalBatch]) -> Iterator[np.ndarray]:
        """As ``EagerStep.gathered``."""
        starts = chain.from_iterable(starts_of(self._run, batch) for batch in global_batches)
        return (self._filled(rows) for rows in starts)

    def take(self, global_batch: GlobalBatch, step: int, rate: float, stop: StopRequest) -> Outcome | None:
        """As ``EagerStep.take``: the only wait for the device is for the results of the complete step."""
        run, ranks = self._run, self._run.ranks
        with run.phases("data"):
            micro_batches, observed_here_O = self._place(global_batch)
        with run.phases("count"):
            *observed_O, asked_to_stop = ranks.sum_integers(*observed_here_O, stop.requested)
        if asked_to_stop:
            return None
        coins_F = label_coins(run, step)
        if coins_F is not None:
            self._host_coins_F.copy_(coins_F)
            self._coins_F.copy_(self._host_coins_F, non_blocking=True)
        observed = sum(observed_O)
        self._observed.fill_(max(observed, 1))
        weights = channel_weights(observed_O, run.config.training)
        if self._weight_O is not None and weights is not None:
            self._weight_O.copy_(torch.tensor(weights, dtype=torch.float64))
        self._rate.fill_(rate)
        self._masked.zero_()
        run.gradients.zero()
        for k in range(micro_batches):
            self._starts_B.copy_(self._host_starts_KB[k], non_blocking=True)
            self._counts_B.copy_(self._host_counts_KB[k], non_blocking=True)
            if isinstance(self._windows, HostWindows):
                self._windows.place(self._host_starts_KB[k].numpy())
            self.micro_batch()
        with run.phases("all_reduce"):
            ranks.sum_(run.gradients.buffer, "adding up gradients")
        self.update()
        total_value, loss, norm = self._results.tolist()  # waits for the device
        return Outcome(total_value, loss, norm, observed, math.isfinite(loss) and math.isfinite(norm))

    def _place(self, global_batch: GlobalBatch) -> tuple[int, list[int]]:
        """Fills the buffers that this rank's windows are copied from; returns the number of micro-batches with a
        window, and the observed targets of each channel.
        """
        observed_O = np.zeros(self._run.data.window_format.output_channels, dtype=np.int64)
        micro_batches = starts_of(self._run, global_batch)
        for k, starts in enumerate(micro_batches):
            self._host_starts_KB[k] = torch.from_numpy(self._filled(starts))
            self._host_counts_KB[k] = torch.arange(self._host_counts_KB.shape[1]) < len(starts)
            observed_O += self._windows.count_observed(starts)
        return len(micro_batches), observed_O.tolist()

    def _filled(self, starts: np.ndarray) -> np.ndarray:
        """As many first rows as a micro-batch has room for."""
        filled = np.full(self._run.config.training.batch_size, starts[0])
        filled[: len(starts)] = starts
        return filled

    def _micro_batch(self) -> None:
        """Adds the gradient of the windows at ``_starts_B``; the launches of one graph."""
        run, config = self._run, self._run.config.training
        with run.phases("data"):
            batch = self._windows.gather(self._starts_B)
            observed_BFNO = batch.observed_BFNO & self._counts_B[:, None, None, None]
        with run.phases("forward"):
            scaled_BFNO = run.predict(batch, None if config.teacher_forcing == "off" else self._coins_F)
        with run.phases("loss"):
            forecast_BFNO, target_BFNO = in_loss_unit(
                scaled_BFNO, batch.y_BFNO, batch.labels_BFNO, run.mean_O, run.std_O, config
            )
            errors = error_sum(forecast_BFNO, target_BFNO, observed_BFNO, config, self._weight_O)
        with run.phases("backward"):
            (errors * (1.0 / self._observed)).backward()
            run.gradients.error_sum.add_(errors.detach())

    def _update(self) -> None:
        """Norm, clipping and Adam on the summed gradient; the launches of the other graph."""
        run, gradients, config = self._run, self._run.gradients, self._run.config.training
        with run.phases("optimizer"):
            loss = loss_mean(gradients.error_sum / self._observed, config)
            factor = gradient_factor(loss, config)
            if factor is not None:
                gradients.gradient.mul_(factor)
            norm = gradients.norm()
            bad = ~(torch.isfinite(norm) & torch.isfinite(loss))
            self._results.copy_(torch.stack([gradients.error_sum, loss, norm]))
            gradients.clip(norm, config.clip_norm)
            run.optimizer.found_inf = torch.maximum(bad.float(), self._masked)  # type: ignore[attr-defined]
            run.optimizer.step()

    def _capture(self, say: Callable[[str], None]) -> None:
        run, device = self._run, self._run.ranks.device
        self._starts_B.fill_(int(run.data.train.starts_W[0]))
        if device.type != "cuda":
            self._warm_up()
            say(f"cuda graphs: the device is {device.type}; the same step runs launch by launch")
            return
        warm_up(self._warm_up, device)
        try:
            micro_batch = capture(self._micro_batch, device)
            update = capture(self._update, device, micro_batch.pool())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            say(f"cuda graphs: the capture failed ({reason}); the same step runs launch by launch")
            return
        self.micro_batch, self.update = micro_batch.replay, update.replay
        run.phases.are_one()
        say("cuda graphs: captured, one for a micro-batch and one for the update")

    def _warm_up(self) -> None:
        """Makes Adam's moments, and everything that is compiled or allocated on first use; changes no weight."""
        self._run.gradients.zero()
        self._micro_batch()
        self._update()
