"""What the interpreter would get wrong in bfloat16 is not asked of it; red zones and rounding do what they say."""

import pytest
import torch
import triton
import triton.language as tl

from bench.cases import Case
from dcrnn_fast.kernels.gpu.kernels.convolution import narrow
from dcrnn_fast.kernels.gpu.launch import Launch, launch, observed
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import forward_and_gradients


@triton.jit
def adding_kernel(X, Y, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(Y + at, tl.load(X + at) + tl.load(X + at))


@triton.jit
def overrunning_kernel(X, Y, size, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(Y + at, tl.load(X + at, mask=at < size, other=0.0))


@triton.jit
def narrowing_kernel(X, Y, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(Y + at, narrow(tl.load(X + at), Y.dtype.element_ty, True))


@pytest.mark.parametrize(
    ("words", "chunk"), [("tile", 128), ("tile,inline", 16), ("dense", 128), ("gather", 128), ("gemm", 128)]
)
def test_no_kernel_computes_on_bfloat16(
    words: str, chunk: int, monkeypatch: pytest.MonkeyPatch, no_bfloat16_arithmetic: None
) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    monkeypatch.setattr("dcrnn_fast.kernels.gpu.plan.LARGEST_CHUNK", chunk)
    more: set[bool] = set()

    def see(one: Launch) -> bool:
        more.add(bool(one.constants.get("MORE")))
        return True

    case = Case(B=2, P=1, F=2, N=4 if chunk == 128 else 36, C=1, O=1, H=3, L=1, M=2)
    with observed(see):
        prediction, gradients = forward_and_gradients(case, torch.float32, "triton", True, autocast=True)
    assert (True in more) == (chunk < 128), "a union of more than one chunk"
    assert prediction.dtype == torch.bfloat16
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_arithmetic_on_bfloat16_is_found(no_bfloat16_arithmetic: None) -> None:
    x = torch.ones(16, dtype=torch.bfloat16)
    with pytest.raises(Exception, match="create_fadd on bfloat16"):
        launch(adding_kernel, (1,), {"X": x, "Y": x.clone()}, {"SIZE": 16}, warps=1, stages=1)


def test_a_store_beyond_the_end_is_found() -> None:
    x, y = torch.ones(20), torch.zeros(20)
    with pytest.raises(AssertionError, match="overrunning_kernel: written behind"), red_zones():
        launch(overrunning_kernel, (1,), {"X": x, "Y": y, "size": 20}, {"SIZE": 32}, warps=1, stages=1)


def test_what_is_read_beyond_the_end_is_nan() -> None:
    x, y = torch.ones(20), torch.zeros(32)
    with red_zones():
        launch(overrunning_kernel, (1,), {"X": x, "Y": y, "size": 32}, {"SIZE": 32}, warps=1, stages=1)
    assert y[:20].eq(1).all()
    assert y[20:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrowing_rounds_as_pytorch_does(dtype: torch.dtype) -> None:
    x = torch.randn(1024) * torch.logspace(-30, 30, 1024)
    x[:7] = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 3.4e38, -65519.9])
    x[7:9] = torch.tensor([1.00390625, 1.01171875])  # halfway between two bfloat16: to even, down and up
    y = torch.empty(1024, dtype=dtype)
    launch(narrowing_kernel, (1,), {"X": x, "Y": y}, {"SIZE": 1024}, warps=1, stages=1)
    torch.testing.assert_close(y, x.to(dtype), rtol=0, atol=0, equal_nan=True)
