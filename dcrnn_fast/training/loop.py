"""The training loop: one epoch of optimiser steps, and one pass over the validation windows.

Shape legend: B batch, F future steps, N nodes, O output channels.
"""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.data.batches import GlobalBatch, GlobalBatches
from dcrnn_fast.data.dataset import Batch
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.model.scheduled_sampling import feed_label_coins
from dcrnn_fast.training.display import Display, Standing
from dcrnn_fast.training.distributed import SharedError, names
from dcrnn_fast.training.loss import error_sum, gradient_factor, loss_value, original_units
from dcrnn_fast.training.nvtx_ranges import nvtx_range
from dcrnn_fast.training.optimizer import set_learning_rate
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.records import Events
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.schedule import learning_rate
from dcrnn_fast.training.stopping import StopRequest


def train_epoch(
    run: Run,
    progress: Progress,
    stop: StopRequest,
    display: Display,
    events: Events,
    after_step: Callable[[], None],
) -> bool:
    """Trains from where ``progress`` stands to the end of its epoch; False: stopped before that, on request.

    The only waits for the device are marked. Every decision hangs on numbers that are the same on all ranks.

    Raises:
        UserError: more steps in a row with a non-finite gradient than allowed; the windows are named.
    """
    config, ranks, gradients = run.config.training, run.ranks, run.gradients
    run.model.train()
    for global_batch in run.batches.epoch(progress.epoch, progress.position):
        began = time.perf_counter()
        with nvtx_range("data"):
            micro_batches = micro_batches_of(run, global_batch)
            observed_here = sum(int(batch.observed_BFNO.sum()) for batch in micro_batches)
            micro_batches = [batch.to(ranks.device) for batch in micro_batches]
        with nvtx_range("count"):  # before the first backward: the divisor of every micro-batch's loss
            observed, asked_to_stop = ranks.sum_integers(observed_here, stop.requested)
        if asked_to_stop:
            return False

        accumulate_gradients(run, micro_batches, observed, label_coins(run, progress.step))
        with nvtx_range("all_reduce"):
            ranks.sum_(gradients.buffer, "adding up gradients")
        with nvtx_range("optimizer"):
            loss = loss_value(gradients.error_sum, observed, config)
            finish_gradient(run, loss)
            norm = gradients.norm()
            total_value, loss_, norm_ = torch.stack([gradients.error_sum, loss, norm]).tolist()  # waits for the device
            finite = math.isfinite(norm_) and math.isfinite(loss_)
            only_overflow = run.loss_scale.update(finite)
            if finite:
                gradients.clip(norm, config.clip_norm)
                set_learning_rate(run.optimizer, rate_of(run, progress))
                run.optimizer.step()

        progress.step += 1
        progress.position = global_batch.stop
        if finite:
            progress.bad_in_a_row = 0
            progress.good_steps += 1
            progress.error_sum += total_value
            progress.observed += observed
            progress.norm_sum += norm_
        else:
            progress.skipped_steps += 1
            progress.bad_in_a_row += not only_overflow
            _tell_bad_step(run, progress, global_batch, events, display, norm_, only_overflow)
        progress.train_seconds += time.perf_counter() - began
        display.step(
            Standing(
                progress.epoch + 1, config.epochs, progress.position, len(run.data.train), epoch_loss(run, progress)
            )
        )
        after_step()
    return True


def micro_batches_of(run: Run, global_batch: GlobalBatch) -> list[Batch]:
    """This rank's windows of the global batch, gathered; empty shares of a small last batch are left out."""
    shares = global_batch.share(run.ranks.rank, run.ranks.world, run.config.training.accumulate)
    return [run.data.gather(run.data.train.starts_W[windows]) for windows in shares if len(windows)]


def accumulate_gradients(run: Run, micro_batches: Sequence[Batch], observed: int, feed_label_F: Tensor | None) -> None:
    """Fills ``run.gradients`` with this rank's part of the gradient of (error sum / ``observed``), and the error sum.

    Args:
        observed: observed targets of the global batch, over all ranks and micro-batches.
    """
    config, gradients = run.config.training, run.gradients
    gradients.zero()
    for batch in micro_batches:
        with nvtx_range("forward"):
            scaled_BFNO = run.predict(batch, feed_label_F)
        with nvtx_range("loss"):
            forecast_BFNO = original_units(scaled_BFNO, run.mean_O, run.std_O)
            errors = error_sum(forecast_BFNO, batch.y_BFNO, batch.observed_BFNO, config)
        with nvtx_range("backward"):
            (errors * (run.loss_scale.scale / max(observed, 1))).backward()
            gradients.error_sum.add_(errors.detach())


