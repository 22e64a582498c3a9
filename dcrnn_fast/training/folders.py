"""The folders of a run: made, cleared of an earlier run's files, the best checkpoint brought along."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dcrnn_fast.checkpoints.find import newest_good, read_good
from dcrnn_fast.checkpoints.manifest import MANIFEST, require_own_manifest
from dcrnn_fast.checkpoints.read import Checkpoint, DamagedError, load_checkpoint
from dcrnn_fast.checkpoints.retention import epoch_of_name, is_written, name_of_epoch
from dcrnn_fast.checkpoints.save import BEST, LATEST, save_checkpoint
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.report_files import REPORT
from dcrnn_fast.files import clear_leftovers, require_creatable_folder, require_writable_folder, write_bytes
from dcrnn_fast.messages import some
from dcrnn_fast.records.jsonl import EVENTS
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.status import read_status
from dcrnn_fast.records.watchers import RUN_FILES
from dcrnn_fast.training.instruments import FOLDER as PROFILE
from dcrnn_fast.training.progress import Progress


def checkpoint_folder(config: Config) -> Path:
    """The folder of this configuration's checkpoints."""
    return Path(config.output.checkpoint_dir or Path(config.output.results, "checkpoints"))


def open_folders(config: Config, lock: FolderLock | None = None) -> Checkpoint | None:
    """Checks that the folders could be made; the checkpoint to resume, if one is asked for and there.

    Raises:
        UserError: a folder could not be written, its manifest.json is another program's, the checkpoint that was asked
            for cannot be used, or, with a lock, another run writes there.
    """
    require_creatable_folder(config.output.results, "results folder")
    folder = require_creatable_folder(checkpoint_folder(config), "checkpoint folder")
    if lock is not None:
        lock.require_free(_folders(config), _print)
    require_own_manifest(folder)
    if in_the_way := sorted(path.name for path in folder.glob("*.pt") if path.is_dir()):
        raise UserError(f"{folder / in_the_way[0]} is a folder, where a checkpoint is to stand: move it or remove it")
    if config.output.resume is None:
        return None
    if config.output.resume == "auto":
        try:
            return newest_good(folder)
        except DamagedError:  # a fresh start sets them aside, where they may be rescued
            return None
    return read_good(config.output.resume)


def make_folders(config: Config, lock: FolderLock, say: Callable[[str], None]) -> None:
    """Makes and takes the folders, and removes the incomplete files of a run that was killed.

    Raises:
        UserError: one of them cannot be written, or another run writes there.
    """
    require_writable_folder(config.output.results, "results folder")
    require_writable_folder(checkpoint_folder(config), "checkpoint folder")
    lock.take(_folders(config), say)
    clear_leftovers(config.output.results, (*RUN_FILES, *REPORT))
    clear_leftovers(checkpoint_folder(config), ("*.pt", MANIFEST))


def _folders(config: Config) -> dict[str, Path]:
    """The folders that a run writes to, by their flags."""
    return {"--results": Path(config.output.results), "--checkpoint-dir": checkpoint_folder(config)}


def _print(line: str) -> None:
    print(line, flush=True)


def set_earlier_run_aside(config: Config, say: Callable[[str], None]) -> None:
    """Moves an earlier run's files: a new run must neither destroy its checkpoints nor take them for its own.

    Raises:
        UserError: a checkpoint cannot be moved; a log that stays is told, and ends nothing.
    """
    results, folder = Path(config.output.results), checkpoint_folder(config)
    if target := _set_aside(folder, ("*.pt", MANIFEST)):
        hint = ""
        if any(target.glob("*.pt")):
            hint = "; --resume auto would have continued it" if config.output.resume is None else _why_none(target)
        say(f"what an earlier run left was moved to {target}{hint}")
    # Only after an earlier run, and none of this run's inputs: a user's own file may have one of these names.
    if _was_run_in(results):
        try:
            target = _set_aside(results, (*RUN_FILES, *REPORT, f"{PROFILE}/"), _files_of(config), whole=False)
        except UserError as error:
            say(f"{error}; training goes on")
            return
        if target:
            say(f"the figures and pictures of an earlier run were moved to {target}")


def _why_none(folder: Path) -> str:
    """Why a run that was to be resumed starts anew although there are checkpoints."""
    try:
        newest_good(folder)
    except UserError as error:
        return f": {error}"
    return ""


