"""A dispatch mode that refuses what a CUDA graph cannot hold: waits for the device, shapes that hang on values."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
FORBIDDEN = {
    _aten._local_scalar_dense,  # item(), bool(), float(), int()
    _aten.item,  # what an operator of this package sees of it
    _aten.is_nonzero,
    _aten.equal,
    _aten.allclose,
    _aten.nonzero,
    _aten.masked_select,
    _aten.argwhere,
    _aten._unique2,
    _aten.unique_consecutive,
    _aten.bincount,
    _aten.repeat_interleave,  # the Tensor form reads the repeats, unless it is told the size
    _aten.lift_fresh,  # torch.tensor(...) would copy from the host's pageable memory
}


class CaptureLint(TorchDispatchMode):
    """Raises RuntimeError on any of ``FORBIDDEN``, also inside the package's own operators."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls += 1
        if func.overloadpacket in FORBIDDEN and kwargs.get("output_size") is None:
            raise RuntimeError(f"{func} cannot stand in a CUDA graph")
        indices = args[1] if func.overloadpacket in (_aten.index, _aten.index_put_) else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            raise RuntimeError(f"{func} with a mask cannot stand in a CUDA graph")
        if func.namespace == "dcrnn_fast":
            kernel: Callable[..., Any] = func.redispatch
            with self:  # the operator's own launches, too
                return kernel(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)
        return func(*args, **kwargs)
