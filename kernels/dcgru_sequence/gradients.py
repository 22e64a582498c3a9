"""Fakes of backwards, and gradients, of the operators of stacked cells in compiled kernels and on GPUs.

Shape legend: B batch, T steps, N nodes, H units, L layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.operator import call_backward, keep, kept, only_for_the_backward, register_fake


def register_gradients(name: str, saved: Callable[[Any], Any]) -> None:
    """Completes ``dcrnn_fast::NAME``, whose outputs are all states, the last ones, and ``saved(outputs)``."""

    def setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        keep(ctx, name, inputs, saved=saved(output))
        only_for_the_backward(ctx, output[2:])

    def gradient(ctx, grad_BTNH, grad_LBNH, *_):  # type: ignore[no-untyped-def]
        found, x_wanted = kept(ctx), ctx.needs_input_grad[0]
        x_BTNC, initial_LBNH = found["x_BTNC"], found["initial_LBNH"]
        if grad_BTNH is None:
            grad_BTNH = x_BTNC.new_zeros(()).expand(*x_BTNC.shape[:3], initial_LBNH.shape[3])
        if grad_LBNH is None:
            grad_LBNH = torch.zeros_like(initial_LBNH)
        dx_BTNC, dinitial_LBNH, dlayers = call_backward(
            name, found, grad_BTNH=grad_BTNH, grad_LBNH=grad_LBNH, x_wanted=x_wanted
        )
        return dx_BTNC if x_wanted else None, dinitial_LBNH, [None] * len(found["terms"]), None, dlayers, None, None

    register_fake(f"{name}_backward", _fake_backward)
    torch.library.register_autograd(f"dcrnn_fast::{name}", gradient, setup_context=setup)
    refuse_second_derivatives(f"dcrnn_fast::{name}_backward")


def _fake_backward(given: dict[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients like x, the first states and the layers; an unwanted one of x has no elements."""
    x_BTNC, initial_LBNH = given["x_BTNC"], given["initial_LBNH"]
    return (
        x_BTNC.new_empty(x_BTNC.shape if given["x_wanted"] else (0,)),
        initial_LBNH.new_empty(initial_LBNH.shape),
        [tensor.new_empty(tensor.shape) for tensor in given["layers"]],
    )
