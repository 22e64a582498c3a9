"""The encoder-decoder's gradients for every backend: as a backward operator returns them, and as autograd wants them.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

# Of x, the encoder's and the decoder's flat weights, the projection's weight and bias, and the labels.
Gradients = tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor]


def empty_gradients(
    x: Tensor,
    encoder: Sequence[Tensor],
    decoder: Sequence[Tensor],
    projection_weight_OH: Tensor,
    labels: Tensor,
    x_wanted: bool,
    labels_wanted: bool,
) -> Gradients:
    """A backward operator's results for its fake; ``labels`` or a tensor like them. Unwanted ones have no elements."""
    return (
        x.new_empty(x.shape if x_wanted else (0,)),
        [tensor.new_empty(tensor.shape) for tensor in encoder],
        [tensor.new_empty(tensor.shape) for tensor in decoder],
        projection_weight_OH.new_empty(projection_weight_OH.shape),
        projection_weight_OH.new_empty(projection_weight_OH.shape[0]),
        labels.new_empty(labels.shape if labels_wanted else (0,)),
    )


def wanted_inputs(ctx: Any) -> dict[str, bool]:
    """Whether the gradients of x and of the labels are wanted, by their places among a forward operator's inputs."""
    return {"x_wanted": ctx.needs_input_grad[0], "labels_wanted": ctx.needs_input_grad[7]}


def input_gradients(
    gradients: Gradients, graph_tensors: int, x_wanted: bool, labels_wanted: bool, options: int = 2
) -> tuple[object, ...]:
    """One for each input of a forward operator: x, graph, M, cells, projection, labels, coins and its options."""
    dx, dencoder, ddecoder, dweight_OH, dbias_O, dlabels = gradients
    return (
        dx if x_wanted else None,
        [None] * graph_tensors,
        None,
        dencoder,
        ddecoder,
        dweight_OH,
        dbias_O,
        dlabels if labels_wanted else None,
        None,
        *[None] * options,
    )
