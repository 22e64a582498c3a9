"""``fit``: a whole training run, from configuration to the best checkpoint."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dcrnn_fast.checkpoints.files import (
    BEST,
    LATEST,
    MANIFEST,
    Checkpoint,
    load_checkpoint,
    newest_good,
    read_good,
    save_checkpoint,
)
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config, DataConfig
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.data.account import require_changing_target, require_validation_targets
from dcrnn_fast.data.dataset import ForecastData, open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.device import choose_device, choose_threads
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.files import require_creatable_folder, require_writable_folder
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.scheduled_sampling import label_probability
from dcrnn_fast.ranks.failure import SharedError
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals
from dcrnn_fast.training.account import first_lines, other_notes, whole_account
from dcrnn_fast.training.display import Display, Standing, digits, duration, mae_words, speed, target_column
from dcrnn_fast.training.loop import best_so_far, epoch_loss, rate_of, train_epoch, validate, validation_error
from dcrnn_fast.training.memory import naming_what_fits
from dcrnn_fast.training.progress import Progress, Row
from dcrnn_fast.training.records import (
    CONFIG,
    EVENTS,
    METRICS,
    REPORT,
    Events,
    set_aside,
    write_config,
    write_metrics,
)
from dcrnn_fast.training.resume import (
    broadcast_state,
    differences,
    in_saved_order,
    require_fitting,
    restore,
    saved_choices,
    state_of,
)
from dcrnn_fast.training.run import Run, make_run, start_digests
from dcrnn_fast.training.schedule import has_stalled
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep, try_window


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What training ended with.

    Attributes:
        reason: "finished" (all epochs), "stalled" (early stopping), or the name of the signal that asked to stop.
        epochs, steps: finished epochs and optimiser steps in all, before a resume included.
        best_epoch, best_validation_mae: original units; None before the first validation.
        history: one dict for each epoch, the rows of metrics.csv.
        checkpoint: the best one (``best.pt``; ``latest.pt`` before the first validation); results: the folder.
        model: on rank 0 with that checkpoint's weights, in evaluation mode; data: what it was trained on.
        rank: of this process; rank 0 is the one that reports.
    """

    reason: str
    epochs: int
    steps: int
    best_epoch: int | None
    best_validation_mae: float | None
    history: tuple[Row, ...]
    checkpoint: Path
    results: Path
    model: DCRNN = field(repr=False)
    data: ForecastData = field(repr=False)
    rank: int

    @property
    def stopped_by_signal(self) -> bool:
        return self.reason not in ("finished", "stalled")


def fit(config: Config, ranks: Ranks | None = None, stop: StopRequest | None = None) -> TrainingResult:
    """Trains as configured; under torchrun as one rank of many.

    Seeds Python's, numpy's and torch's generators and sets torch's number of threads. Writes checkpoints, config.yaml,
    metrics.csv and events.jsonl; prints progress on rank 0. SIGTERM, SIGINT and SIGUSR1 ask it to save and stop.

    Args:
        ranks: the processes, where the caller has met them already.
        stop: the request to stop, where the caller listens to the signals already.
    Raises:
        UserError: anything wrong with configuration, data, checkpoint or disk, on this rank or another; on all ranks.
    """
    ranks = join_ranks() if ranks is None else ranks
    with ranks.reporting_failure(), stop_on_signals() if stop is None else nullcontext(stop) as request:
        run, found = open_run(config, ranks)
        return _train(run, _asked(config, found), found, request)


def check(config: Config, ranks: Ranks | None = None) -> list[str]:
    """Opens everything, tries one window, changes nothing; what was understood, line by line.

    Raises UserError as ``fit`` does.
    """
    return understood(config, ranks)[0]


def understood(config: Config, ranks: Ranks | None = None) -> tuple[list[str], ForecastData]:
    """``check``, and the data; on rank 0 alone there are lines."""
    ranks = join_ranks() if ranks is None else ranks
    with ranks.reporting_failure():
        run, found = open_run(config, ranks)
        return whole_account(run, _asked(config, found), found) if ranks.is_first else [], run.data


def _asked(config: Config, found: Checkpoint | None) -> DataConfig:
    """What was asked for: by the user, and where a run goes on by whoever started it."""
    return (config if found is None else saved_choices(config, found.state)).data


def open_run(config: Config, ranks: Ranks) -> tuple[Run, Checkpoint | None]:
    """Device, checkpoint to resume, data and model, the same on all ranks; one window is tried, nothing trained."""
    device = ranks.together("choosing a device", lambda: choose_device(config.training.device, ranks.local_rank))
    ranks.connect(device, config.training.dist_timeout)
    torch.set_num_threads(
        choose_threads(config.training.threads, ranks.local_world, launcher_sets_one=ranks.launcher_sets_one_thread)
    )
    found = ranks.together("opening the results folder", lambda: _open_folders(config, ranks))
    state = broadcast_state(found.state if found else None, ranks)
    if state is not None and found is None:  # not rank 0: notes are for it alone to say
        found = Checkpoint(Path(str(config.output.resume)), state, ())

    if found is not None:
        config = saved_choices(config, found.state)

    def open_data_and_model() -> Run:
        scaler = None if found is None else Scaler.from_state(found.state["scaler"])
        all_digits = config.training.loss_unit != "original"
        data = open_data(config.data, config.graph, scaler=scaler, all_digits=all_digits)
        if found is not None:
            data = in_saved_order(data, config.data, found.state)
        run = make_run(config, data, ranks)
        require_changing_target(data, config.data)
        require_validation_targets(data)
        if found is not None:
            require_fitting(run, found.state, str(found.path))
        return run

    run = ranks.together("opening data and model", open_data_and_model)
    ranks.require_same(start_digests(run))
    ranks.together("trying one window", lambda: try_window(run))
    return run, found


