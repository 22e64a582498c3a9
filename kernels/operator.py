"""Shared by all operators: the list of implementations, the call, and the tensors that autograd keeps.

Shape legend: B batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import require_dtypes, require_precision, require_saving
from dcrnn_fast.kernels.dispatch import Implementation, always, choose
from dcrnn_fast.kernels.dtypes import autocast_dtype, computed_dtype
from dcrnn_fast.kernels.gpu.available import why_not_triton
from dcrnn_fast.kernels.gpu.plan import plan_name
from dcrnn_fast.kernels.gpu.table_cuda import why_not_cuda
from dcrnn_fast.kernels.halo.hook import connect, raising_what_failed
from dcrnn_fast.kernels.native import library, why_not_cpu
from dcrnn_fast.kernels.saving import SAVE_NOTHING
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

Argument = Tensor | Sequence[CellWeights]

_IN_LAUNCHES = (
    "its launches, which diffuse and multiply at once, would have to stop for a node-parallel exchange inside a cell; "
    "use manual"
)
_BY_AUTOGRAD = "autograd would not exchange node-parallel gradients; use manual"


def in_order_of_speed(
    *,
    cpu: Callable[..., object],
    triton: Callable[..., object],
    cuda: Callable[..., object],
    manual: Callable[..., object],
    specification: Callable[..., object],
) -> tuple[Implementation, ...]:
    """An operator's implementations, in the order in which "auto" tries them; it never takes ``cuda``."""
    return (
        Implementation("cpu", cpu, why_not_cpu, auto_on=("cpu",), why_not_divided=None),
        Implementation(
            "triton", triton, why_not_triton, self_checked=True, auto_on=("cuda",), why_not_divided=_IN_LAUNCHES
        ),
        Implementation("cuda", cuda, why_not_cuda, self_checked=True, auto_on=(), why_not_divided=_IN_LAUNCHES),
        Implementation("manual", manual, always, why_not_divided=None),
        Implementation("specification", specification, always, why_not_divided=_BY_AUTOGRAD),
    )


def run(
    op: str,
    implementations: Sequence[Implementation],
    backend: str,
    x: Tensor,
    terms: DiffusionTerms,
    others: Mapping[str, Argument],
    *,
    channels: int,
    units: int,
    precision: str,
    save: str | None = None,
) -> Any:
    """Calls the chosen implementation with (x, terms, *others), in autocast's dtype if there is one.

    Args:
        x: (B, ...).
        others: by the names that messages give them; those of a cell's tensors follow. Tensors of bool stay as they
            are.
        channels, units: the most input channels of a cell, and its units, for the GPU plan.
        save: None: the operator knows no such choice.

    Raises:
        ValueError, TypeError, NotImplementedError: as the public functions.
    """
    chosen = choose(
        op,
        implementations,
        backend,
        x,
        lambda: plan_name(terms, computed_dtype(x), x.shape[0], channels, units),
        divided=terms.halo is not None,
    )
    low = autocast_dtype(x)
    options: dict[str, int] = {} if save is None else require_saving(op, chosen.name, save)
    bf16x3 = require_precision(op, precision, low or x.dtype)
    if chosen.name == "cpu":
        options["bf16x3"] = bf16x3
    run_here = chosen.run if terms.halo is None else _exchanging(chosen.run)
    if low is None or chosen.name == "specification":
        require_dtypes(op, terms, "x", x, _floating(others))
        return run_here(x, terms, *others.values(), **options)
    with torch.autocast(x.device.type, enabled=False):
        return run_here(x.to(low), terms, *(_lowered(argument, low) for argument in others.values()), **options)


def _exchanging(run: Callable[..., object]) -> Callable[..., object]:
    """On a divided graph the compiled kernels call the partners, whose errors are raised as they are."""

    def connected(*arguments: object, **options: object) -> object:
        if (module := library().module) is not None:
            connect(module)
        with raising_what_failed():
            return run(*arguments, **options)

    return connected


def _floating(arguments: Mapping[str, Argument]) -> Iterator[tuple[Sequence[object], Tensor]]:
    """Every floating tensor with the words of its name, those of cells last."""
    for name, argument in arguments.items():
        if isinstance(argument, Tensor) and argument.is_floating_point():
            yield (name,), argument
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            for index, cell in enumerate(argument):
                for field, tensor in zip(CellWeights._fields, cell, strict=True):
                    yield (name, index, field), tensor


def _lowered(argument: Argument, low: torch.dtype) -> Argument:
    if isinstance(argument, Tensor):
        return argument.to(low) if argument.is_floating_point() else argument
    return [CellWeights(*(tensor.to(low) for tensor in cell)) for cell in argument]


@cache
def _argument_names(op: str) -> tuple[str, ...]:
    return tuple(argument.name for argument in getattr(torch.ops.dcrnn_fast, op).default._schema.arguments)


@cache
def _defaults(op: str) -> dict[str, Any]:
    arguments = getattr(torch.ops.dcrnn_fast, op).default._schema.arguments
    return {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}


def by_name(op: str, values: Sequence[Any]) -> dict[str, Any]:
    """An operator's arguments by the names of its schema; PyTorch leaves out last ones that are their defaults."""
    names, defaults = _argument_names(op), _defaults(op)
    return dict(zip(names, [*values, *(defaults[name] for name in names[len(values) :])], strict=True))


def register_fake(op: str, fake: Callable[[dict[str, Any]], object]) -> None:
    """Makes ``fake`` the fake of ``dcrnn_fast::OP``; it gets the arguments ``by_name``."""
    torch.library.register_fake(f"dcrnn_fast::{op}", lambda *values: fake(by_name(op, values)))


def keep(ctx: Any, op: str, inputs: Sequence[Any], *, without: Sequence[str] = (), **outputs: Any) -> None:
    """Keeps the arguments of the forward operator ``op``, by the names of its schema, and some outputs: see ``kept``.

    Raises:
        RuntimeError: the forward was asked to save nothing.
    """
    values = by_name(op, inputs) | outputs
    if values.get("save") == SAVE_NOTHING:
        raise RuntimeError(f"dcrnn_fast::{op}: a backward needs save other than {SAVE_NOTHING}")
    ctx.options, ctx.lengths = {}, {}
    tensors: list[Tensor] = []
    for name in (name for name in values if name not in without):
        value = values[name]
        if isinstance(value, Tensor):
            ctx.lengths[name] = None
            tensors.append(value)
        elif isinstance(value, list | tuple):
            ctx.lengths[name] = len(value)
            tensors.extend(value)
        else:
            ctx.options[name] = value
    ctx.save_for_backward(*tensors)


def kept(ctx: Any) -> dict[str, Any]:
    """The values that ``keep`` got, by name."""
    saved = iter(ctx.saved_tensors)
    return ctx.options | {
        name: next(saved) if length is None else [next(saved) for _ in range(length)]
        for name, length in ctx.lengths.items()
    }


def call_backward(op: str, found: Mapping[str, Any], **others: Any) -> Any:
    """Calls the backward operator of ``op`` with the kept values and the others, by the names of its schema."""
    values = {**found, **others}
    backward = f"{op}_backward"
    with raising_what_failed():
        return getattr(torch.ops.dcrnn_fast, backward)(*(values[name] for name in _argument_names(backward)))


def only_for_the_backward(ctx: Any, outputs: Sequence[Tensor]) -> None:
    """Marks outputs of a forward that its caller never sees."""
    ctx.mark_non_differentiable(*outputs)
    # Or autograd makes gradients for them: of zeros, as large as all activations.
    ctx.set_materialize_grads(False)
