"""How the compiled kernels, which know no Python, exchange rows: two C functions that call the partners.

The kernels call them on the thread that called the operator. An error cannot pass through compiled code: it is kept,
the operator fails with words of its own, and ``raising_what_failed`` raises the kept one in their place.
"""

import ctypes
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.halo.exchange import halo_named

_here = threading.local()


class _Running:
    """Exchanges of this thread that were started and not finished, by halo, and the first error."""

    def __init__(self) -> None:
        self.waits: dict[int, deque[Callable[[], None]]] = defaultdict(deque)
        self.error: BaseException | None = None


def _running() -> _Running:
    if not hasattr(_here, "running"):
        _here.running = _Running()
    running: _Running = _here.running
    return running


def _start(name: int, transposed: int, send: int | None, receive: int | None, row_bytes: int) -> int:
    def begin() -> None:
        halo = halo_named(name)
        route = halo.route(transposed=bool(transposed))
        rows = _rows(send, sum(route.sent), row_bytes), _rows(receive, sum(route.received), row_bytes)
        _running().waits[name].append(halo.partners.start(rows[0], route.sent, rows[1], route.received))

    return _told(begin)


def _finish(name: int) -> int:
    return _told(lambda: _running().waits[name].popleft()())


def _told(act: Callable[[], None]) -> int:
    try:
        act()
    except BaseException as error:
        _running().error = error
        return 1
    return 0


def _rows(address: int | None, rows: int, row_bytes: int) -> Tensor:
    """The kernels' memory as a tensor of bytes (rows, row_bytes), without a copy."""
    if address is None or not rows * row_bytes:
        return torch.empty(0, row_bytes, dtype=torch.uint8)
    memory = (ctypes.c_char * (rows * row_bytes)).from_address(address)
    return torch.frombuffer(memory, dtype=torch.uint8).view(rows, row_bytes)


@cache
def connect(module: ModuleType) -> tuple[Any, Any]:
    """Gives the opened compiled kernels the two functions, which this result keeps alive."""
    start = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    )(_start)
    finish = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)(_finish)
    module.set_exchange(*(ctypes.cast(function, ctypes.c_void_p).value for function in (start, finish)))
    return start, finish


@contextmanager
def raising_what_failed() -> Iterator[None]:
    """Raises the error of an exchange in place of the operator's that it made fail."""
    try:
        yield
    except BaseException:
        running = _running()
        error, running.error = running.error, None
        running.waits.clear()
        if error is None:
            raise
        raise error from None
