"""Launches every GPU kernel: the one place in which tests and counters see all launches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Launch(NamedTuple):
    """One launch, as it goes to Triton."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    constants: dict[str, Any]
    warps: int
    stages: int


_observers: list[Callable[[Launch], bool]] = []


@contextmanager
def observed(observer: Callable[[Launch], bool]) -> Iterator[None]:
    """Shows every launch to ``observer`` first; it is run only if all observers return true."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: dict[str, Any],
    constants: dict[str, Any],
    *,
    warps: int,
    stages: int,
) -> None:
    """Launches on the current stream of the current device; nothing for an empty grid.

    Raises:
        ValueError: more blocks than CUDA allows in a dimension.
    """
    if 0 in grid:
        return
    if max(grid[1:], default=0) > 65535:
        raise ValueError(f"a grid of {grid} blocks is more than the 65535 that CUDA allows; use a smaller batch")
    one = Launch(kernel, grid, arguments, constants, warps, stages)
    if sum(not observer(one) for observer in _observers) == 0:
        kernel[grid](**arguments, **constants, num_warps=warps, num_stages=stages)


def is_wide(tensors: Sequence[Tensor]) -> bool:
    """Whether offsets into one of the tensors need 64 bits."""
    return any(tensor.numel() >= 2**31 for tensor in tensors)


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """The device guard around launches: Triton takes the current device's current stream."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