def leave_other_timeline(
    config: Config, progress: Progress, found: Checkpoint, say: Callable[[str], None]
) -> int | None:
    """Moves what was trained after the checkpoint that the run goes on from, or not before it: it trains that anew.

    Returns:
        The epoch after which ``best.pt`` was saved, if it stays.
    """
    folder = checkpoint_folder(config)
    epochs = ((path.name, epoch_of_name(path.name)) for path in sorted(folder.glob("epoch_*.pt")))
    left = [name for name, epoch in epochs if epoch is not None and epoch > progress.epoch]
    best: int | None = None
    for name in (BEST, LATEST):
        is_found = (folder / name).resolve() == found.path.resolve()
        training = found.state["training"] if is_found else _training_of(folder / name, say)
        if training is not None and not _leads_to(progress, training):
            left.append(name)
        elif training is not None and name == BEST:
            best = _at_end(training)
    if left and (target := _set_aside(folder, left)):
        if (folder / MANIFEST).is_file():
            write_bytes(target / MANIFEST, (folder / MANIFEST).read_bytes())
        say(f"not of the training that this run goes on with, moved to {target}: {', '.join(left)}")
    return best


def bring_best_along(
    config: Config, progress: Progress, found: Checkpoint, there: int | None, say: Callable[[str], None]
) -> None:
    """Makes sure that ``best.pt`` is the best so far, also in another folder, after a damage or a kill.

    Args:
        there: what ``leave_other_timeline`` returned.
    """
    folder, beside, best = checkpoint_folder(config), found.path.parent, progress.best_epoch
    output = config.output
    at_end = progress.position == 0 and progress.epoch > 0
    written = is_written(progress.epoch, progress.validation_errors, output.save_every_epochs, output.keep_best)
    if at_end and written and not (folder / name_of_epoch(progress.epoch)).exists():
        save_checkpoint(folder, found.state, name_of_epoch(progress.epoch))
    if best is None or there == best:
        return
    if at_end and best == progress.epoch:
        save_checkpoint(folder, found.state, BEST)
        return
    for path in dict.fromkeys((beside / BEST, folder / name_of_epoch(best), beside / name_of_epoch(best))):
        training = _training_of(path, say)
        if training is not None and training["epoch"] == best and _leads_to(progress, training):
            save_checkpoint(folder, load_checkpoint(path), BEST)
            return
    say(f"the checkpoint of epoch {best}, the best so far, is not at hand; {BEST} is what comes next")


def _leads_to(progress: Progress, training: Mapping[str, Any]) -> bool:
    """Whether this training, of another checkpoint, went on to ``progress``."""
    epoch = training["epoch"]
    history = [row.to_dict() for row in progress.history[:epoch]]
    # As texts: NaN equals NaN there.
    same = json.dumps(training["history"], sort_keys=True) == json.dumps(history, sort_keys=True)
    return same and (epoch, training["position"]) <= (progress.epoch, progress.position)


def _training_of(path: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The position of training in a checkpoint, if it is there, complete, and has one."""
    if not path.is_file():
        return None
    try:
        training: dict[str, Any] | None = load_checkpoint(path)["training"]
    except UserError as error:
        say(str(error))
        return None
    return training


def epoch_of(path: Path, say: Callable[[str], None]) -> int | None:
    """The epoch after which a checkpoint was saved, if it is there and complete."""
    training = _training_of(path, say)
    return None if training is None else _at_end(training)


def _at_end(training: Mapping[str, Any]) -> int | None:
    """The epoch that had just ended."""
    return None if training["position"] else int(training["epoch"])


def _was_run_in(results: Path) -> bool:
    try:
        return (results / EVENTS).exists() or read_status(results) is not None
    except UserError:  # a status.json that is none of ours
        return False


def _set_aside(
    folder: Path, patterns: Sequence[str], spared: Collection[Path] = (), *, whole: bool = True
) -> Path | None:
    """Moves files of ``folder``, but for the resolved ``spared``, into ``folder/earlier-N``; None: there are none.

    A pattern that ends with a slash is of folders.

    Raises:
        UserError: some cannot be moved; the others are where they were, and without ``whole`` in ``earlier-N``.
    """
    found = sorted(
        path
        for pattern in patterns
        for path in folder.glob(pattern)
        if (path.is_dir() if pattern.endswith("/") else path.is_file())
    )
    found = [path for path in found if path.resolve() not in spared]
    if not found:
        return None
    number = 1
    while (target := folder / f"earlier-{number}").exists():
        number += 1
    moved: list[str] = []
    stayed: dict[str, OSError] = {}
    try:
        target.mkdir()
    except OSError as error:
        raise UserError(f"cannot make {target}: {error.strerror or error}") from error
    for path in found:
        try:
            os.replace(path, target / path.name)
            moved.append(path.name)
        except OSError as error:
            stayed[path.name] = error
    if stayed:
        if whole:
            for name in moved:
                os.replace(target / name, folder / name)
            with suppress(OSError):
                target.rmdir()
        why = next(iter(stayed.values()))
        raise UserError(f"cannot move {some(list(stayed))} from {folder} to {target}: {why.strerror or why}")
    return target


def _files_of(config: Config) -> set[Path]:
    """The files that the configuration names."""
    values = [value for section in to_dict(config).values() for value in section.values() if isinstance(value, str)]
    return {path.resolve() for path in map(Path, filter(None, values)) if path.is_file()}
