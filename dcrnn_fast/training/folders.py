"""The folders of a run: made, cleared of an earlier run's files, the best checkpoint brought along."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dcrnn_fast.checkpoints.files import (
    BEST,
    Checkpoint,
    DamagedError,
    load_checkpoint,
    newest_good,
    read_good,
    save_checkpoint,
)
from dcrnn_fast.checkpoints.manifest import MANIFEST, require_own_manifest
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.report_files import REPORT
from dcrnn_fast.files import require_creatable_folder, require_writable_folder
from dcrnn_fast.records.jsonl import EVENTS
from dcrnn_fast.records.watchers import RUN_FILES
from dcrnn_fast.training.progress import Progress


def checkpoint_folder(config: Config) -> Path:
    """The folder of this configuration's checkpoints."""
    return Path(config.output.checkpoint_dir or Path(config.output.results, "checkpoints"))


def open_folders(config: Config) -> Checkpoint | None:
    """Checks that the folders could be made; the checkpoint to resume, if one is asked for and there.

    Raises:
        UserError: a folder could not be written, its manifest.json is another program's, or the checkpoint that was
            asked for cannot be used.
    """
    require_creatable_folder(config.output.results, "results folder")
    folder = require_creatable_folder(checkpoint_folder(config), "checkpoint folder")
    require_own_manifest(folder)
    if config.output.resume is None:
        return None
    if config.output.resume == "auto":
        try:
            return newest_good(folder)
        except DamagedError:  # a fresh start sets them aside, where they may be rescued
            return None
    return read_good(config.output.resume)


def make_folders(config: Config) -> None:
    """Makes the folders, and removes the incomplete files of a run that was killed.

    Raises:
        UserError: one of them cannot be written.
    """
    require_writable_folder(config.output.results, "results folder")
    folder = require_writable_folder(checkpoint_folder(config), "checkpoint folder")
    for torn in folder.glob("*.tmp-*"):
        torn.unlink()


def set_earlier_run_aside(config: Config, say: Callable[[str], None]) -> None:
    """Moves an earlier run's files: a new run must neither destroy its checkpoints nor take them for its own."""
    results, folder = Path(config.output.results), checkpoint_folder(config)
    if target := _set_aside(folder, ("*.pt", MANIFEST)):
        hint = ""
        if any(target.glob("*.pt")):
            hint = "; --resume auto would have continued it" if config.output.resume is None else _why_none(target)
        say(f"what an earlier run left was moved to {target}{hint}")
    # Only after an earlier run, and none of this run's inputs: a user's own file may have one of these names.
    if (results / EVENTS).exists() and (target := _set_aside(results, (*RUN_FILES, *REPORT), _files_of(config))):
        say(f"the figures and pictures of an earlier run were moved to {target}")


def _why_none(folder: Path) -> str:
    """Why a run that was to be resumed starts anew although there are checkpoints."""
    try:
        newest_good(folder)
    except UserError as error:
        return f": {error}"
    return ""


def bring_best_along(progress: Progress, found: Checkpoint, folder: Path, say: Callable[[str], None]) -> None:
    """Makes sure that ``best.pt`` of ``folder`` is the best so far, also in another folder or after a damage."""
    best = progress.best_epoch
    if best is None or epoch_of(folder / BEST, say) == best:
        return
    if best == progress.epoch and progress.position == 0:
        save_checkpoint(folder, found.state, BEST)
    elif epoch_of(found.path.parent / BEST, say) == best:
        save_checkpoint(folder, load_checkpoint(found.path.parent / BEST), BEST)
    else:
        say(f"the checkpoint of epoch {best}, the best so far, is not at hand; {BEST} is what comes next")


def epoch_of(path: Path, say: Callable[[str], None]) -> int | None:
    """The epoch after which a checkpoint was saved, if it is there and complete."""
    if not path.is_file():
        return None
    try:
        training = load_checkpoint(path)["training"]
    except UserError as error:
        say(str(error))
        return None
    return None if training is None or training["position"] else int(training["epoch"])


def _set_aside(folder: Path, patterns: Sequence[str], spared: Collection[Path] = ()) -> Path | None:
    """Moves files of ``folder``, but for the resolved ``spared``, into ``folder/earlier-N``; None: there are none."""
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    found = [path for path in found if path.resolve() not in spared]
    if not found:
        return None
    number = 1
    while (target := folder / f"earlier-{number}").exists():
        number += 1
    target.mkdir()
    for path in found:
        os.replace(path, target / path.name)
    return target


def _files_of(config: Config) -> set[Path]:
    """The files that the configuration names."""
    values = [value for section in to_dict(config).values() for value in section.values() if isinstance(value, str)]
    return {path.resolve() for path in map(Path, filter(None, values)) if path.is_file()}