def finish_gradient(run: Run, loss: Tensor) -> None:
    """After the all-reduce: undoes the loss scale, and for RMSE turns the mean's gradient into its root's."""
    if run.loss_scale.scale != 1.0:
        run.gradients.gradient.mul_(1.0 / run.loss_scale.scale)
    factor = gradient_factor(loss, run.config.training)
    if factor is not None:
        run.gradients.gradient.mul_(factor)


def label_coins(run: Run, step: int) -> Tensor | None:
    """(F,) bool for this step, the same on every rank; None: the decoder reads its own forecasts."""
    config = run.config.training
    if config.teacher_forcing == "off":
        return None
    if config.teacher_forcing == "on":
        return torch.ones(run.model.future_steps, dtype=torch.bool)
    return feed_label_coins(config.seed, step, run.model.future_steps, config.sampling_decay)


def rate_of(run: Run, progress: Progress) -> float:
    """The learning rate of the step that comes next."""
    return learning_rate(
        run.config.training,
        epoch=progress.epoch,
        step=progress.step,
        total_steps=run.total_steps,
        validation_errors=progress.validation_errors,
    )


def epoch_loss(run: Run, progress: Progress) -> float:
    """The loss over all good steps of the current epoch so far; NaN before the first."""
    if progress.good_steps == 0:
        return math.nan
    total = torch.tensor(progress.error_sum, dtype=torch.float64)
    return float(loss_value(total, progress.observed, run.config.training))


@torch.no_grad()
def validate(run: Run, stop: StopRequest) -> HorizonSums | None:
    """Error sums over the validation windows of all ranks, each window once; None: stopped before the end, on request.

    The decoder reads its own forecasts, whatever training does.
    """
    windows, ranks = run.data.validation, run.ranks
    form = run.data.window_format
    sums = HorizonSums(form.future_steps, run.data.graph.num_nodes, form.output_channels, device=ranks.device)
    run.model.eval()
    rounds = GlobalBatches(len(windows), run.config.training.batch_size * ranks.world, shuffle=False)
    for global_batch in rounds.epoch(0):
        (asked_to_stop,) = ranks.sum_integers(stop.requested)
        if asked_to_stop:
            return None
        (mine,) = global_batch.share(ranks.rank, ranks.world, 1)
        if len(mine):
            with nvtx_range("validation"):
                batch = run.data.gather(windows.starts_W[mine]).to(ranks.device)
                forecast_BFNO = original_units(run.predict(batch), run.mean_O, run.std_O)
                sums.add(forecast_BFNO, batch.y_BFNO, batch.observed_BFNO)
    ranks.sum_(sums.sums_SFNO, "adding up validation errors")
    return sums


def _tell_bad_step(
    run: Run,
    progress: Progress,
    global_batch: GlobalBatch,
    events: Events,
    display: Display,
    norm: float,
    only_overflow: bool,
) -> None:
    if only_overflow:
        events.add("overflow", step=progress.step, loss_scale=run.loss_scale.scale)
        return
    starts = run.data.train.starts_W[global_batch.windows]
    events.add("bad_step", step=progress.step, gradient_norm=str(norm), windows=starts.tolist())
    times = np.datetime_as_string(run.data.target_times(starts)[:, 0])
    said = names([f"{start} ({when})" for start, when in zip(starts.tolist(), times, strict=True)])
    line = f"step {progress.step}: gradient norm {norm}, step skipped; windows by first row (first target): {said}"
    limit = run.config.training.max_bad_steps
    if progress.bad_in_a_row > limit:
        raise SharedError(
            f"{line}; {progress.bad_in_a_row} such step(s) in a row, max_bad_steps is {limit}: stopped, the last good "
            "checkpoint is kept; look at these windows, or lower the learning rate"
        )
    display.say(line)
