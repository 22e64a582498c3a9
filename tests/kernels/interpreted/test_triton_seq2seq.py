"""The encoder-decoder through interpreted Triton kernels, against the specification in float64."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.cases import SHAPES, Case, assert_within_budget, make_seq2seq, make_terms
from dcrnn_fast.kernels import dcrnn_seq2seq
from dcrnn_fast.kernels.gpu import segment
from dcrnn_fast.kernels.gpu.launches import convolution
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import forward_and_gradients, run

SMALL = Case(B=2, P=2, F=2, N=5, C=2, O=1, H=4, L=1, M=3)
# Two tiles, the second not full; several blocks of batch rows; more units than one block of columns.
RAGGED = Case(B=5, P=1, F=2, N=19, C=3, O=2, H=17, L=1, M=3, density=0.3)
# A step in the interpreter is slow.
KNOWN = Case(B=1, P=1, F=3, N=3, C=1, O=2, H=2, L=1, M=2, K=3)
FUSED_KERNELS = {
    "convolve_kernel",
    "gates_kernel",
    "candidate_kernel",
    "head_kernel",
    "begin_gradient_kernel",
    "candidate_gradient_kernel",
    "gates_gradient_kernel",
    "head_gradient_kernel",
}
PLANS = ["tile", "tile,inline", "dense", "gather", "gather,inline", "gemm", "gemm,inline", "strict"]


def assert_equals_specification(case: Case, coins: bool = True) -> list[str]:
    with red_zones() as ran:
        prediction, gradients = forward_and_gradients(case, torch.float64, "triton", coins)
    wanted, wanted_gradients = forward_and_gradients(case, torch.float64, "specification", coins)
    torch.testing.assert_close(prediction, wanted, rtol=1e-12, atol=1e-12)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)
    return ran


def test_every_kernel_runs_inside_red_zones_and_equals_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", "tile")
    assert set(assert_equals_specification(SMALL)) == FUSED_KERNELS


def test_known_channels_inside_red_zones() -> None:
    assert set(assert_equals_specification(KNOWN)) == FUSED_KERNELS


@pytest.mark.slow
@pytest.mark.parametrize("words", PLANS)
def test_every_plan_equals_the_specification(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    ran = assert_equals_specification(replace(RAGGED, K=3))
    assert ("gather_kernel" in ran) == any(word in words for word in ("gather", "gemm", "strict"))


@pytest.mark.slow
@pytest.mark.parametrize("case", [shape for shape in SHAPES if shape.id in ("small_dense", "smallest", "no_diffusion")])
def test_float64_equals_the_specification(case: Case) -> None:
    assert_equals_specification(case, coins=False)


@pytest.mark.slow
def test_unions_of_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrnn_fast.kernels.gpu.plan.LARGEST_CHUNK", 16)
    monkeypatch.setenv("DCRNN_FAST_TRITON", "tile")
    assert_equals_specification(Case(B=2, P=1, F=1, N=35, C=2, O=1, H=5, L=1, M=3, density=0.9))


@pytest.mark.slow
def test_weight_gradients_in_several_products(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(B=2, P=4, F=3, N=5, H=4, L=1, M=3)
    two_steps = 2 * 16 * case.B * 3 * case.M * case.H * 8
    monkeypatch.setattr(segment, "WORKSPACE_BYTES", two_steps)
    assert_equals_specification(case)


@pytest.mark.slow
def test_64_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "is_wide", lambda tensors: True)
    assert_equals_specification(SMALL)


def test_float32_and_bfloat16_within_the_error_budget() -> None:
    assert_precisions_within_the_budget(Case(B=3, P=2, F=1, N=7, C=2, O=1, H=6, L=1, M=3))


@pytest.mark.slow
@pytest.mark.parametrize("words", ["tile", "dense", "gather", "gemm"])
def test_every_product_within_the_error_budget(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    assert_precisions_within_the_budget(RAGGED)


def assert_precisions_within_the_budget(case: Case) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True)
    got, gradients = forward_and_gradients(case, torch.float32, "triton", True)
    assert_within_budget([got], [plain], [truth])
    assert_within_budget(gradients, plain_gradients, true_gradients)

    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True, autocast=True)
    got, gradients = forward_and_gradients(case, torch.float32, "triton", True, autocast=True)
    assert got.dtype == torch.bfloat16
    assert_within_budget([got], [plain], [truth])
    assert_within_budget([gradient.bfloat16() for gradient in gradients], plain_gradients, true_gradients)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["tile", "dense", "gather", "gemm"])
def test_float16_within_the_error_budget(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    truth, true_gradients = forward_and_gradients(RAGGED, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(RAGGED, torch.float16, "manual", True)
    got, gradients = forward_and_gradients(RAGGED, torch.float16, "triton", True)
    assert_within_budget([got], [plain], [truth])
    assert_within_budget(gradients, plain_gradients, true_gradients)


@pytest.mark.prove
def test_gradcheck_through_the_kernels() -> None:
    case = Case(B=1, P=1, F=2, N=3, C=1, O=1, H=2, L=2, M=2)
    inputs, terms = make_seq2seq(case).to(torch.float64), make_terms(case, torch.float64)

    def of(*tensors: Tensor) -> Tensor:
        return run(inputs, terms, "triton")

    assert torch.autograd.gradcheck(of, tuple(inputs.differentiable), fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize(("save", "known"), [(SAVE_ALL, 0), (SAVE_NOTHING, 0), (1, 0), (2, 0), (2, 3)])
def test_opcheck(save: int, known: int) -> None:
    torch.use_deterministic_algorithms(False)  # opcheck compares memory that nobody wrote
    case = Case(B=2, P=1, F=2, N=4, H=3, L=1, M=3, K=known)
    inputs, wanted = make_seq2seq(case).to(torch.float32), save != SAVE_NOTHING
    flat = [[t.detach().requires_grad_(wanted) for t in layer] for layer in (inputs.encoder[0], inputs.decoder[0])]
    arguments = (
        inputs.x_BPNC.detach().requires_grad_(wanted),
        make_terms(case, torch.float32).tensors,
        case.M,
        *flat,
        inputs.projection_weight_OH.detach().requires_grad_(wanted),
        inputs.projection_bias_O.detach().requires_grad_(wanted),
        inputs.labels_BFNO.detach().requires_grad_(wanted),
        inputs.feed_label_F,
        "",
        save,
        *([] if inputs.known_BFNK is None else [inputs.known_BFNK.detach().requires_grad_(wanted)]),
    )
    torch.library.opcheck(torch.ops.dcrnn_fast.seq2seq_triton.default, arguments)


def test_inference_equals_training_to_the_bit_and_takes_any_strides() -> None:
    inputs, terms = make_seq2seq(SMALL).to(torch.float32), make_terms(SMALL, torch.float32)
    with_gradients = run(inputs, terms, "triton")
    inputs.x_BPNC.data = inputs.x_BPNC.data.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    with torch.no_grad():
        without = run(inputs, terms, "triton")
    assert torch.equal(with_gradients, without)
    assert not without.requires_grad


@pytest.mark.slow
def test_heads_whose_weights_have_strides() -> None:
    inputs, terms = make_seq2seq(RAGGED).to(torch.float32), make_terms(RAGGED, torch.float32)
    apart = inputs.projection_weight_OH.detach().t().contiguous().t().requires_grad_()
    every_second = torch.stack([inputs.projection_bias_O.detach(), torch.ones(RAGGED.O)], 1)[:, 0].requires_grad_()
    assert not apart.is_contiguous()
    made = []
    for weight, bias in ((inputs.projection_weight_OH, inputs.projection_bias_O), (apart, every_second)):
        prediction = run(replace(inputs, projection_weight_OH=weight, projection_bias_O=bias), terms, "triton")
        gradients = torch.autograd.grad(prediction.square().sum(), [inputs.x_BPNC, weight, bias])
        made.append([prediction, *gradients])
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def test_an_empty_batch_is_a_batch_and_a_reading_that_is_nan_stays_in_its_batch_row() -> None:
    empty = Case(B=0, P=1, F=1, N=5, H=3, L=1, M=3)
    inputs = make_seq2seq(empty).to(torch.float32)
    assert run(inputs, make_terms(empty, torch.float32), "triton").shape == (0, 1, 5, 1)
    case = Case(B=2, P=1, F=1, N=5, H=3, L=1, M=3)
    inputs = make_seq2seq(case).to(torch.float32)
    inputs.x_BPNC.data[0, 0, 2, 0] = float("nan")
    with torch.no_grad():
        prediction = run(inputs, make_terms(case, torch.float32), "triton")
    assert prediction[0].isnan().any()
    assert prediction[1].isfinite().all()


@pytest.mark.slow
def test_gradients_that_nobody_wants_are_not_computed_and_the_others_are_the_same() -> None:
    terms = make_terms(RAGGED, torch.float32)
    wanted, some = (make_seq2seq(replace(RAGGED, K=3)).to(torch.float32) for _ in range(2))
    run(wanted, terms, "triton").sum().backward()
    assert some.known_BFNK is not None
    for tensor in (some.x_BPNC, some.labels_BFNO, some.known_BFNK):
        tensor.requires_grad_(False)
    run(some, terms, "triton").sum().backward()
    assert some.x_BPNC.grad is None
    assert some.known_BFNK.grad is None
    for a, b in zip(some.differentiable[2:-1], wanted.differentiable[2:-1], strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_auto_does_not_take_the_interpreter() -> None:
    inputs, terms = make_seq2seq(SMALL).to(torch.float16), make_terms(SMALL, torch.float16)
    arguments = (terms, inputs.encoder, inputs.decoder, inputs.projection_weight_OH, inputs.projection_bias_O)
    with red_zones() as ran:
        dcrnn_seq2seq(inputs.x_BPNC, *arguments, future_steps=2)
    assert ran == []
