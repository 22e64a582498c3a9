"""The other way: a DCRNN's parameters in the public PyTorch port's names, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dcrnn_fast.checkpoints.save import torch_bytes
from dcrnn_fast.files import write_bytes
from dcrnn_fast.interop.names import port_names


def export_pytorch_port(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ``DCRNN`` as the port's: same values, its names.

    The weights alone do not carry the graph: the port gives the same forecasts only on the same supports, with
    released orientation and recursion.
    """
    units = state["projection.weight"].shape[1]
    exported: dict[str, Tensor] = {}
    for name in state:
        if name.endswith(".candidate_weight"):
            side, layer, _ = name.split(".")
            for ours, theirs in port_names(units, state[name].shape[0], side, int(layer)).items():
                exported[theirs] = state[ours].detach().cpu().clone()
    for kind in ("weight", "bias"):
        exported[f"decoder_model.projection_layer.{kind}"] = state[f"projection.{kind}"].detach().cpu().clone()
    return exported


def save_pytorch_port(path: str | Path, state: Mapping[str, Tensor], settings: Mapping[str, Any], epoch: int) -> None:
    """Writes the port's checkpoint: ``torch.save`` of its configuration with ``model_state_dict`` and ``epoch``.

    Args:
        settings: the port's section ``model`` (filter_type, max_diffusion_step, num_nodes, seq_len, horizon, ...).
    """
    content = {"model": dict(settings), "model_state_dict": export_pytorch_port(state), "epoch": epoch}
    write_bytes(path, torch_bytes(content))
