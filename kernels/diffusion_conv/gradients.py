"""Fakes and gradients of the diffusion convolution's operators, the same for every backend.

Shape legend: B batch, N nodes, C input channels, O output channels, I = C*M weight rows.
"""

from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.operator import call_backward, keep, kept, register_fake


def register_gradients(name: str) -> None:
    """Completes ``dcrnn_fast::NAME`` and ``NAME_backward``; options of a backend stand behind the forward's bias_O."""

    def setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        keep(ctx, name, inputs, without=["bias_O"])
        ctx.options_of_backend = len(inputs) - 5

    def gradient(ctx, grad_BNO):  # type: ignore[no-untyped-def]
        found, x_wanted = kept(ctx), ctx.needs_input_grad[0]
        dx_BNC, dweight_IO, dbias_O = call_backward(name, found, grad_BNO=grad_BNO, x_wanted=x_wanted)
        of_graph = [None] * len(found["terms"]), None
        return dx_BNC if x_wanted else None, *of_graph, dweight_IO, dbias_O, *[None] * ctx.options_of_backend

    register_fake(name, _fake_forward)
    register_fake(f"{name}_backward", _fake_backward)
    torch.library.register_autograd(f"dcrnn_fast::{name}", gradient, setup_context=setup)
    refuse_second_derivatives(f"dcrnn_fast::{name}_backward")


def _fake_forward(given: dict[str, Any]) -> Tensor:
    x_BNC, weight_IO = given["x_BNC"], given["weight_IO"]
    y_BNO: Tensor = x_BNC.new_empty(x_BNC.shape[0], x_BNC.shape[1], weight_IO.shape[1])
    return y_BNO


def _fake_backward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    x_BNC, weight_IO = given["x_BNC"], given["weight_IO"]
    dx_BNC = x_BNC.new_empty(x_BNC.shape if given["x_wanted"] else (0,))
    return dx_BNC, weight_IO.new_empty(weight_IO.shape), weight_IO.new_empty(weight_IO.shape[1])
