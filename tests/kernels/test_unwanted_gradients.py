"""Gradients that nobody asked for: none is made of zeros for what a forward saved, and one that is missing is zero."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cases import Case, make_seq2seq, make_terms
from dcrnn_fast.kernels import dcgru_sequence, diffusion_conv
from tests.kernels.compiled import require_library
from tests.kernels.operators import run

CASE = Case(B=2, P=6, F=6, N=12, H=16, L=2, M=3)


def seq2seq(backend: str) -> tuple[Tensor, list[Tensor]]:
    inputs = make_seq2seq(CASE).to(torch.float32)
    return run(inputs, make_terms(CASE, torch.float32), backend), inputs.differentiable


def sequence(backend: str) -> tuple[Tensor, list[Tensor]]:
    inputs = make_seq2seq(CASE).to(torch.float32)
    terms = make_terms(CASE, torch.float32)
    states_BTNH, _ = dcgru_sequence(inputs.x_BPNC, terms, inputs.encoder, backend=backend)
    return states_BTNH, [inputs.x_BPNC, *(tensor for cell in inputs.encoder for tensor in cell)]


BOTH = pytest.mark.parametrize("make", [seq2seq, sequence])
BACKENDS = pytest.mark.parametrize("backend", ["manual", "cpu"])


class AllocatedZeros(TorchDispatchMode):
    """Notes how many zeros each operator makes that does nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket.__name__ in ("zeros", "zeros_like", "new_zeros"):
            self.counts.append(result.numel())
        return result


class Nothing(torch.autograd.Function):
    """The identity, whose gradient is missing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        return None


@BOTH
@BACKENDS
def test_no_zeros_as_large_as_what_is_saved(make: Callable[[str], tuple[Tensor, list[Tensor]]], backend: str) -> None:
    if backend == "cpu":
        require_library()
    result, _ = make(backend)
    with AllocatedZeros() as zeros:
        result.sum().backward()
    # One step's states of all layers are the largest that a backward starts from; c is P or P + F of them.
    assert max(zeros.counts, default=0) <= CASE.L * CASE.N * CASE.B * CASE.H


@BOTH
@BACKENDS
def test_a_missing_gradient_is_zero(make: Callable[[str], tuple[Tensor, list[Tensor]]], backend: str) -> None:
    if backend == "cpu":
        require_library()
    result, inputs = make(backend)
    Nothing.apply(result).sum().backward()
    assert all(tensor.grad is None or not tensor.grad.any() for tensor in inputs)


def convolution(backend: str) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x_BNC = torch.randn(2, CASE.N, 3, generator=generator, requires_grad=True)
    weight_IO = torch.randn(3 * CASE.M, 5, generator=generator, requires_grad=True)
    terms = make_terms(CASE, torch.float32)
    # Squared: else the gradient of its sum does not depend on x.
    return diffusion_conv(x_BNC, terms, weight_IO, torch.zeros(5), backend=backend).square(), [x_BNC, weight_IO]


@pytest.mark.parametrize("make", [seq2seq, sequence, convolution])
@pytest.mark.parametrize("backend", ["specification", "manual", "cpu"])
def test_second_derivatives_are_right_or_refused(
    make: Callable[..., tuple[Tensor, list[Tensor]]], backend: str
) -> None:
    if backend == "cpu":
        require_library()
    y, (x, *_) = make(backend)
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    if backend == "specification":
        (ddx,) = torch.autograd.grad(dx.square().sum(), x)
        assert ddx.abs().max() > 0
    else:
        with pytest.raises(RuntimeError, match=f"{backend}_backward: only backend='specification' has second"):
            dx.square().sum().backward()
