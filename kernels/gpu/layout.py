"""Activations between the layout of a call and that of the GPU kernels: nodes first, in tile order, padded to tiles.

Shape legend: T steps, N nodes, B batch, C channels.
"""

from torch import Tensor

from dcrnn_fast.kernels.gpu.plan import GpuGraph


def to_tiles(x_BTNC: Tensor, graph: GpuGraph) -> Tensor:
    """(T, N', B, C), contiguous: nodes first, in tile order; padding repeats node 0."""
    return x_BTNC.permute(1, 2, 0, 3).index_select(1, graph.order_N)


def gradient_to_tiles(grad_BTNC: Tensor, graph: GpuGraph) -> Tensor:
    """As ``to_tiles``, with zeros in the padding, which nothing reads."""
    grad_TNBC = to_tiles(grad_BTNC, graph)
    if graph.padded_nodes > graph.num_nodes:
        grad_TNBC[:, graph.num_nodes :].zero_()
    return grad_TNBC


def from_tiles(x_TNBC: Tensor, graph: GpuGraph, out: Tensor | None = None) -> Tensor:
    """(B, T, N, C), contiguous, or written into ``out``."""
    x_BTNC = x_TNBC.index_select(1, graph.position_N).permute(2, 0, 1, 3)
    return x_BTNC.contiguous() if out is None else out.copy_(x_BTNC)
