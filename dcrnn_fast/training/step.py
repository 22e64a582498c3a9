"""One optimiser step, launch by launch: gather, count, forward and backward of each micro-batch, all-reduce, update.

Shape legend: B batch, F future steps, N nodes, O output channels.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.data.batches import GlobalBatch
from dcrnn_fast.data.dataset import Batch
from dcrnn_fast.errors import UserError
from dcrnn_fast.model.scheduled_sampling import feed_label_coins
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.loss import channel_weights, error_sum, gradient_factor, in_loss_unit, loss_value
from dcrnn_fast.training.memory import naming_what_fits, require_room
from dcrnn_fast.training.optimizer import set_learning_rate
from dcrnn_fast.training.progress import Outcome
from dcrnn_fast.training.run import Run


class EagerStep:
    """Takes optimiser steps of ``run`` in any precision, on any device, with any batch size."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def gathered(self, global_batches: Iterable[GlobalBatch]) -> Iterator[np.ndarray]:
        """First rows of the windows of each gathering of these steps, in order."""
        return chain.from_iterable(starts_of(self._run, batch) for batch in global_batches)

    def take(self, global_batch: GlobalBatch, step: int, rate: float, stop: StopRequest) -> Outcome | None:
        """Step number ``step`` at learning rate ``rate``; None: some rank was asked to stop, nothing was done.

        The only wait for the device is marked. Every decision hangs on numbers that are the same on all ranks.
        """
        run, ranks, gradients = self._run, self._run.ranks, self._run.gradients
        with run.phases("data"):
            micro_batches, observed_here_O = micro_batches_of(run, global_batch)
        with run.phases("count"):  # before the first backward: the divisor of every micro-batch's loss
            *observed_O, asked_to_stop = ranks.sum_integers(*observed_here_O, stop.requested)
        if asked_to_stop:
            return None
        observed = sum(observed_O)
        accumulate_gradients(run, micro_batches, observed_O, label_coins(run, step))
        with run.phases("all_reduce"):
            ranks.replicas.sum_(gradients.buffer, "adding up gradients")
        with run.phases("optimizer"):
            loss = loss_value(gradients.error_sum, observed, run.config.training)
            finish_gradient(run, loss)
            norm = gradients.norm()
            total_value, loss_, norm_ = torch.stack([gradients.error_sum, loss, norm]).tolist()  # waits for the device
            finite = math.isfinite(norm_) and math.isfinite(loss_)
            only_overflow = run.loss_scale.update(finite)
            if finite:
                gradients.clip(norm, run.config.training.clip_norm)
                set_learning_rate(run.optimizer, rate)
                run.optimizer.step()
        return Outcome(total_value, loss_, norm_, observed, finite, only_overflow)


def micro_batches_of(run: Run, global_batch: GlobalBatch) -> tuple[list[Batch], list[int]]:
    """This rank's windows of the global batch on its device, and how many observed targets of each channel they have.

    Empty shares of a small last batch are left out.
    """
    starts = starts_of(run, global_batch)
    observed_O = np.zeros(run.data.window_format.output_channels, dtype=np.int64)
    if run.device_windows is not None:
        observed_O += sum(run.device_windows.count_observed(s) for s in starts)
        return [run.gather(s) for s in starts], observed_O.tolist()
    batches = [run.host_windows.gather(s) for s in starts]
    for batch in batches:
        observed_O += batch.count_observed()
    return [batch.to(run.ranks.device) for batch in batches], observed_O.tolist()


def starts_of(run: Run, global_batch: GlobalBatch) -> list[np.ndarray]:
    """First rows of this rank's windows, for each micro-batch that has some."""
    replicas = run.ranks.replicas
    shares = global_batch.share(replicas.rank, replicas.size, run.config.training.accumulate)
    return [run.data.train.starts_W[windows] for windows in shares if len(windows)]


