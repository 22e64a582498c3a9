"""Opens weight files of unknown origin without letting them run anything: torch's (data only) and numpy's archives."""

import io
import math
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.checkpoints.read import GARBLED, require_honest_parts
from dcrnn_fast.checkpoints.state import unwrapped
from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular
from dcrnn_fast.messages import first_line
from dcrnn_fast.system import is_out_of_memory

_MOST_COMPRESSED = 1100
"""how many times smaller zip's compression makes anything: 1032 times"""


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors of a file, and the settings that were saved with them.

    Understood: ``torch.save`` of a state dict, of a dict that holds one as ``model_state_dict`` or ``state_dict`` (the
    port's ``.tar``, whose section ``model`` is the settings), of a pair (state dict, optimiser state) as LibCity
    writes it; and an ``.npz`` of arrays.

    Raises:
        UserError: the file cannot be read, is truncated, would run code, or holds no named tensors.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            payload = stream.read()
    except OSError as error:
        raise UserError(f"weights {path} cannot be read: {error.strerror or error}") from error
    if _is_npz(payload):
        return _read_npz(path, payload), {}
    content = _load_torch(path, payload)
    settings: dict[str, Any] = {}
    if isinstance(content, (tuple, list)) and content:
        content = content[0]
    if isinstance(content, Mapping):
        if "window_format" in content and "scaler" in content:
            raise UserError(f"{path} is a checkpoint of dcrnn_fast already; --export writes it in the port's names")
        for key in ("model_state_dict", "state_dict"):
            if key in content:
                if isinstance(content.get("model"), Mapping):
                    settings = dict(content["model"])
                content = content[key]
                break
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f"{path} holds no state dict but an object of type {type(content).__name__}; save model.state_dict()"
        )
    if strangers := [key for key, value in content.items() if not isinstance(value, Tensor)]:
        kind = type(content[strangers[0]]).__name__
        raise UserError(
            f"{path} holds no state dict: {shown(strangers[0])} is of type {kind}, not a tensor; "
            "save model.state_dict()"
        )
    return unwrapped({str(name): tensor for name, tensor in content.items()}), settings


def _is_npz(payload: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except GARBLED:
        return False


def _read_npz(path: Path, payload: bytes) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            for part in archive.infolist():
                _require_honest_array(archive, part)
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (*GARBLED, zlib.error) as error:
        raise UserError(f"weights {path} cannot be read: {first_line(error)[:200]}") from error
    # Counters and learning rates travel with TensorFlow's variables; they are told apart by name later.
    return {
        name: torch.from_numpy(np.array(array))
        for name, array in held.items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.dtype.isnative
    }


def _require_honest_array(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """ValueError if an array claims more numbers than its bytes, or these more than can be compressed so."""
    if part.file_size > _MOST_COMPRESSED * (part.compress_size + 1):
        raise ValueError(f"{part.filename} claims {part.file_size} bytes in {part.compress_size}")
    if not part.filename.endswith(".npy"):
        return
    with archive.open(part) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    if math.prod(shape) * dtype.itemsize > part.file_size:
        raise ValueError(f"{part.filename} claims an array of shape {shape} in {part.file_size} bytes")


def _load_torch(path: Path, payload: bytes) -> Any:
    _require_honest_zip(path, payload)
    try:
        with warnings.catch_warnings():
            # That a pickle is of another protocol than torch writes: one line about the file follows anyhow.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"weights {path} were not opened: the pickle would run {named[1]}; open it where you trust it, and "
                "save model.state_dict() alone"
            ) from error
        raise UserError(f"weights {path} are no file of torch.save, or damaged; they begin {payload[:8]!r}") from error
    except Exception as error:
        # torch's reader meets a truncated archive or a garbled pickle in many places, with the error of that place; its
        # words, such as "pop from empty list", do not help the user.
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"weights {path} are truncated or no file of torch.save; they begin {payload[:8]!r}: give a state dict "
            "(.pt, .tar) or arrays (.npz)"
        ) from error


def _require_honest_zip(path: Path, payload: bytes) -> None:
    """Of a file of ``torch.save`` that is an archive; older ones are none."""
    if not payload.startswith(b"PK"):
        return
    try:
        require_honest_parts(zipfile.ZipFile(io.BytesIO(payload)), len(payload))
    except UserError as error:
        raise UserError(f"weights {path} were not opened: {error}") from error
    except GARBLED as error:
        raise UserError(f"weights {path} are truncated: {first_line(error)[:200]}") from error