def _open_folders(config: Config, ranks: Ranks) -> Checkpoint | None:
    """Rank 0: the folders could be written, and the checkpoint to resume, if one is asked for and there."""
    if not ranks.is_first:
        return None
    require_creatable_folder(config.output.results, "results folder")
    folder = require_creatable_folder(checkpoint_folder(config), "checkpoint folder")
    if config.output.resume is None:
        return None
    if config.output.resume == "auto":
        return newest_good(folder)
    return read_good(config.output.resume)


def checkpoint_folder(config: Config) -> Path:
    """Where this configuration's checkpoints go."""
    return Path(config.output.checkpoint_dir or Path(config.output.results, "checkpoints"))


def _train(run: Run, asked: DataConfig, found: Checkpoint | None, stop: StopRequest) -> TrainingResult:
    config, ranks = run.config, run.ranks
    results, folder = Path(config.output.results), checkpoint_folder(config)
    display = Display(shown=ranks.is_first, log_every=config.output.log_every)
    progress = _begin(run, asked, found, display)
    events = Events(results if ranks.is_first else None)
    events.add("resume" if found else "start", epoch=progress.epoch, step=progress.step, ranks=ranks.world)

    def save(*file_names: str) -> None:
        if ranks.is_first:
            state = state_of(run, progress)
            save_checkpoint(folder, state, *file_names)
            events.add("save", step=progress.step, files=list(file_names))

    def after_step() -> None:
        every = config.output.save_every_steps
        if every and progress.step % every == 0:
            save(LATEST)

    try:
        reason = "finished"
        with naming_what_fits(run):
            stepper = StaticStep(run, display.say) if config.training.cuda_graphs else EagerStep(run)
        while progress.epoch < config.training.epochs:
            if has_stalled(progress.validation_errors, config.training.patience):
                reason = "stalled"
                break
            at_end = train_epoch(run, stepper, progress, stop, display, events, after_step)
            display.pause()
            began = time.perf_counter()
            sums = _validate(run, progress, stop, display) if at_end else None
            display.pause()
            if sums is None:
                reason = stop.signal_name or "another rank's signal"
                break
            _finish_epoch(run, progress, sums, time.perf_counter() - began, display, events)
            # latest.pt last: whoever resumes from it finds the others as it knows them.
            every = config.output.save_every_epochs
            best = [BEST] if progress.best_epoch == progress.epoch else []
            kept = [f"epoch_{progress.epoch:04d}.pt"] if every and progress.epoch % every == 0 else []
            save(*best, *kept, LATEST)
            if ranks.is_first:
                write_metrics(results, progress.history)
        return _end(run, progress, reason, save, display, events)
    finally:
        display.close()


def _begin(run: Run, asked: DataConfig, found: Checkpoint | None, display: Display) -> Progress:
    """Says what was understood, prints and saves the configuration, and puts a resumed run back where it stood."""
    config, results, folder = run.config, Path(run.config.output.results), checkpoint_folder(run.config)
    if run.ranks.is_first:
        require_writable_folder(results, "results folder")
        require_writable_folder(folder, "checkpoint folder")
        for torn in folder.glob("*.tmp-*"):  # of a run that was killed while it wrote
            torn.unlink()
        for line in first_lines(run, asked):
            display.say(line)
    display.say(to_yaml(config).rstrip())
    for note in other_notes(run):
        display.say(note)
    progress = Progress()
    if found is None:
        if config.output.resume == "auto":
            display.say(f"resume auto: no checkpoint in {folder}, starting anew")
        if run.ranks.is_first:
            if target := set_aside(folder, ("*.pt", MANIFEST)):
                hint = "; --resume auto would have continued it" if any(target.glob("*.pt")) else ""
                display.say(f"what an earlier run left was moved to {target}{hint}")
            # Only where a run has been, and not what this one reads: a user's own file may have one of these names.
            if (results / EVENTS).exists() and (
                target := set_aside(results, (CONFIG, METRICS, EVENTS, *REPORT), _files_of(config))
            ):
                display.say(f"the figures and pictures of an earlier run were moved to {target}")
    else:
        progress = restore(run, found.state)
        for line in (*found.notes, *differences(run, found.state)):
            display.say(line)
        display.say(f"resumed from {found.path}: epoch {progress.epoch}, step {progress.step}")
        if run.ranks.is_first:
            _bring_best_along(progress, found, folder, display)
            write_metrics(results, progress.history)
    if run.ranks.is_first:
        write_config(results, config)
    return progress


