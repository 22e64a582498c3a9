"""The one dict that is a checkpoint: how it is made, what it must be when it is read, and weights in wrappers' names.

What stands in ``config``, ``graph``, ``window_format``, ``scaler`` and in most of ``training`` is checked where it is
written, by the ``from_dict`` or ``from_state`` beside each ``to_dict`` or ``to_state``.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dcrnn_fast import __version__
from dcrnn_fast.config.plain import shown, to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError

State = dict[str, Any]

FORMAT = 1
"""of the checkpoints that are written"""
READABLE = (1,)
"""formats that are read"""
EMA = "ema"
"""the key of the weights' moving average, which only some checkpoints have"""
INTERVALS = "intervals"
"""the key of prediction intervals, which only some checkpoints have"""
REQUIRED = ("format", "version", "config", "model", "graph", "window_format", "scaler", "training")

_PARTS = ("config", "model", "graph", "window_format", "scaler")
_POSITION = ("epoch", "step", "position")
_LARGEST_COUNT = 2**53
_LONGEST_TEXT = 1000
_DEEPEST, _MOST_PARTS = 20, 2_000_000
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

_WRAPPERS = ("module", "_orig_mod")
"""under which DataParallel and DDP, and torch.compile, hold the module that they wrap"""


class _HasState(Protocol):
    def to_state(self) -> dict[str, Any]: ...


def make_state(
    config: Config,
    model: nn.Module,
    graph: _HasState,
    window_format: _HasState,
    scaler: _HasState,
    training: dict[str, Any] | None = None,
    ema: Mapping[str, Tensor] | None = None,
) -> State:
    """A checkpoint: everything that a forecast needs, and with ``training`` all that a run needs to go on.

    Args:
        ema: the moving average of the weights, of a training that has one.
        training: None for weights that were not trained here; such a checkpoint can be evaluated, not resumed.
    """
    state = {
        "format": FORMAT,
        "version": __version__,
        "config": to_dict(config),
        "model": unwrapped(model.state_dict()),
        "graph": graph.to_state(),
        "window_format": window_format.to_state(),
        "scaler": scaler.to_state(),
        "training": training,
    }
    return state if ema is None else state | {EMA: dict(ema)}


def forecast_weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights to forecast with, whatever wrapped the model: their moving average where the checkpoint has one."""
    return unwrapped(state.get(EMA, state["model"]))


def average_notes(state: Mapping[str, Any]) -> list[str]:
    """A line that says so where ``forecast_weights`` are the average."""
    decay = state["config"].get("training", {}).get("ema_decay")
    return [f"weights: their moving average over the training (ema_decay {decay})"] if EMA in state else []


def missing_keys(state: Mapping[str, Any]) -> list[str]:
    """The required keys that ``state`` lacks."""
    return [key for key in REQUIRED if key not in state]


def checked(content: Any) -> State:
    """What a file holds, if it is what ``make_state`` makes.

    Raises:
        UserError: it is not; the message goes on after the file's name.
    """
    if isinstance(content, dict) and {"format", "version"} <= content.keys():
        _require_readable(content)
    if not isinstance(content, dict) or (missing := missing_keys(content)):
        what = f"it lacks {', '.join(missing)}" if isinstance(content, dict) else f"it holds a {type(content).__name__}"
        raise UserError(f"is not a checkpoint of dcrnn_fast: {what}; see `dcrnn-fast convert --help`")
    require_text("has a wrong version: it", content["version"])
    for name in _PARTS:
        require_named(f"has a wrong {name}", content[name])
    content["model"] = unwrapped(content["model"])
    for name, tensor in content["model"].items():
        require_weight(f"has a wrong weight {name}", tensor)
    if EMA in content:
        content[EMA] = _average(content[EMA], unwrapped(content["model"]))
    for name, value in content["graph"].items():
        if isinstance(value, Tensor):
            require_dense(f"has a wrong graph: {name}", value)
    if content.get(INTERVALS) is not None:
        require_named(f"has wrong {INTERVALS}", content[INTERVALS])
        for name, value in content[INTERVALS].items():
            if isinstance(value, Tensor):
                require_dense(f"has wrong {INTERVALS}: {name}", value)
    if content["training"] is not None:
        _require_position(content["training"])
    return content


def _require_readable(content: dict[str, Any]) -> None:
    """Asked first: what else a newer format holds is unknown."""
    number = content["format"]
    if type(number) is int and number in READABLE:
        return
    version = content.get("version")
    written = f", written by dcrnn_fast {version}" if isinstance(version, str) and version.isprintable() else ""
    known = ", ".join(map(str, READABLE))
    raise UserError(
        f"has format {shown(number)}{written[:100]}; dcrnn_fast {__version__}, which is installed here, reads format "
        f"{known}: install the version that wrote it, or a newer one"
    )


def _average(content: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    require_named(f"has a wrong {EMA}", content)
    average = unwrapped(content)
    if average.keys() != weights.keys():
        raise UserError(f"has a wrong {EMA}: it has {len(average)} names, and they are not those of the weights")
    for name, tensor in average.items():
        require_weight(f"has a wrong {EMA}: {name}", tensor)
        if tensor.shape != weights[name].shape:
            raise UserError(
                f"has a wrong {EMA}: {name} must be {tuple(weights[name].shape)}, got {tuple(tensor.shape)}"
            )
    return average


def _require_position(training: Any) -> None:
    require_named("has a wrong training state", training)
    for name in _POSITION:
        require_count(f"has a wrong training state: {name}", training.get(name))
    history = training.get("history")
    if not isinstance(history, list):
        raise UserError(f"has a wrong training state: history must be a list of epochs, got {shown(history)}")
    for row in history:
        require_named("has a wrong training state: an epoch of history", row)
        if wrong := [value for value in row.values() if type(value) not in (int, float)]:
            raise UserError(f"has a wrong training state: history must hold numbers, got {shown(wrong[0])}")
    digests = training.get("data", {})
    require_named("has a wrong training state: data", digests)
    for digest in digests.values():
        require_text("has a wrong training state: data", digest)


def require_named(what: str, value: Any) -> None:
    """Checks that ``value`` is a dict whose keys are texts; ``what`` begins the UserError's message."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{what}: wanted names with values, got {shown(value)}")


