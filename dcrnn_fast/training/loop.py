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
from dcrnn_fast.model.scheduled_sampling import label_probability
from dcrnn_fast.ranks.failure import SharedError
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.records.display import bad_step_words
from dcrnn_fast.records.events import BadStep, EpochRow, Overflow, Stepped
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.loss import loss_value, original_units
from dcrnn_fast.training.memory import naming_what_fits
from dcrnn_fast.training.nvtx_ranges import nvtx_range
from dcrnn_fast.training.progress import Outcome, Progress
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.schedule import learning_rate, rate_scale
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep


def train_epoch(
    run: Run,
    stepper: EagerStep | StaticStep,
    progress: Progress,
    stop: StopRequest,
    watchers: Watchers,
    after_step: Callable[[], None],
) -> bool:
    """Trains from the position of ``progress`` to the end of its epoch; False: stopped before that, on request.

    Raises:
        UserError: more steps in a row with a non-finite gradient than allowed; the windows are named.
    """
    run.model.train()
    for global_batch in run.batches.epoch(progress.epoch, progress.position):
        began, rate = time.perf_counter(), rate_of(run, progress)
        with naming_what_fits(run), run.phases.step(progress.step):
            outcome = stepper.take(global_batch, progress.step, rate, stop)
        if outcome is None:
            return False
        progress.count_step(outcome, global_batch.stop)
        if not outcome.finite:
            _tell_skipped(run, progress, global_batch, outcome, watchers)
        elif run.average is not None:
            run.average.update()
        progress.train_seconds += time.perf_counter() - began
        loss = epoch_loss(run, progress)
        watchers.tell(Stepped(progress.epoch, progress.step, progress.position, loss, rate))
        after_step()
    return True


def rate_of(run: Run, progress: Progress) -> float:
    """The learning rate of the step that comes next."""
    return learning_rate(
        run.config.training,
        epoch=progress.epoch,
        step=progress.step,
        total_steps=run.total_steps,
        validation_errors=progress.validation_errors,
        scale=rate_scale(run.config.training, run.batches.batch_size),
    )


def epoch_loss(run: Run, progress: Progress) -> float:
    """The loss over all good steps of the current epoch so far; NaN before the first."""
    if progress.good_steps == 0:
        return math.nan
    total = torch.tensor(progress.error_sum, dtype=torch.float64)
    return float(loss_value(total, progress.observed, run.config.training))


@torch.no_grad()
def validate(run: Run, stop: StopRequest, told: Callable[[int], None] | None = None) -> HorizonSums | None:
    """Error sums over all validation windows and nodes, each once, from all ranks; None: stopped before, on request.

    The decoder always reads its own forecasts here.

    Args:
        told: called with the number of windows that are done, every so often.
    """
    windows, ranks, replicas = run.data.validation, run.ranks, run.ranks.replicas
    form = run.data.window_format
    sums = HorizonSums(form.future_steps, run.own_data.series.num_sensors, form.output_channels, device=ranks.device)
    run.model.eval()
    rounds = GlobalBatches(len(windows), run.config.training.batch_size * replicas.size, shuffle=False)
    shares = (mine for batch in rounds.epoch(0) for mine in batch.share(replicas.rank, replicas.size, 1))
    with run.host_windows.following(windows.starts_W[mine] for mine in shares if len(mine)):
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
    whole = sums
    if run.own_data.nodes is not None:
        whole = HorizonSums(form.future_steps, run.data.graph.num_nodes, form.output_channels, device=ranks.device)
        whole.sums_SFNO[:, :, torch.from_numpy(run.own_data.nodes)] = sums.sums_SFNO
    ranks.sum_(whole.sums_SFNO, "adding up validation errors")
    return whole


def validation_error(run: Run, sums: HorizonSums) -> float:
    """The error that epochs are ranked by; NaN if a forecast is NaN, or no target was observed.

    Loss in original units: the MAE, as published. In parts of the deviation: the MAE in deviations (of each sensor,
    with a scaler for each), averaged over the targets that were observed, so that each counts alike.
    """
    if run.config.training.loss_unit == "original":
        return float(sums.overall().mae)
    targets = run.data.scaler.take(run.data.window_format.target_channels)
    std_NO = np.broadcast_to(np.asarray(targets.std), sums.sums_SFNO.shape[2:])
    errors = []
    for channel in range(std_NO.shape[1]):
        scores = sums.by_sensor(channel=channel)
        seen = scores.count > 0
        if seen.any():
            scaled_N = scores.mae[seen] * scores.count[seen] / std_NO[seen, channel]
            errors.append(float(scaled_N.sum() / scores.count[seen].sum()))
    return float(np.mean(errors)) if errors else math.nan


def finished_row(run: Run, progress: Progress, sums: HorizonSums, validation_seconds: float) -> EpochRow:
    """The row of the epoch that is trained and validated.

    Raises:
        SharedError: no validation window has an observed target.
    """
    scores, form = sums.overall(), run.data.window_format
    if int(scores.count) == 0:
        raise SharedError("the validation windows hold no observed target; give a longer series or other fractions")
    error = validation_error(run, sums)
    names = form.target_names if form.output_channels > 1 else ()
    return EpochRow(
        epoch=progress.epoch + 1,
        step=progress.step,
        learning_rate=rate_of(run, progress),
        label_probability=_label_probability(run, progress.step),
        train_loss=epoch_loss(run, progress),
        gradient_norm=progress.norm_sum / max(progress.good_steps, 1),
        skipped_steps=progress.skipped_steps,
        validation_mae=float(scores.mae),
        validation_error=error,
        validation_rmse=float(scores.rmse),
        validation_mape=float(scores.mape),
        best=int(error < progress.best_error),
        train_seconds=round(progress.train_seconds, 3),
        validation_seconds=round(validation_seconds, 3),
        windows_per_second=round(len(run.data.train) / max(progress.train_seconds, 1e-9), 2),
        targets={name: float(sums.overall(k).mae) for k, name in enumerate(names)},
    )


def _label_probability(run: Run, step: int) -> float:
    config = run.config.training
    if config.teacher_forcing == "scheduled":
        return label_probability(step, config.sampling_decay)
    return float(config.teacher_forcing == "on")


def _tell_skipped(
    run: Run, progress: Progress, global_batch: GlobalBatch, outcome: Outcome, watchers: Watchers
) -> None:
    if outcome.only_overflow:
        watchers.tell(Overflow(progress.step, run.loss_scale.scale))
        return
    starts, limit = run.data.train.starts_W[global_batch.windows], run.config.training.max_bad_steps
    times = np.datetime_as_string(run.data.target_times(starts)[:, 0])
    event = BadStep(
        progress.step,
        outcome.norm,
        windows=tuple(starts.tolist()),
        times=tuple(times.tolist()),
        ends_run=progress.bad_in_a_row > limit,
    )
    watchers.tell(event)
    if event.ends_run:
        raise SharedError(
            f"{bad_step_words(event)}; {progress.bad_in_a_row} such step(s) in a row, max_bad_steps is {limit}: "
            "stopped, any earlier checkpoint is kept; look at these windows, or lower the learning rate"
        )
