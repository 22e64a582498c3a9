"""``fit``: a complete training run, from configuration to the best checkpoint."""

import time
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcrnn_fast.checkpoints.read import Checkpoint, load_checkpoint
from dcrnn_fast.checkpoints.save import BEST, LATEST
from dcrnn_fast.checkpoints.state import forecast_weights
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.evaluation.intervals import Intervals
from dcrnn_fast.kernels.native import kept_memory
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.whole_forecasts import WholeForecasts
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals
from dcrnn_fast.records.events import Ended, EpochDone, Validating
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watchers import Watchers, open_watchers
from dcrnn_fast.training.folders import checkpoint_folder, epoch_of
from dcrnn_fast.training.instruments import instruments
from dcrnn_fast.training.intervals import calibrated, keep_intervals
from dcrnn_fast.training.loop import finished_row, train_epoch, validate
from dcrnn_fast.training.measured import measured_row, place_of
from dcrnn_fast.training.memory import naming_what_fits
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resume import broadcast_state
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.saving import Saver, saving
from dcrnn_fast.training.schedule import has_stalled
from dcrnn_fast.training.start import asked_for, begin, open_run
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of training.

    Attributes:
        reason: "finished" (all epochs), "stalled" (early stopping), or the name of the signal that asked to stop.
        epochs, steps: finished epochs and optimiser steps in all, before a resume included.
        best_epoch, best_validation_mae: original units; None before the first validation.
        history: one dict for each epoch, the rows of metrics.csv.
        checkpoint: the best one (``best.pt``; ``latest.pt`` before the first validation); results: the folder.
        model: with that checkpoint's weights, in evaluation mode; data: its training data. Ranks that share the graph
            call the model together, as long as the caller, who has met them, keeps them connected.
        rank: of this process; only rank 0 reports.
        intervals: as in the best checkpoint; None if the run was stopped, or too few windows validate.
    """

    reason: str
    epochs: int
    steps: int
    best_epoch: int | None
    best_validation_mae: float | None
    history: tuple[dict[str, Any], ...]
    checkpoint: Path
    results: Path
    model: DCRNN | WholeForecasts = field(repr=False)
    data: ForecastData = field(repr=False)
    rank: int
    intervals: Intervals | None = None

    @property
    def stopped_by_signal(self) -> bool:
        return self.reason not in ("finished", "stalled")


def fit(
    config: Config, ranks: Ranks | None = None, stop: StopRequest | None = None, lock: FolderLock | None = None
) -> TrainingResult:
    """Trains as configured; under torchrun as one rank of many.

    Seeds Python's, numpy's and torch's generators and sets torch's number of threads. Writes checkpoints, config.yaml,
    metrics.csv, events.jsonl and status.json; prints progress on rank 0. SIGTERM, SIGINT, SIGUSR1 and the end of
    torchrun ask it to save and stop.

    Args:
        ranks: the processes, if the caller has met them already, and reports its failures to them.
        stop: the request to stop, if the caller listens to the signals already.
        lock: takes the folders, if the caller holds them longer than until the end of training.
    Raises:
        UserError: anything wrong with configuration, data, checkpoint or disk, on this rank or another; on all ranks.
            Another run writes to the same folders.
    """
    met = ranks is not None
    ranks = join_ranks(config.training.dist_timeout) if ranks is None else ranks
    # Those who share a graph go on to evaluate it together, and the caller reports their failure.
    goes_on = met and config.training.node_parallel > 1
    with (
        nullcontext() if goes_on else ranks.reporting_failure(),
        stop_on_signals() if stop is None else nullcontext(stop) as request,
        closing(FolderLock()) if lock is None else nullcontext(lock) as held,
    ):
        run, found = open_run(config, ranks, held, lambda: request.requested)
        return _train(run, asked_for(config, found), found, request, held)


def _train(
    run: Run, asked: DataConfig, found: Checkpoint | None, stop: StopRequest, lock: FolderLock
) -> TrainingResult:
    with (
        kept_memory(),
        closing(open_watchers(run.config, place_of(run.ranks), lock.holds)) as watchers,
        watchers.telling_failure(),
        ExitStack() as stack,
    ):
        progress = begin(run, asked, found, watchers, lock)
        stack.enter_context(instruments(run, watchers.say))
        with naming_what_fits(run):
            stepper = StaticStep(run, watchers.say) if run.config.training.cuda_graphs else EagerStep(run)
        with saving(run, progress, watchers, lock) as saver:
            while (reason := _why_over(run, progress)) is None:
                if not (
                    _trained(run, stepper, progress, stop, watchers, saver)
                    and _validated(run, progress, stop, watchers)
                ):
                    reason = stop.signal_name or "another rank's signal"
                    break
                saver.after_epoch()
            if reason not in ("finished", "stalled") or not progress.history:
                saver.save(LATEST)
            saver.tell_saved(wait=True)
        result = _result(run, progress, reason, stop, watchers, lock)
        latest = checkpoint_folder(run.config) / LATEST
        watchers.tell(Ended(result.reason, progress.epoch, progress.step, latest))
        return result


def _why_over(run: Run, progress: Progress) -> str | None:
    """Why no further epoch is trained; None: one is."""
    training = run.config.training
    if progress.epoch >= training.epochs:
        return "finished"
    return "stalled" if has_stalled(progress.validation_errors, training.patience) else None


def _trained(
    run: Run,
    stepper: EagerStep | StaticStep,
    progress: Progress,
    stop: StopRequest,
    watchers: Watchers,
    saver: Saver,
) -> bool:
    """Trains to the end of the epoch, its windows gathered ahead; False: stopped before that, on request."""
    with run.host_windows.following(stepper.gathered(run.batches.epoch(progress.epoch, progress.position))):
        return train_epoch(run, stepper, progress, stop, watchers, saver.after_step)


def _validated(run: Run, progress: Progress, stop: StopRequest, watchers: Watchers) -> bool:
    """Validates and finishes the epoch; False: stopped before the end, on request."""
    began = time.perf_counter()
    with run.evaluated():
        sums = validate(run, stop, lambda done: watchers.tell(Validating(progress.epoch, done)))
    if sums is None:
        return False
    row = finished_row(run, progress, sums, time.perf_counter() - began)
    progress.finish_epoch(measured_row(run, row, watchers))
    watchers.tell(EpochDone(progress.history[-1]))
    return True


def _result(
    run: Run, progress: Progress, reason: str, stop: StopRequest, watchers: Watchers, lock: FolderLock
) -> TrainingResult:
    """The best checkpoint's weights in the model, on all ranks, and intervals from them if training is over."""
    folder = checkpoint_folder(run.config)
    checkpoint = folder / (LATEST if epoch_of(folder / BEST, watchers.say) is None else BEST)
    weights = forecast_weights(load_checkpoint(checkpoint)) if run.ranks.is_first else None
    model: DCRNN | WholeForecasts = run.model
    weights = broadcast_state(weights, run.ranks)
    if run.shared is not None:
        model = WholeForecasts(run.model, run.shared.nodes, run.data.graph.num_nodes, run.ranks.sum_over_partners)
    if weights is not None:
        run.model.load_state_dict(weights)
    model.eval()
    calibration = None
    if reason in ("finished", "stalled") and progress.best_epoch is not None:
        calibration = calibrated(run, stop, watchers)
        if calibration is None:
            reason = stop.signal_name or "another rank's signal"
        else:
            keep_intervals(run, progress, calibration, watchers, lock)
    run.ranks.sum_integers(0)  # no rank leaves before rank 0 has everything on disk
    return TrainingResult(
        reason=reason,
        epochs=progress.epoch,
        steps=progress.step,
        best_epoch=progress.best_epoch,
        best_validation_mae=progress.best_validation_mae,
        history=tuple(row.to_dict() for row in progress.history),
        checkpoint=checkpoint,
        results=Path(run.config.output.results),
        model=model,
        data=run.data,
        rank=run.ranks.rank,
        intervals=None if calibration is None else calibration.intervals,
    )
