"""Which checkpoint is meant by a file or a folder: for use the best one, to train on (``--resume``) the latest."""

from pathlib import Path

from dcrnn_fast.checkpoints.manifest import MANIFEST
from dcrnn_fast.checkpoints.read import Checkpoint, DamagedError, UnlistedError, load_checkpoint, read_checkpoint
from dcrnn_fast.checkpoints.save import BEST, LATEST
from dcrnn_fast.checkpoints.state import State
from dcrnn_fast.errors import UserError


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint to forecast with, to measure, to export or to start from; notes say which one of a folder it is.

    Of a file, ``read_good``. Of a folder of checkpoints, or of a results folder, ``best.pt``: it has the least
    validation error, and the prediction intervals. Without one, the newest good checkpoint.

    Raises:
        UserError: there is none, or none that is good.
    """
    if path == "":  # an unset variable of a script, which Path would take for the current folder
        raise UserError("the checkpoint's name is empty: name a file or a folder")
    path = Path(path)
    if not path.is_dir():
        return read_good(path)
    folder = next((folder for folder in (path, path / "checkpoints") if any(folder.glob("*.pt"))), path)
    if (folder / BEST).exists():
        found = read_good(folder / BEST)
        why = "the epoch with the least validation error (--resume takes the latest)"
        if found.path.name != BEST:
            return found  # its notes name both
    else:
        newest = newest_good(folder)
        if newest is None:
            raise UserError(f"there is no checkpoint (*.pt) in the folder {path}, nor in its folder checkpoints")
        found, why = newest, f"the furthest in training, as there is no {BEST}"
    return found._replace(notes=(*found.notes, f"using {found.path}: {why}"))


def read_good(path: str | Path) -> Checkpoint:
    """``path``, or if its bytes are not those that were saved, the newest good checkpoint beside it, with notes.

    Raises UserError if there is none either, or if ``path`` is whole and no good checkpoint; the message begins with
    the error of ``path``.
    """
    path = Path(path)
    try:
        return read_checkpoint(path)
    except (DamagedError, UnlistedError) as damaged:
        try:
            other = newest_good(path.parent, skip=(path.name,))
        except UserError as others:
            raise UserError(f"{damaged}; beside it, {others}") from damaged
        if other is None:
            raise
        return other._replace(notes=(f"skipped: {damaged}", *other.notes, f"using {other.path} instead"))


def files_read(path: str | Path) -> list[Path]:
    """The files that reading a checkpoint may read; of a folder, all in it or its folder checkpoints."""
    path = Path(path)
    folders, files = ((path, path / "checkpoints"), []) if path.is_dir() else ((path.parent,), [path])
    return files + [file for folder in folders for pattern in ("*.pt", MANIFEST) for file in folder.glob(pattern)]


def newest_good(folder: Path, skip: tuple[str, ...] = ()) -> Checkpoint | None:
    """The intact checkpoint of ``folder`` that is furthest in training; None if the folder holds no checkpoint.

    ``latest.pt`` is read first. Raises UserError if there are checkpoints and none can be used: a fresh start would
    overwrite files that may still be rescued. It is ``DamagedError`` if all of them are.
    """
    names = sorted(path.name for path in folder.glob("*.pt") if path.name not in skip)
    errors: list[UserError] = []
    good: list[Checkpoint] = []
    for name in sorted(names, key=lambda name: name != LATEST):
        try:
            # One wait is enough for what a network file system shows late.
            good.append(read_checkpoint(folder / name, wait=not errors))
        except UserError as error:
            errors.append(error)
            continue
        if name == LATEST:
            break
    notes = [f"skipped: {error}" for error in errors]
    if good:
        newest = max(good, key=lambda found: _position(found.state))
        return newest._replace(notes=(*notes, *newest.notes))
    if notes:
        kind = DamagedError if all(isinstance(error, DamagedError) for error in errors) else UserError
        raise kind(f"no checkpoint of {folder} can be used; {'; '.join(notes)}")
    return None


def _position(state: State) -> tuple[int, int]:
    """(optimiser steps done, kind) of a checkpoint; converted models have no training position."""
    training = state["training"]
    return (training["step"], 1) if training else (-1, 0)


def is_trained(path: Path) -> bool:
    """Whether the file is a checkpoint of a training, which can be read."""
    try:
        return path.is_file() and bool(load_checkpoint(path)["training"])
    except UserError:  # damaged, or something else
        return False