def accumulate_gradients(
    run: Run, micro_batches: Sequence[Batch], observed_O: Sequence[int], feed_label_F: Tensor | None
) -> None:
    """Fills ``run.gradients`` with this rank's part of the gradient of (error sum / observed), and the error sum.

    Args:
        observed_O: observed targets of each channel in the global batch, over all ranks and micro-batches.
    """
    config, gradients, observed = run.config.training, run.gradients, sum(observed_O)
    weights = channel_weights(observed_O, config)
    weight_O = None if weights is None else torch.tensor(weights, dtype=torch.float64, device=run.ranks.device)
    gradients.zero()
    for batch in micro_batches:
        with run.phases("forward"):
            scaled_BFNO = run.predict(batch, feed_label_F)
        with run.phases("loss"):
            forecast_BFNO, target_BFNO = in_loss_unit(
                scaled_BFNO, batch.y_BFNO, batch.labels_BFNO, run.mean_O, run.std_O, config
            )
            errors = error_sum(forecast_BFNO, target_BFNO, batch.observed_BFNO, config, weight_O)
        with run.phases("backward"):
            (errors * (run.loss_scale.scale / max(observed, 1))).backward()
            gradients.error_sum.add_(errors.detach())


def finish_gradient(run: Run, loss: Tensor) -> None:
    """After the all-reduce: undoes the loss scale, and for RMSE turns the mean's gradient into its root's."""
    if run.loss_scale.scale != 1.0:
        run.gradients.gradient.mul_(1.0 / run.loss_scale.scale)
    factor = gradient_factor(loss, run.config.training)
    if factor is not None:
        run.gradients.gradient.mul_(factor)


def try_window(run: Run) -> None:
    """Forward, loss and backward of one training window, on this rank alone; no weight moves.

    With ``compile`` of a micro-batch: other shapes are compiled to other kernels, and a compiler may fail at some only.

    Raises:
        UserError: the backend that was asked for cannot run here, or not with this ``save``; the model cannot be
            compiled; a step needs more memory than there is; loss or gradient is not finite, unless ``max_bad_steps``
            or the loss scale is there for such steps.
    """
    require_room(run)
    windows = run.config.training.batch_size if run.config.training.compile else 1
    starts = run.data.train.starts_W[: len(run.data.train) // 2 + 1][-windows:]
    batch = run.gather(starts)
    observed_O = batch.count_observed().tolist()
    run.model.train()
    try:
        with naming_what_fits(run), run.phases.uncounted():
            accumulate_gradients(run, [batch], observed_O, label_coins(run, 0))
    except NotImplementedError as error:
        raise UserError(str(error)) from error
    loss = float(loss_value(run.gradients.error_sum, sum(observed_O), run.config.training))
    norm = float(run.gradients.norm())
    if (math.isfinite(loss) and math.isfinite(norm)) or run.config.training.max_bad_steps or run.loss_scale.moves:
        return
    series = run.data.series
    unit = ", or train with --loss-unit deviation" if run.config.training.loss_unit == "original" else ""
    t, n, c = np.unravel_index(np.abs(series.values_TNC).argmax(), series.values_TNC.shape)
    raise UserError(
        f"loss and gradient must be finite, the window of {run.data.target_times(starts)[-1, 0]} gives {loss:.4g} and "
        f"{norm:.4g}; the largest reading is {series.values_TNC[t, n, c]:.4g}, sensor {series.ids[n]!r} at "
        f"{series.times_T[t]}: leave wrong readings empty{unit}"
    )


def label_coins(run: Run, step: int) -> Tensor | None:
    """(F,) bool for this step, the same on every rank; None: the decoder reads its own forecasts."""
    config = run.config.training
    if config.teacher_forcing == "off":
        return None
    if config.teacher_forcing == "on":
        return torch.ones(run.model.future_steps, dtype=torch.bool)
    return feed_label_coins(config.seed, step, run.model.future_steps, config.sampling_decay)
