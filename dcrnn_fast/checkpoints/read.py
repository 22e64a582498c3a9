"""Checkpoints are read with ``weights_only=True``, so that nothing in them can run code, and checked: by the SHA-256 in
the manifest beside them, without one by the checksums in the file itself.
"""

import hashlib
import io
import pickle
import re
import struct
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dcrnn_fast.checkpoints.manifest import (
    MANIFEST,
    Manifest,
    read_manifest,
)
from dcrnn_fast.checkpoints.state import State, checked
from dcrnn_fast.config.foreign import as_file
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular
from dcrnn_fast.messages import first_line
from dcrnn_fast.system import is_out_of_memory

_PAUSES = (0.05, 0.15)
"""seconds before a file that is damaged is read again"""
_LATE = (0.3, 0.5, 1.0, 1.0, 2.0)
"""and, after those, before a whole file that the manifest does not list is: a network file system may show one of the
two late"""
_NEW = 300
"""seconds; clocks of two machines may differ by some"""
GARBLED = (
    *(zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, struct.error),
    *(ValueError, KeyError, IndexError, OverflowError),
)
"""all seen when Python's zip reader meets garbled bytes"""


class DamagedError(UserError):
    """The bytes of a checkpoint are not those that were saved; what is left of it may still be rescued."""


class UnlistedError(UserError):
    """A whole checkpoint that the manifest beside it does not list."""


class Checkpoint(NamedTuple):
    """A checkpoint that passed its checks, and notes about those that were skipped."""

    path: Path
    state: State
    notes: tuple[str, ...]
    """lines for the user: damaged files that were skipped, a missing manifest"""


def load_checkpoint(path: str | Path) -> State:
    """The state in ``path``, checked; see :func:`read_checkpoint` for the notes that belong to it."""
    return read_checkpoint(path).state


def read_checkpoint(path: str | Path, *, wait: bool = True) -> Checkpoint:
    """Reads and checks one file: SHA-256 against the manifest beside it, without one the checksums in the file itself.

    A file that a run is replacing just now is read again, and only what stays wrong is called so.

    Args:
        wait: for a network file system that may show file or manifest late.
    Raises:
        UserError: no such file, truncated, damaged (``DamagedError``), holding more than data, of another format,
            or with parts that are not what ``make_state`` makes.
    """
    path = Path(path)
    payload, notes = _whole(path, (*_PAUSES, *_LATE) if wait else _PAUSES)
    if _holds_quantized(payload):  # which torch's reader warns of, in lines of its own
        raise UserError(f"checkpoint {path} is not a checkpoint of dcrnn_fast: it holds quantized tensors")
    try:
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|class) \S+", str(error))
        what = f" ({found[0]})" if found else ""
        raise UserError(f"checkpoint {path} holds more than data{what} and was not opened") from error
    except Exception as error:
        # A garbled pickle fails anywhere in torch's reader, with the error of that place.
        if is_out_of_memory(error):
            raise
        raise DamagedError(f"checkpoint {path} is not a checkpoint of dcrnn_fast: {first_line(error)[:200]}") from error
    try:
        return Checkpoint(path, checked(content), notes)
    except UserError as error:
        raise UserError(f"checkpoint {path} {error}") from error


def _whole(path: Path, pauses: Sequence[float]) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file that is whole, and notes; reads again after each of the ``pauses`` while it seems not to be.

    The manifest is read while the file is open: whatever is renamed meanwhile, these bytes were the file of that name
    when the manifest was.
    """
    for pause in (*pauses, None):
        try:
            with open_regular(path) as stream:
                manifest, note = _manifest_beside(path)
                payload = stream.read()
            return payload, _check_integrity(path, payload, manifest, note)
        except FileNotFoundError as error:
            ours = f"; it is {named} here" if (named := as_file(path.name)) else ""
            raise UserError(f"checkpoint {path} cannot be read: {error.strerror}{ours}") from error
        except DamagedError:
            if pause is None or pause not in _PAUSES:
                raise
        except UnlistedError:
            if pause is None or not _was_just_written(path):
                raise
        except UserError:
            raise
        except (OSError, ValueError) as error:
            # An OSError of a network file system: the file that was opened is gone. ValueError: a NUL in the name.
            if pause is None or pause not in _PAUSES:
                reason = getattr(error, "strerror", None) or error
                raise UserError(f"checkpoint {path} cannot be read: {reason}") from error
        time.sleep(pause)
    raise AssertionError("the last round returns or raises")


def _was_just_written(path: Path) -> bool:
    """Whether the file or its manifest is so new that a network file system may not yet show the other."""
    ages = [time.time() - file.stat().st_mtime for file in (path, path.parent / MANIFEST) if file.exists()]
    return any(abs(age) < _NEW for age in ages)


def _manifest_beside(path: Path) -> tuple[Manifest, str]:
    """The manifest, and why the file is not looked up in it if it is not."""
    try:
        return read_manifest(path.parent), f"no entry in {MANIFEST} beside it"
    except UserError as error:
        return {}, str(error)


def _check_integrity(path: Path, payload: bytes, manifest: Manifest, note: str) -> tuple[str, ...]:
    listed = manifest.get(path.name)
    if listed and hashlib.sha256(payload).hexdigest() in listed:
        _require_honest_zip(path, payload)
        return ()
    try:
        broken = _broken_part(path, payload)
    except DamagedError:
        if not listed:
            raise
        broken = path.name  # it is not even an archive
    if not listed:
        if broken is not None:
            raise DamagedError(f"checkpoint {path} is damaged: the checksum of {broken} does not match")
        return (f"{path}: {note}; checked by the checksums in the file",)
    wrong = f"its SHA-256 is not the one in {path.parent / MANIFEST}"
    if broken is not None:
        raise DamagedError(f"checkpoint {path} is damaged: {wrong}; use another checkpoint of that folder")
    raise UnlistedError(
        f"checkpoint {path} is damaged, or {MANIFEST} is of another run: {wrong}, while the checksums in the file are "
        f"right; if the file was put there by hand, remove {MANIFEST} and it is used"
    )


def _broken_part(path: Path, payload: bytes) -> str | None:
    """The name of a part whose checksum is wrong."""
    archive = _require_honest_zip(path, payload)
    try:
        return archive.testzip()
    except GARBLED as error:
        raise DamagedError(f"checkpoint {path} is truncated or no checkpoint: {first_line(error)[:200]}") from error


def _holds_quantized(payload: bytes) -> bool:
    """Whether the pickle in a whole file makes tensors that are quantized."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return any(b"_rebuild_qtensor" in archive.read(name) for name in pickles)


def _require_honest_zip(path: Path, payload: bytes) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(payload))
    except GARBLED as error:
        raise DamagedError(f"checkpoint {path} is truncated or no checkpoint: {first_line(error)[:200]}") from error
    try:
        require_honest_parts(archive, len(payload))
    except UserError as error:
        raise DamagedError(f"checkpoint {path} is not a checkpoint of dcrnn_fast: {error}") from error
    return archive


def require_honest_parts(archive: zipfile.ZipFile, size: int) -> None:
    """Checks that the parts of a file of ``torch.save`` claim no more bytes than it has: torch allocates as they claim.

    Raises:
        UserError: they do.
    """
    parts = archive.infolist()
    claimed = sum(part.file_size for part in parts)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or claimed > size:
        raise UserError(f"its parts claim {claimed} bytes, the file has {size}")
