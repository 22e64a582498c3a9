"""Checks of the public operators' arguments; each error names the argument, the value it got and the one it wants."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.saving import SAVE_ALL, segment_length
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cell_shape


def require_shape(op: str, name: str, got: Tensor, wanted: Sequence[int | None]) -> None:
    """Raises ValueError unless ``got`` has the wanted shape; None stands for any size."""
    if got.dim() != len(wanted) or any(w is not None and g != w for g, w in zip(got.shape, wanted, strict=True)):
        text = ", ".join("any" if size is None else str(size) for size in wanted)
        raise ValueError(f"{op}: {name} must be ({text}), got {tuple(got.shape)}")


def require_nodes(op: str, name: str, got: Tensor, dims: int, terms: DiffusionTerms) -> None:
    """Raises ValueError unless ``got`` has ``dims`` dimensions with the graph's nodes in the last but one."""
    if got.dim() != dims or got.shape[-2] != terms.num_nodes:
        raise ValueError(
            f"{op}: {name} must have {dims} dimensions with N={terms.num_nodes} nodes in the last but one, "
            f"got {tuple(got.shape)}"
        )


def require_dtypes(
    op: str, terms: DiffusionTerms, first_name: str, first: Tensor, others: Iterable[tuple[Sequence[object], Tensor]]
) -> None:
    """Raises TypeError unless all tensors share one dtype and device that the graph's terms serve.

    Args:
        others: tensors, each with the words of its name.
    """
    for words, tensor in others:
        if tensor.dtype != first.dtype:
            name = " ".join(map(str, words))
            raise TypeError(f"{op}: {name} is {tensor.dtype}, {first_name} is {first.dtype}; they must agree")
        if tensor.device != first.device:
            name = " ".join(map(str, words))
            raise ValueError(f"{op}: {name} is on {tensor.device}, {first_name} on {first.device}; they must agree")
    if terms.value.device != first.device:
        raise ValueError(f"{op}: the graph's terms are on {terms.value.device}, {first_name} on {first.device}")
    wanted = torch.float64 if first.dtype == torch.float64 else torch.float32
    if terms.value.dtype != wanted:
        got = terms.value.dtype
        advice = "; leave the model in float32 and call it under torch.autocast" if got.itemsize == 2 else ""
        raise TypeError(
            f"{op}: the graph's terms must be {wanted} for {first_name} in {first.dtype}, got {got}{advice}"
        )


def require_precision(op: str, precision: str, dtype: torch.dtype) -> bool:
    """Whether products may be split; raises ValueError for an unknown precision, or for a dtype that has no choice."""
    if precision not in ("exact", "bf16x3"):
        raise ValueError(f'{op}: precision must be "exact" or "bf16x3", got {precision!r}')
    if precision == "bf16x3" and dtype != torch.float32:
        raise ValueError(f"{op}: precision bf16x3 is for float32, x is {dtype}")
    return precision == "bf16x3"


def require_saving(op: str, backend: str, save: str) -> dict[str, int]:
    """The backend's option ``segment``, for save; none for PyTorch's backends, which keep everything.

    Raises NotImplementedError if one of these is asked to keep less while a backward may follow.
    """
    segment = segment_length(op, save)
    if backend not in ("manual", "specification"):
        return {"segment": segment}
    if segment != SAVE_ALL and torch.is_grad_enabled():
        raise NotImplementedError(
            f"{op}: save={save!r} needs the cpu, triton or cuda backend, which can compute again what it did not keep; "
            f'{backend} keeps everything: use save="all"'
        )
    return {}


def require_layers(op: str, name: str, layers: Sequence[CellWeights], channels: int, terms: DiffusionTerms) -> int:
    """H of stacked cells; raises ValueError unless each fits the one below it and the first fits ``channels``."""
    if not layers:
        raise ValueError(f"{op}: {name} needs at least one layer, got none")
    hidden = layers[0].candidate_weight.shape[-1]
    for index, weights in enumerate(layers):
        got_channels, got_hidden = cell_shape(weights, terms.num_terms, f"{op}: {name}[{index}]")
        wanted = channels if index == 0 else hidden
        if got_channels != wanted or got_hidden != hidden:
            raise ValueError(
                f"{op}: {name}[{index}] takes {got_channels} channels into {got_hidden} units, "
                f"wanted {wanted} channels into {hidden} units"
            )
    return hidden


def refuse_second_derivatives(backward_op: str) -> None:
    """Makes the gradient of a backward operator an error; autograd would take that of a compiled one for 0."""

    def refuse(ctx, *gradients):  # type: ignore[no-untyped-def]
        raise RuntimeError(f"{backward_op}: only backend='specification' has second derivatives")

    torch.library.register_autograd(backward_op, refuse)
