"""Fakes of backwards, and gradients, of the encoder-decoder's operators, the same for every backend.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels,
H units, M diffusion terms.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.operator import call_backward, keep, kept, only_for_the_backward, register_fake


def register_gradients(
    name: str, grad: str, outputs: Callable[[Any], dict[str, Any]], *, without: Sequence[str] = ("projection_bias_O",)
) -> None:
    """Completes ``dcrnn_fast::NAME``, whose options stand behind the coins and before what is known, and
    ``NAME_backward``.

    Args:
        grad: the backward's name of the prediction's gradient, its first argument.
        outputs: from the forward's outputs, the prediction first, to the backward's arguments among them.
        without: the forward's inputs that the backward does not want.
    """

    def setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        keep(ctx, name, inputs, without=without, **outputs(output))
        ctx.prediction_shape, ctx.options_of_backend = output[0].shape, len(inputs) - 10
        only_for_the_backward(ctx, output[1:])

    def gradient(ctx, grad_prediction, *_):  # type: ignore[no-untyped-def]
        found = kept(ctx)
        # PyTorch leaves the last argument out if it is None.
        given_arguments, known_at = len(ctx.needs_input_grad), 9 + ctx.options_of_backend
        x_wanted, labels_wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[7]
        known_wanted = given_arguments > known_at and ctx.needs_input_grad[known_at]
        if grad_prediction is None:
            grad_prediction = found["projection_weight_OH"].new_zeros(ctx.prediction_shape)
        wanted = {"x_wanted": x_wanted, "labels_wanted": labels_wanted, "known_wanted": known_wanted}
        dx, dencoder, ddecoder, dweight_OH, dbias_O, dlabels, dknown = call_backward(
            name, found, **{grad: grad_prediction}, **wanted
        )
        gradients = (
            dx if x_wanted else None,
            [None] * len(found["terms"]),
            None,
            dencoder,
            ddecoder,
            dweight_OH,
            dbias_O,
            dlabels if labels_wanted else None,
            None,
            *[None] * ctx.options_of_backend,
            dknown if known_wanted else None,
        )
        return gradients[:given_arguments]

    register_fake(f"{name}_backward", _fake_backward)
    torch.library.register_autograd(f"dcrnn_fast::{name}", gradient, setup_context=setup)
    refuse_second_derivatives(f"dcrnn_fast::{name}_backward")


def known_channels(decoder: Sequence[Tensor], num_terms: int, projection_weight_OH: Tensor) -> int:
    """K, from the shape of the decoder's first weights."""
    O, H = projection_weight_OH.shape  # noqa: E741
    return decoder[0].shape[0] // num_terms - O - H


def _fake_backward(given: dict[str, Any]) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Of x, the cells, the projection, the labels and what is known; unwanted ones, where a backend asks, have no
    elements.
    """
    grad, x, *_ = given.values()
    weight_OH = given["projection_weight_OH"]
    K = known_channels(given["decoder"], given["num_terms"], weight_OH)
    return (
        x.new_empty(x.shape if given.get("x_wanted", True) else (0,)),
        [tensor.new_empty(tensor.shape) for tensor in given["encoder"]],
        [tensor.new_empty(tensor.shape) for tensor in given["decoder"]],
        weight_OH.new_empty(weight_OH.shape),
        weight_OH.new_empty(weight_OH.shape[0]),
        grad.new_empty(grad.shape if given.get("labels_wanted", True) else (0,)),
        grad.new_empty((*grad.shape[:3], K) if given["known_wanted"] else (0,)),
    )