def require_text(what: str, value: Any) -> None:
    """Checks that ``value`` is text that can be printed and written; ``what`` begins the UserError's message."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise UserError(f"{what} must be text, got {shown(value)}")


def require_count(what: str, value: Any) -> None:
    """Checks that ``value`` counts something: a whole number from 0 on."""
    if type(value) is not int or not 0 <= value <= _LARGEST_COUNT:
        raise UserError(f"{what} must be a whole number from 0 on, got {shown(value)}")


def require_number(what: str, value: Any) -> None:
    """Checks that ``value`` is a finite number from 0 on: a sum, a rate, a span of time."""
    if type(value) not in (int, float) or not (0 <= value < math.inf):
        raise UserError(f"{what} must be a finite number from 0 on, got {shown(value)}")


def require_dense(what: str, tensor: Any) -> None:
    """Checks that ``tensor`` is an ordinary one whose elements are all there.

    A file of a kilobyte can hold one that repeats a number 10^12 times.
    """
    if not isinstance(tensor, Tensor):
        raise UserError(f"{what}: wanted a tensor, got {shown(tensor)}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.device.type != "cpu":
        raise UserError(
            f"{what}: wanted a dense tensor, got {str(tensor.layout).removeprefix('torch.')} of {tensor.dtype}"
        )
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > held:
        raise UserError(
            f"{what}: it claims {tensor.numel()} numbers of shape {tuple(tensor.shape)}, the file holds {held}"
        )


def require_copyable(state: State) -> None:
    """Checks that a copy of all that a checkpoint holds, other programs' parts too, is no larger than its file.

    Raises:
        UserError: a tensor claims more than the file holds, or lists are in each other too deeply or too often.
    """
    parts: list[tuple[Any, int]] = [(state, 0)]
    seen = 0
    while parts:
        part, depth = parts.pop()
        seen += 1
        if isinstance(part, Tensor):
            require_dense("holds a wrong tensor", part)
        elif isinstance(part, (dict, list, tuple)):
            if depth > _DEEPEST or seen + len(part) > _MOST_PARTS:
                raise UserError("holds lists in lists, too deeply or too often")
            parts += [(item, depth + 1) for item in (part.values() if isinstance(part, dict) else part)]


def require_weight(what: str, tensor: Any) -> None:
    """``require_dense``, and finite real numbers of floating point."""
    require_dense(what, tensor)
    if tensor.dtype not in _FLOATS:
        raise UserError(f"{what}: wanted floating-point numbers, got {tensor.dtype}")
    # A sum is finite if all of it is, but for overflow, and reads the numbers once.
    if not (math.isfinite(tensor.sum().item()) or tensor.isfinite().all()):
        raise UserError(
            f"{what}: it holds NaN or infinity, as after a training that diverged; use an earlier checkpoint"
        )


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the names that wrappers of the module, or of a part of it, put between others.

    Names of which two would become the same stay as they are.
    """
    names = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in tensors}
    if "" in names.values() or len(set(names.values())) < len(names):
        return dict(tensors)
    return {names[name]: tensor for name, tensor in tensors.items()}


def plain(value: Any, former: Any = None) -> Any:
    """A copy on the CPU that ``weights_only=True`` reads: numpy's arrays become tensors, its scalars numbers.

    Args:
        former: an earlier copy; the memory of its tensors is used again where they have the same shape and type.
    Raises:
        TypeError: ``value`` holds something else.
    """
    if isinstance(value, torch.Tensor):
        if isinstance(former, torch.Tensor) and (former.shape, former.dtype) == (value.shape, value.dtype):
            return former.copy_(value.detach())
        # A copy of its own: a view would drag its whole storage into the file.
        return value.detach().to("cpu", copy=True)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "biufc" else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        before = former if isinstance(former, dict) else {}
        return {key: plain(item, before.get(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        earlier = former if isinstance(former, (list, tuple)) and len(former) == len(value) else [None] * len(value)
        copies = [plain(item, was) for item, was in zip(value, earlier, strict=True)]
        return copies if isinstance(value, list) else tuple(copies)
    if isinstance(value, str):
        return str(value)  # torch.__version__ is a class of its own
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"save_checkpoint: cannot store a {type(value).__name__}")
