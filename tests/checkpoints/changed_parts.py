"""Checkpoints with one part changed: every part, and what it can be made into."""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch

Where = tuple[Any, ...]
UNSAVABLE = (RuntimeError, TypeError, NotImplementedError, IndexError, OverflowError)
"""of torch, which makes no such tensor or file"""

JUNK: dict[str, Any] = {
    "5": 5,
    "-1": -1,
    "2.5": 2.5,
    "10^18": 10**18,
    "10^30": 10**30,
    "true": True,
    "nothing": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "1e308": 1e308,
    "x": "x",
    "no text": "",
    "long text": "9" * 5000,
    "a path": "../../x",
    "NUL": "a\0b",
    "surrogate": "\ud800",
    "[]": [],
    "[1]": [1],
    "[None]": [None],
    "['x']": ["x"],
    "deep": [[[[[[1]]]]]],
    "{}": {},
    "{'a': 1}": {"a": 1},
    "{1: 2}": {1: 2},
    "()": (),
    "tensor": torch.tensor([1.0, 2.0, 3.0]),
    "scalar": torch.tensor(1.0),
    "claims 10^12": torch.zeros(1).expand(10**12),
    "claims (10^6, 2)": torch.zeros(1).expand(10**6, 2),
    "no numbers": torch.zeros(0),
    "ordered": OrderedDict(a=1),
    "bytes": b"x",
    "size": torch.Size([3]),
    "dtype": torch.float32,
    "device": torch.device("cpu"),
}
TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "with NaN": lambda t: t.double().index_fill(0, torch.tensor([0]), math.nan) if t.dim() else t.double() * math.nan,
    "with infinity": lambda t: (
        t.double().index_fill(0, torch.tensor([0]), math.inf) if t.dim() else t.double() * math.inf
    ),
    "int64": lambda t: t.to(torch.int64),
    "boolean": lambda t: t.to(torch.bool),
    "complex": lambda t: t.to(torch.complex64),
    "float16": lambda t: t.to(torch.float16),
    "bfloat16": lambda t: t.to(torch.bfloat16),
    "sparse": lambda t: t.to_sparse(),
    "quantized": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    "one more dimension": lambda t: t[None],
    "cut": lambda t: t.reshape(-1)[:-1].clone(),
    "repeated": lambda t: torch.cat([t.reshape(1, -1)] * 2),
    "claims more": lambda t: t.reshape(-1)[:1].expand(10**9),
    "negative": lambda t: -t.double() - 1,
    "with a gradient": lambda t: t.double().requires_grad_(),
    "parameter": lambda t: torch.nn.Parameter(t.double()),
    "meta": lambda t: t.to("meta"),
    "listed": lambda t: t.reshape(-1)[:10].tolist(),
}


def places(part: Any, where: Where = ()) -> Iterator[Where]:
    """The way to every part, but for all but the first two of long lists."""
    if where:
        yield where
    if isinstance(part, dict):
        for name in part:
            yield from places(part[name], (*where, name))
    elif isinstance(part, (list, tuple)):
        for index in range(min(len(part), 2)):
            yield from places(part[index], (*where, index))


def changes(part: Any) -> list[str]:
    """What can be done to a part."""
    own = [*TENSORS] if isinstance(part, torch.Tensor) else []
    if isinstance(part, dict):
        own += ["one more", "names are numbers"]
    return [*JUNK, *own, "left out"]


def part_at(state: Any, where: Where) -> Any:
    for name in where:
        state = state[name]
    return state


def changed(state: dict[str, Any], where: Where, change: str) -> dict[str, Any]:
    """A copy of ``state`` with one part changed."""
    whole = _unfrozen(copy.deepcopy(state))
    parent, name = part_at(whole, where[:-1]), where[-1]
    if change == "left out":
        del parent[name]
    elif change == "one more":
        parent[name]["another"] = 1
    elif change == "names are numbers":
        parent[name] = dict(enumerate(parent[name].values()))
    else:
        parent[name] = JUNK[change] if change in JUNK else TENSORS[change](parent[name])
    return whole


def _unfrozen(part: Any) -> Any:
    """Tuples as lists, so that their items can be changed."""
    if isinstance(part, dict):
        return {name: _unfrozen(item) for name, item in part.items()}
    return [_unfrozen(item) for item in part] if isinstance(part, (list, tuple)) else part
