"""The one dict that is a checkpoint: its keys, and how a state dict of another wrapper is read."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dcrnn_fast import __version__
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config

State = dict[str, Any]

FORMAT = 1
REQUIRED = ("format", "version", "config", "model", "graph", "window_format", "scaler", "training")

# Wrappers that put a prefix before every name: DataParallel and DDP, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")


class _HasState(Protocol):
    def to_state(self) -> dict[str, Any]: ...


def make_state(
    config: Config,
    model: nn.Module,
    graph: _HasState,
    window_format: _HasState,
    scaler: _HasState,
    training: dict[str, Any] | None = None,
) -> State:
    """A checkpoint: everything that a forecast needs, and with ``training`` all that a run needs to go on.

    Args:
        training: None for weights that were not trained here; such a checkpoint can be evaluated, not resumed.
    """
    return {
        "format": FORMAT,
        "version": __version__,
        "config": to_dict(config),
        "model": model.state_dict(),
        "graph": graph.to_state(),
        "window_format": window_format.to_state(),
        "scaler": scaler.to_state(),
        "training": training,
    }


def missing_keys(state: Mapping[str, Any]) -> list[str]:
    """The required keys that ``state`` lacks."""
    return [key for key in REQUIRED if key not in state]


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the prefix that a wrapper of the module put before all names."""
    for prefix in _WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return unwrapped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return dict(tensors)


def plain(value: Any) -> Any:
    """A copy on the CPU that ``weights_only=True`` reads: numpy's arrays become tensors, its scalars numbers.

    Raises:
        TypeError: ``value`` holds something else.
    """
    if isinstance(value, torch.Tensor):
        # A clone: a view would drag its whole storage into the file.
        return value.detach().to("cpu").clone()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "biufc" else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, str):
        return str(value)  # torch.__version__ is a class of its own
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"save_checkpoint: cannot store a {type(value).__name__}")