def _files_of(config: Config) -> set[Path]:
    """The files that the configuration names."""
    values = [value for section in to_dict(config).values() for value in section.values() if isinstance(value, str)]
    return {path.resolve() for path in map(Path, filter(None, values)) if path.is_file()}


def _bring_best_along(progress: Progress, found: Checkpoint, folder: Path, display: Display) -> None:
    """Makes sure that ``best.pt`` of ``folder`` is the best so far, also in another folder or after a damage."""
    best = progress.best_epoch
    if best is None or _best_of(folder / BEST, display) == best:
        return
    if best == progress.epoch and progress.position == 0:
        save_checkpoint(folder, found.state, BEST)
    elif _best_of(found.path.parent / BEST, display) == best:
        save_checkpoint(folder, load_checkpoint(found.path.parent / BEST), BEST)
    else:
        display.say(f"the checkpoint of epoch {best}, the best so far, is not at hand; {BEST} is what comes next")


def _best_of(path: Path, display: Display) -> int | None:
    """The epoch after which a checkpoint was saved, if it is there and whole."""
    if not path.is_file():
        return None
    try:
        training = load_checkpoint(path)["training"]
    except UserError as error:
        display.say(str(error))
        return None
    return None if training is None or training["position"] else int(training["epoch"])


def _validate(run: Run, progress: Progress, stop: StopRequest, display: Display) -> HorizonSums | None:
    what = f"epoch {progress.epoch + 1}/{run.config.training.epochs} validation"
    facts, windows = best_so_far(run, progress), len(run.data.validation)
    return validate(run, stop, lambda done: display.show(Standing(what, done, windows, facts)))


def _finish_epoch(
    run: Run, progress: Progress, sums: HorizonSums, validation_seconds: float, display: Display, events: Events
) -> None:
    config = run.config.training
    scores, form = sums.overall(), run.data.window_format
    if int(scores.count) == 0:
        raise SharedError("the validation windows hold no observed target; give a longer series or other fractions")
    seconds = progress.train_seconds
    error = validation_error(run, sums)
    row: Row = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "learning_rate": rate_of(run, progress),
        "label_probability": _label_probability(run, progress.step),
        "train_loss": epoch_loss(run, progress),
        "gradient_norm": progress.norm_sum / max(progress.good_steps, 1),
        "skipped_steps": progress.skipped_steps,
        "validation_mae": float(scores.mae),
        "validation_error": error,
        "validation_rmse": float(scores.rmse),
        "validation_mape": float(scores.mape),
        "best": int(error < progress.best_error),
        "train_seconds": round(seconds, 3),
        "validation_seconds": round(validation_seconds, 3),
        "windows_per_second": round(len(run.data.train) / max(seconds, 1e-9), 2),
    }
    if form.output_channels > 1:
        row |= {target_column(name): float(sums.overall(k).mae) for k, name in enumerate(form.target_names)}
    progress.finish_epoch(row)
    events.add("epoch", **row)
    display.say(
        f"epoch {progress.epoch}/{config.epochs}: train {config.loss} {digits(row['train_loss'])}, "
        f"{mae_words(row, form)}{' (best)' if row['best'] else ''}, learning rate {row['learning_rate']:.3g}, "
        f"{duration(seconds + validation_seconds)}, {speed(row['windows_per_second'])}"
    )


def _label_probability(run: Run, step: int) -> float:
    config = run.config.training
    if config.teacher_forcing == "scheduled":
        return label_probability(step, config.sampling_decay)
    return float(config.teacher_forcing == "on")


def _end(
    run: Run, progress: Progress, reason: str, save: Callable[..., None], display: Display, events: Events
) -> TrainingResult:
    ranks, folder = run.ranks, checkpoint_folder(run.config)
    if reason not in ("finished", "stalled"):
        save(LATEST)
        display.say(
            f"stopped by {reason} after step {progress.step}, all saved in {folder / LATEST}; "
            "continue with the same command and --resume auto"
        )
    elif reason == "stalled":
        display.say(f"stopped early: {run.config.training.patience} epochs without a better validation error")
    if not progress.history and reason == "finished":
        save(LATEST)
    events.add("end", reason=reason, epoch=progress.epoch, step=progress.step)
    checkpoint = folder / (LATEST if _best_of(folder / BEST, display) is None else BEST)
    if ranks.is_first:
        run.model.load_state_dict(load_checkpoint(checkpoint)["model"])
    run.model.eval()
    ranks.sum_integers(0)  # nobody leaves before rank 0 has everything on disk
    return TrainingResult(
        reason=reason,
        epochs=progress.epoch,
        steps=progress.step,
        best_epoch=progress.best_epoch,
        best_validation_mae=progress.best_validation_mae,
        history=tuple(progress.history),
        checkpoint=checkpoint,
        results=Path(run.config.output.results),
        model=run.model,
        data=run.data,
        rank=ranks.rank,
    )
