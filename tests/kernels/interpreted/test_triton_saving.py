"""``save`` of the Triton backend: what is kept, and that the rest comes out of the segments as it was."""

import pytest
import torch
from torch import Tensor

from bench.cases import Case, assert_within_budget, make_seq2seq, make_terms
from dcrnn_fast.kernels.gpu import segment
from dcrnn_fast.kernels.gpu.plan import padded_nodes
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import forward_and_gradients, run, sequence_results

# Segments of two steps divide neither P nor F; the coins fall both ways.
CASE = Case(B=1, P=3, F=3, N=5, C=2, O=2, H=3, L=2, M=2)
LONG = Case(B=2, P=5, F=4, N=6, C=2, O=2, H=3, L=2, M=3, K=1)
SAVES = ["h", "segments:2", "segments:3", "segments:100"]
PLANS = ["gather,hoist", "gather,inline", "dense", "gemm", "gemm,inline", "strict"]


def assert_encoder_decoder(case: Case, save: str) -> None:
    """The prediction and the gradients of inputs and labels to the bit; weights' gradients to the rounding of sums."""
    with red_zones():
        prediction, gradients = forward_and_gradients(case, torch.float64, "triton", True, save=save)
    everything, kept_gradients = forward_and_gradients(case, torch.float64, "triton", True)
    assert torch.equal(prediction, everything)
    assert all(torch.equal(a, b) for a, b in zip(gradients[:2], kept_gradients[:2], strict=True))
    for ours, true in zip(gradients, forward_and_gradients(case, torch.float64, "specification", True)[1], strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)


def assert_sequence(case: Case, save: str) -> None:
    """Both results and the gradients of inputs and initial states to the bit."""
    with red_zones():
        got = sequence_results(case, torch.float64, "triton", save=save)
    everything = sequence_results(case, torch.float64, "triton")
    assert all(torch.equal(a, b) for a, b in zip(got[:4], everything[:4], strict=True))
    for ours, true in zip(got, sequence_results(case, torch.float64, "specification"), strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("words", [pytest.param("tile,hoist", marks=pytest.mark.slow), "tile,inline"])
@pytest.mark.parametrize("save", [pytest.param("h", marks=pytest.mark.slow), "segments:2"])
def test_both_operators_equal_what_they_are_with_everything_kept(
    save: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    assert_encoder_decoder(CASE, save)
    assert_sequence(CASE, save)


@pytest.mark.prove
@pytest.mark.parametrize("words", PLANS)
def test_every_plan_by_segments(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    assert_encoder_decoder(CASE, "segments:2")
    assert_sequence(CASE, "segments:2")


@pytest.mark.prove
@pytest.mark.parametrize("save", SAVES)
def test_longer_runs(save: str) -> None:
    assert_encoder_decoder(LONG, save)
    assert_sequence(LONG, save)


@pytest.mark.slow
def test_segments_of_several_products(monkeypatch: pytest.MonkeyPatch) -> None:
    two_steps = 2 * LONG.L * 16 * LONG.B * 3 * LONG.M * LONG.H * 8
    monkeypatch.setattr(segment, "WORKSPACE_BYTES", two_steps)
    assert_encoder_decoder(LONG, "segments:3")


@pytest.mark.slow
@pytest.mark.parametrize("save", ["h", "segments:2"])
def test_float32_and_bfloat16_within_the_error_budget(save: str) -> None:
    case = Case(B=3, P=3, F=2, N=7, C=2, O=1, H=6, L=1, M=3)
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    for low in (False, True):
        plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True, autocast=low)
        got, gradients = forward_and_gradients(case, torch.float32, "triton", True, autocast=low, save=save)
        everything, kept_gradients = forward_and_gradients(case, torch.float32, "triton", True, autocast=low)
        assert torch.equal(got, everything)
        assert all(torch.equal(a, b) for a, b in zip(gradients[:2], kept_gradients[:2], strict=True))
        if low:
            gradients = [gradient.bfloat16() for gradient in gradients]
        assert_within_budget([got], [plain], [truth])
        assert_within_budget(gradients, plain_gradients, true_gradients)


@pytest.mark.slow
def test_results_repeat_bit_for_bit() -> None:
    one, other = (forward_and_gradients(CASE, torch.float32, "triton", True, save="segments:2") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip([one[0], *one[1]], [other[0], *other[1]], strict=True))


@pytest.mark.parametrize(
    ("save", "states"),
    [
        ("h", 8),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("all", 36), ("segments:2", 4), ("segments:100", 1)]
        ),
    ],
)
def test_kept_bytes_are_those_states(save: str, states: int) -> None:
    """Of nine steps: four tensors of each, or every state but the last, or those between segments and runs."""
    inputs, terms = make_seq2seq(LONG).to(torch.float32), make_terms(LONG, torch.float32)
    given = [*inputs.differentiable, inputs.feed_label_F, *terms.tensors]
    known, sizes = {tensor.untyped_storage().data_ptr() for tensor in given}, {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(inputs, terms, "triton", save=save)
    rows = padded_nodes(LONG.N) * LONG.B * 4
    assert sum(sizes.values()) == states * LONG.L * rows * LONG.H + (LONG.F + 1) * rows * (LONG.O + LONG.K)
