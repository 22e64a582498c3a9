"""How fast this machine multiplies matrices: the yardstick of every fraction that ``bench.compare`` reports.

Three ways that PyTorch has: ``torch.mm`` in float32 (MKL on x86, which runs at half speed on other makers' processors),
oneDNN's own float32, and bfloat16 (oneDNN). The shape is that of the recurrent products of 64 units and 5 terms.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ROWS, DEPTH, COLUMNS = 2048, 640, 192
GFLOP = 2 * ROWS * DEPTH * COLUMNS / 1e9
KINDS = ("mm_float32", "onednn_float32", "bf16")
PRODUCTS_OF = {"float32": ("mm_float32", "onednn_float32"), "bf16": ("bf16",), "bf16x3": ("bf16",), "float64": ()}


class Product:
    """One matrix product of a kind; ``run()`` is timed.

    Raises:
        NotImplementedError: this PyTorch was built without oneDNN.
    """

    def __init__(self, kind: str) -> None:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(shape, generator=generator) for shape in ((ROWS, DEPTH), (DEPTH, COLUMNS)))
        self.run: Callable[[], Tensor]
        if kind == "mm_float32":
            self.run = lambda: a @ b
        elif kind == "bf16":
            a_low, b_low = a.bfloat16(), b.bfloat16()
            self.run = lambda: a_low @ b_low
        elif not torch.backends.mkldnn.is_available():
            raise NotImplementedError("this PyTorch was built without oneDNN")
        else:
            opaque, transposed = a.to_mkldnn(), b.T.contiguous()
            self.run = lambda: torch._C._nn.mkldnn_linear(opaque, transposed)


def roofline(dtype: str, rates: dict[str, float]) -> float:
    """The fastest GFLOP/s among the kinds of a dtype; a fifth of bfloat16's for bf16x3, which multiplies five
    times on average: six times forward and for the gradients of states, three times for those of weights.
    """
    best = max((rates[kind] for kind in PRODUCTS_OF[dtype] if kind in rates), default=float("nan"))
    return best / 5 if dtype == "bf16x3" else best
