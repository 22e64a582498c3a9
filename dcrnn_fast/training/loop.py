"""The training loop: one epoch of optimiser steps, and one pass over the validation windows.

Shape legend: B batch, F future steps, N nodes, O output channels.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from dcrnn_fast.data.batches import GlobalBatch, GlobalBatches
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.messages import some
from dcrnn_fast.ranks.failure import SharedError
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.display import Display, Standing, digits, mae_words
from dcrnn_fast.training.loss import loss_value, original_units
from dcrnn_fast.training.memory import naming_what_fits
from dcrnn_fast.training.nvtx_ranges import nvtx_range
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.records import Events
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.schedule import learning_rate
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep, Outcome


def train_epoch(
    run: Run,
    stepper: EagerStep | StaticStep,
    progress: Progress,
    stop: StopRequest,
    display: Display,
    events: Events,
    after_step: Callable[[], None],
) -> bool:
    """Trains from where ``progress`` stands to the end of its epoch; False: stopped before that, on request.

    Raises:
        UserError: more steps in a row with a non-finite gradient than allowed; the windows are named.
    """
    config = run.config.training
    run.model.train()
    for global_batch in run.batches.epoch(progress.epoch, progress.position):
        began = time.perf_counter()
        with naming_what_fits(run):
            outcome = stepper.take(global_batch, progress.step, rate_of(run, progress), stop)
        if outcome is None:
            return False
        progress.step += 1
        progress.position = global_batch.stop
        if outcome.finite:
            progress.bad_in_a_row = 0
            progress.good_steps += 1
            progress.error_sum += outcome.error_sum
            progress.observed += outcome.observed
            progress.norm_sum += outcome.norm
        else:
            progress.skipped_steps += 1
            progress.bad_in_a_row += not outcome.only_overflow
            _tell_bad_step(run, progress, global_batch, events, display, outcome)
        progress.train_seconds += time.perf_counter() - began
        facts = "  ".join(filter(None, (f"loss {digits(epoch_loss(run, progress))}", best_so_far(run, progress))))
        windows = len(run.data.train)
        display.show(
            Standing(
                f"epoch {progress.epoch + 1}/{config.epochs}",
                progress.position,
                windows,
                facts,
                later=(config.epochs - progress.epoch - 1) * windows,
            )
        )
        after_step()
    return True


def best_so_far(run: Run, progress: Progress) -> str:
    """The smallest validation error and its epoch; "" before there is one."""
    row = progress.best_row
    return "" if row is None else f"best {mae_words(row, run.data.window_format)}, epoch {row['epoch']}"


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
def validate(run: Run, stop: StopRequest, told: Callable[[int], None] | None = None) -> HorizonSums | None:
    """Error sums over the validation windows of all ranks, each window once; None: stopped before the end, on request.

    The decoder reads its own forecasts, whatever training does.

    Args:
        told: called with the number of windows that are done, every so often.
    """
    windows, ranks, replicas = run.data.validation, run.ranks, run.ranks.replicas
    form = run.data.window_format
    sums = HorizonSums(form.future_steps, run.data.graph.num_nodes, form.output_channels, device=ranks.device)
    run.model.eval()
    rounds = GlobalBatches(len(windows), run.config.training.batch_size * replicas.size, shuffle=False)
    for global_batch in rounds.epoch(0):
        (asked_to_stop,) = ranks.sum_integers(stop.requested)
        if asked_to_stop:
            return None
        (mine,) = global_batch.share(replicas.rank, replicas.size, 1)
        if len(mine):
            with nvtx_range("validation"), naming_what_fits(run, training=False):
                batch = run.gather(windows.starts_W[mine])
                forecast_BFNO = original_units(run.predict(batch), run.mean_O, run.std_O)
                sums.add(forecast_BFNO, batch.y_BFNO, batch.observed_BFNO)
        if told is not None:
            told(global_batch.stop)
    replicas.sum_(sums.sums_SFNO, "adding up validation errors")
    return sums


def validation_error(run: Run, sums: HorizonSums) -> float:
    """By which epochs are ranked; NaN where a forecast is, or no target was observed.

    Loss in original units: the MAE, as published. In parts of the deviation: the MAE in deviations (of each sensor,
    with a scaler for each), averaged over the targets that were observed, so that each counts alike.
    """
    if run.config.training.loss_unit == "original":
        return float(sums.overall().mae)
    std_NO = np.broadcast_to(run.std_O.cpu().numpy(), sums.sums_SFNO.shape[2:])
    errors = []
    for channel in range(std_NO.shape[1]):
        scores = sums.by_sensor(channel=channel)
        seen = scores.count > 0
        if seen.any():
            scaled_N = scores.mae[seen] * scores.count[seen] / std_NO[seen, channel]
            errors.append(float(scaled_N.sum() / scores.count[seen].sum()))
    return float(np.mean(errors)) if errors else math.nan


def _tell_bad_step(
    run: Run,
    progress: Progress,
    global_batch: GlobalBatch,
    events: Events,
    display: Display,
    outcome: Outcome,
) -> None:
    if outcome.only_overflow:
        events.add("overflow", step=progress.step, loss_scale=run.loss_scale.scale)
        return
    starts = run.data.train.starts_W[global_batch.windows]
    events.add("bad_step", step=progress.step, gradient_norm=str(outcome.norm), windows=starts.tolist())
    times = np.datetime_as_string(run.data.target_times(starts)[:, 0])
    said = some([f"{start} ({when})" for start, when in zip(starts.tolist(), times, strict=True)], 6)
    line = (
        f"step {progress.step}: gradient norm {outcome.norm}, step skipped; windows by first row (first target): {said}"
    )
    limit = run.config.training.max_bad_steps
    if progress.bad_in_a_row > limit:
        raise SharedError(
            f"{line}; {progress.bad_in_a_row} such step(s) in a row, max_bad_steps is {limit}: stopped, any earlier "
            "checkpoint is kept; look at these windows, or lower the learning rate"
        )
    display.say(line)
