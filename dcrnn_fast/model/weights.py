"""The parameters of a DCRNN by name and shape, and a model with given ones.

Shape legend: C input channels, O output channels, K known channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

NUM_SUPPORTS = {"dual_random_walk": 2, "random_walk": 1, "laplacian": 1}
_OF_A_LAYER, _OF_THE_PROJECTION = 8, 2


def num_terms(diffusion: GraphConfig) -> int:
    """M."""
    return 1 + NUM_SUPPORTS[diffusion.supports] * diffusion.hops


def parameter_shapes(
    *,
    input_channels: int,
    output_channels: int,
    hidden_units: int,
    num_layers: int,
    num_terms: int,
    known_channels: int = 0,
) -> dict[str, tuple[int, ...]]:
    """Every parameter of a DCRNN of these sizes (C, O, H, L, M, K) and its shape, in the order of its state dict."""
    H, shapes = hidden_units, dict[str, tuple[int, ...]]()
    for side, first in (("encoder", input_channels), ("decoder", output_channels + known_channels)):
        for layer in range(num_layers):
            rows = ((first if layer == 0 else H) + H) * num_terms
            shapes[f"{side}.{layer}.gate_weight"] = (rows, 2 * H)
            shapes[f"{side}.{layer}.gate_bias"] = (2 * H,)
            shapes[f"{side}.{layer}.candidate_weight"] = (rows, H)
            shapes[f"{side}.{layer}.candidate_bias"] = (H,)
    return shapes | {"projection.weight": (output_channels, H), "projection.bias": (output_channels,)}


def require_weights(
    weights: Mapping[str, Tensor],
    config: Config,
    *,
    input_channels: int,
    output_channels: int,
    known_channels: int = 0,
) -> None:
    """Checks names and shapes against the model that ``config`` asks for, before anything of its size is made.

    Raises:
        UserError: one does not fit; the message names it.
    """
    try:
        _require_shapes(weights, config, input_channels, output_channels, known_channels)
    except UserError as error:
        raise UserError(f"its weights do not fit its own configuration: {error}") from error


def _require_shapes(
    weights: Mapping[str, Tensor], config: Config, input_channels: int, output_channels: int, known_channels: int
) -> None:
    layers = config.model.num_layers
    if (got := len(weights)) != (wanted := _OF_A_LAYER * layers + _OF_THE_PROJECTION) and got < wanted // 2:
        raise UserError(f"{layers} layers have {wanted} parameters, there are {got}")
    shapes = parameter_shapes(
        input_channels=input_channels,
        output_channels=output_channels,
        hidden_units=config.model.hidden_units,
        num_layers=layers,
        num_terms=num_terms(config.graph),
        known_channels=known_channels,
    )
    if missing := sorted(shapes.keys() - weights.keys()):
        raise UserError(f"{first_few(missing, 3)} missing")
    if more := sorted(weights.keys() - shapes.keys()):
        raise UserError(f"{first_few(more, 3)} unknown")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise UserError(f"{name} must be {shape}, got {tuple(weights[name].shape)}")


def own_copies(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as float32 in memory of their own, for a model to keep."""
    return {
        name: tensor.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
