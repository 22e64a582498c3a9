"""``backend=cuda`` as a whole on the CPU: its CUDA kernels in the emulator, the others in Triton's interpreter."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cases import Case, assert_within_budget, make_cell, make_seq2seq, make_terms
from dcrnn_fast.kernels import dcgru_sequence, dcrnn_seq2seq, diffusion_conv
from dcrnn_fast.kernels.gpu.launch import Launch, observed
from dcrnn_fast.kernels.saving import SAVE_ALL
from dcrnn_fast.verify import BOUNDS, verify
from tests.conftest import GOLDEN
from tests.kernels.cuda_calls import CallSizes, make_call
from tests.kernels.emulated import SCHEDULES, emulated_operators, tensors_of
from tests.kernels.operators import forward_and_gradients, run

SMALL = Case(B=2, P=1, F=1, N=5, C=2, O=1, H=8, L=1, M=3)
# Two tiles, the second not full; several blocks of batch rows; two layers, a node without neighbours.
RAGGED = Case(B=5, P=1, F=2, N=19, C=3, O=2, H=24, L=2, M=4, density=0.3)
CUDA_KERNELS = {"candidate_cuda", "candidate_gradient_cuda"}


@pytest.fixture(autouse=True)
def _emulated() -> Iterator[None]:
    with emulated_operators():
        yield


def launched(case: Case, dtype: torch.dtype) -> tuple[set[str], Tensor, list[Tensor]]:
    """Names of the kernels that a step launched, and its prediction and gradients."""
    names: set[str] = set()

    def note(one: Launch) -> bool:
        names.add(one.kernel.__name__)
        return True

    with observed(note):
        prediction, gradients = forward_and_gradients(case, dtype, "cuda", True)
    return names, prediction, gradients


def assert_step_within_budget(case: Case) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    for dtype in (torch.float32, torch.bfloat16):
        low = dtype != torch.float32
        names, got, gradients = launched(case, dtype)
        plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True, autocast=low)
        assert names >= CUDA_KERNELS
        assert not names & {"candidate_kernel", "candidate_gradient_kernel"}
        assert_within_budget([got], [plain], [truth])
        assert_within_budget(gradients, plain_gradients, true_gradients)


def test_a_step_is_within_the_error_budget() -> None:
    assert_step_within_budget(SMALL)


@pytest.mark.slow
def test_a_larger_step_is_within_the_error_budget() -> None:
    assert_step_within_budget(replace(RAGGED, K=3))


@pytest.mark.slow
def test_float16_equals_triton_to_its_rounding() -> None:
    _, got, gradients = launched(SMALL, torch.float16)
    other, other_gradients = forward_and_gradients(SMALL, torch.float16, "triton", True)
    for ours, theirs in zip([got, *gradients], [other, *other_gradients], strict=True):
        largest = float(theirs.detach().abs().max().clamp_min(1e-3))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=8 * torch.finfo(torch.float16).eps * largest)


@pytest.mark.slow
def test_the_same_bits_under_every_schedule() -> None:
    made = []
    for schedule in range(SCHEDULES):
        with emulated_operators(schedule):
            made.append(forward_and_gradients(SMALL, torch.float32, "cuda", True))
    for prediction, gradients in made[1:]:
        assert torch.equal(prediction, made[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, made[0][1], strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input #:UserWarning")
def test_gradcheck_through_the_kernels() -> None:
    """In float32, the widest that they know, with steps of the finite differences as wide as its rounding asks for."""
    case = Case(B=1, P=1, F=1, N=3, C=1, O=1, H=8, L=1, M=2)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)

    def of(*_: Tensor) -> Tensor:
        return run(inputs, terms, "cuda")

    assert torch.autograd.gradcheck(of, tuple(inputs.differentiable), eps=1e-2, atol=2e-3, rtol=2e-2, fast_mode=True)


@pytest.mark.slow
def test_opcheck_of_the_step_and_of_both_kernels() -> None:
    torch.use_deterministic_algorithms(False)  # opcheck compares memory that nobody wrote
    call = make_call(CallSizes(counts=(7, 20), U=32, B=2, H=8, C=2, M=3), torch.float32)
    forward, backward = tensors_of(call, gradient=False), tensors_of(call, gradient=True)
    for made in (*forward[8:], *backward[10:]):
        made.nan_to_num_(0)  # NaN is never equal to itself
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.dcrnn_fast.candidate_cuda.default, (*forward, 3), test_utils=checks)
    torch.library.opcheck(torch.ops.dcrnn_fast.candidate_gradient_cuda.default, (*backward, 3), test_utils=checks)
    case = Case(B=1, P=1, F=1, N=3, C=1, O=1, H=8, L=1, M=2)
    i, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    cells = [[tensor for weights in layers for tensor in weights] for layers in (i.encoder, i.decoder)]
    arguments = (
        i.x_BPNC, terms.tensors, terms.num_terms, *cells, i.projection_weight_OH, i.projection_bias_O, i.labels_BFNO,
        i.feed_label_F, "", SAVE_ALL,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.dcrnn_fast.seq2seq_cuda.default, arguments, atol=1e-5, rtol=1e-5)


def test_sequence_and_convolution() -> None:
    case = Case(B=2, N=18, C=2, H=8, M=3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.B, 2, case.N, case.C, generator=generator, dtype=torch.float64)
    cell = make_cell(generator, case.C, case)
    truth, _ = dcgru_sequence(x, make_terms(case, x.dtype), [cell], backend="specification")
    x32, cell32, terms = x.float(), type(cell)(*(tensor.float() for tensor in cell)), make_terms(case, torch.float32)
    got, _ = dcgru_sequence(x32, terms, [cell32], backend="cuda")
    plain, _ = dcgru_sequence(x32, terms, [cell32], backend="specification")
    assert_within_budget([got], [plain], [truth])
    weight = cell32.candidate_weight[: case.C * case.M]
    convolved = [diffusion_conv(x32[:, 0], terms, weight, backend=backend) for backend in ("cuda", "specification")]
    torch.testing.assert_close(*convolved, rtol=1e-5, atol=1e-5)


def test_refuses_by_name_what_its_kernels_do_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(case: Case, dtype: torch.dtype) -> Tensor:
        return run(make_seq2seq(case).to(dtype), make_terms(case, dtype), "cuda")

    with pytest.raises(NotImplementedError, match="units must be a multiple of 8, got 6"):
        call(Case(B=1, P=1, F=1, N=3, C=1, O=1, H=6, L=1, M=2), torch.float32)
    with pytest.raises(
        NotImplementedError, match=r"no backend can run here \(cuda: no CUDA kernels for torch.float64\)"
    ):
        call(SMALL, torch.float64)
    monkeypatch.setenv("DCRNN_FAST_TRITON", "gather")
    with pytest.raises(NotImplementedError, match="the plan for this graph and these sizes is gather, fused"):
        call(SMALL, torch.float32)


def test_auto_does_not_take_it_on_a_cpu() -> None:
    case = Case(B=1, P=1, F=1, N=3, C=1, O=1, H=8, L=1, M=2)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    names: list[str] = []
    with observed(lambda one: not names.append(one.kernel.__name__)):  # type: ignore[func-returns-value]
        dcrnn_seq2seq(
            inputs.x_BPNC, terms, inputs.encoder, inputs.decoder, inputs.projection_weight_OH,
            inputs.projection_bias_O, future_steps=1,
        )  # fmt: skip
    assert names == []


@pytest.mark.prove
def test_golden_files_pass(tmp_path: Path) -> None:
    """Those with a multiple of 8 units, which is what the CUDA kernels take."""
    for path in GOLDEN.glob("*.npz"):
        with np.load(path) as archive:
            if json.loads(str(archive["config"]))["rnn_units"] % 8 == 0:
                shutil.copy(path, tmp_path)
    cases = verify(tmp_path, backend="cuda")
    assert len(cases) == 7
    for case in cases:
        assert not case.misses(BOUNDS["float32"]), f"{case.name}: {case.errors}"
