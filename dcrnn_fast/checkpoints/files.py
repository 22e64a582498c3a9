"""Checkpoints: one file each, written so that a crash at any moment leaves a loadable one, and checked when read.

A checkpoint is a nested dict of tensors, numbers, strings and lists, written by ``torch.save`` and read with
``weights_only=True``: nothing in it can run code. torch does not notice a flipped bit in a weight, so the folder holds
a ``manifest.json`` with the SHA-256 of each file. It lists the old and the new hash before the file is replaced and
only the new one after that: whenever the machine stops, every file there is listed.
"""

import hashlib
import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dcrnn_fast.checkpoints.state import FORMAT, State, missing_keys, plain
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes
from dcrnn_fast.messages import first_line

MANIFEST = "manifest.json"
LATEST = "latest.pt"
BEST = "best.pt"


class Checkpoint(NamedTuple):
    """A checkpoint that passed its checks, and notes about those that were skipped."""

    path: Path
    state: State
    notes: tuple[str, ...]
    """lines for the user: damaged files that were skipped, a missing manifest"""


def save_checkpoint(folder: Path, state: State, *names: str) -> Path:
    """Writes ``state`` to ``folder`` under each name, in that order, and their manifest entries; returns the last path.

    It is serialised once. The previous files stay loadable until the new ones are complete. numpy arrays in ``state``
    become tensors, numpy scalars become Python's. Tensors are stored on the CPU.

    Raises UserError (disk full, folder gone): no file is left incomplete or unlisted, no temporary file stays.
    """
    if missing := missing_keys(state):
        raise ValueError(f"save_checkpoint: state lacks {missing}")
    payload = torch_bytes(plain(state))
    new = hashlib.sha256(payload).hexdigest()
    manifest = _read_manifest(folder) or {}
    _write_manifest(folder, manifest | {name: [*manifest.get(name, []), new] for name in names})
    for name in names:
        write_bytes(folder / name, payload)
    _write_manifest(folder, manifest | {name: [new] for name in names})
    return folder / names[-1]


def torch_bytes(content: Any) -> memoryview:
    """The bytes that ``torch.save`` writes for ``content``."""
    # Through memory: torch.save into a full disk raises a RuntimeError about "inline_container", not an OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def load_checkpoint(path: str | Path) -> State:
    """The state in ``path``, checked; see :func:`read_checkpoint` for the notes that belong to it."""
    return read_checkpoint(path).state


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads and checks one file: SHA-256 against the manifest beside it, without one the checksums in the file itself.

    Raises UserError: no such file, truncated, damaged, holding more than data, of another format.
    """
    path = Path(path)
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
    notes = _check_integrity(path, payload)
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|class) \S+", str(error))
        what = f" ({found[0]})" if found else ""
        raise UserError(f"checkpoint {path} holds more than data{what} and was not opened") from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"checkpoint {path} is not a checkpoint of dcrnn_fast: {first_line(error)}") from error
    if not isinstance(state, dict) or (missing := missing_keys(state)):
        what = f"it lacks {', '.join(missing)}" if isinstance(state, dict) else f"it holds a {type(state).__name__}"
        raise UserError(f"checkpoint {path} is not a checkpoint of dcrnn_fast: {what}; see `dcrnn-fast convert --help`")
    if state["format"] != FORMAT:
        raise UserError(f"checkpoint {path} has format {state['format']!r}, this version reads {FORMAT}")
    return Checkpoint(path, state, notes)


def read_good(path: str | Path) -> Checkpoint:
    """``path`` if it is intact, else the newest good checkpoint beside it, with notes about that.

    Raises UserError if there is none either; the message begins with the error of ``path``.
    """
    path = Path(path)
    if not path.is_file():
        return read_checkpoint(path)
    try:
        return read_checkpoint(path)
    except UserError as damaged:
        try:
            other = newest_good(path.parent, skip=(path.name,))
        except UserError as others:
            raise UserError(f"{damaged}; beside it, {others}") from damaged
        if other is None:
            raise
        return other._replace(notes=(f"skipped: {damaged}", *other.notes, f"using {other.path} instead"))


def newest_good(folder: Path, skip: tuple[str, ...] = ()) -> Checkpoint | None:
    """The intact checkpoint of ``folder`` that is furthest in training; None if the folder holds no checkpoint.

    ``latest.pt`` is read first. Raises UserError if there are checkpoints and all are damaged: a fresh start would
    overwrite files that may still be rescued.
    """
    names = sorted(path.name for path in folder.glob("*.pt") if path.name not in skip)
    notes: list[str] = []
    good: list[Checkpoint] = []
    for name in sorted(names, key=lambda name: name != LATEST):
        try:
            good.append(read_checkpoint(folder / name))
        except UserError as error:
            notes.append(f"skipped: {error}")
            continue
        if name == LATEST:
            break
    if good:
        newest = max(good, key=lambda found: _position(found.state))
        return newest._replace(notes=(*notes, *newest.notes))
    if notes:
        raise UserError(f"no checkpoint of {folder} can be used; {'; '.join(notes)}")
    return None


def _position(state: State) -> tuple[int, int]:
    """(optimiser steps done, kind) of a checkpoint; converted models have no training position."""
    training = state["training"]
    return (training["step"], 1) if training else (-1, 0)


def _check_integrity(path: Path, payload: bytes) -> tuple[str, ...]:
    manifest = _read_manifest(path.parent)
    listed = (manifest or {}).get(path.name)
    if listed:
        if hashlib.sha256(payload).hexdigest() not in listed:
            raise UserError(
                f"checkpoint {path} is damaged: its SHA-256 is not the one in {path.parent / MANIFEST}; "
                "use another checkpoint of that folder"
            )
        return ()
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise UserError(f"checkpoint {path} is truncated or no checkpoint: {error}") from error
    if broken is not None:
        raise UserError(f"checkpoint {path} is damaged: the checksum of {broken} does not match")
    return (f"{path}: no entry in {MANIFEST} beside it; checked by the checksums in the file",)


def _read_manifest(folder: Path) -> dict[str, list[str]] | None:
    """None: there is none, or it is no longer JSON (then the files' own checksums decide)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(manifest, dict):
        return None
    return {str(name): [str(digest) for digest in listed] for name, listed in manifest.items() if listed}


def _write_manifest(folder: Path, manifest: dict[str, list[str]]) -> None:
    write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
