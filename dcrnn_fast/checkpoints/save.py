"""Checkpoints are written so that a crash at any moment leaves a loadable one: one file each, by ``torch.save``.

A checkpoint is a nested dict of tensors, numbers, strings and lists. torch does not notice a flipped bit in a weight,
so the folder holds a ``manifest.json`` with the SHA-256 of each file. It lists the new hash before the file is
replaced, beside those of earlier saves: whenever the machine stops, and whenever a reader looks, every file is listed.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dcrnn_fast.checkpoints.manifest import (
    read_manifest,
    shortened,
    write_manifest,
)
from dcrnn_fast.checkpoints.state import State, missing_keys, plain
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes

LATEST = "latest.pt"
BEST = "best.pt"


def save_checkpoint(folder: Path, state: State, *names: str) -> Path:
    """Writes ``state`` to ``folder`` under each name, in that order, and their manifest entries; returns the last path.

    It is serialised once. The previous files stay loadable until the new ones are complete. numpy arrays in ``state``
    become tensors, numpy scalars become Python's. Tensors are stored on the CPU.

    Raises UserError (disk full, folder gone, another program's manifest.json there): no file is left incomplete or
    unlisted, no temporary file stays.
    """
    write_checkpoint(folder, copy_of(state), names)
    return folder / names[-1]


def copy_of(state: State, former: State | None = None) -> State:
    """A copy of ``state`` on the CPU, for ``write_checkpoint``: nothing in it changes when training goes on.

    Args:
        former: an earlier copy, whose memory is used again.
    """
    if missing := missing_keys(state):
        raise ValueError(f"save_checkpoint: state lacks {missing}")
    copy: State = plain(state, former)
    return copy


def write_checkpoint(
    folder: Path,
    copy: State,
    names: Sequence[str],
    delete: Sequence[str] = (),
    before_rename: Callable[[], None] = lambda: None,
) -> None:
    """What ``save_checkpoint`` does with a copy; then deletes other checkpoints: file first, manifest entry second.

    Args:
        before_rename: called before each rename and each deletion; if it raises, nothing more is changed.
    """
    payload = torch_bytes(copy)
    new = hashlib.sha256(payload).hexdigest()
    manifest = read_manifest(folder)
    manifest |= {name: [*manifest.get(name, []), new] for name in names}
    write_manifest(folder, manifest, before_rename)
    for name in names:
        write_bytes(folder / name, payload, before_rename)
    for name in delete:
        before_rename()
        _remove(folder / name)
    left = shortened({name: listed for name, listed in manifest.items() if name not in delete})
    if left != manifest:
        write_manifest(folder, left, before_rename)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot delete {path}, an older checkpoint: {error.strerror or error}") from error


def torch_bytes(content: Any) -> memoryview:
    """The bytes that ``torch.save`` writes for ``content``."""
    # Through memory: torch.save into a full disk raises a RuntimeError about "inline_container", not an OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()
