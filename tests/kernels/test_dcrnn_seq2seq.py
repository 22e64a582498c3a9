"""The encoder-decoder: hand-written path against the specification, both against float64 and finite differences."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from bench.cases import KNOWN_SHAPES, MANUAL, SHAPES, Case, assert_within_budget, make_seq2seq, make_terms
from dcrnn_fast.kernels import dcrnn_seq2seq
from tests.kernels.operators import forward_and_gradients, run


@pytest.mark.parametrize("coins", [True, False])
@pytest.mark.parametrize("case", [*SHAPES, *KNOWN_SHAPES])
def test_manual_equals_specification_in_float64(case: Case, coins: bool) -> None:
    prediction, gradients = forward_and_gradients(case, torch.float64, "manual", coins)
    wanted, wanted_gradients = forward_and_gradients(case, torch.float64, "specification", coins)
    torch.testing.assert_close(prediction, wanted, rtol=1e-12, atol=1e-12)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("case", [*SHAPES, *KNOWN_SHAPES])
def test_float32_within_the_error_budget(case: Case) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True)
    got, gradients = forward_and_gradients(case, torch.float32, "manual", True)
    assert_within_budget([got], [plain], [truth])
    assert_within_budget(gradients, plain_gradients, true_gradients, MANUAL)


# Without the shape of one number, whose error in plain PyTorch is luck.
@pytest.mark.parametrize("case", [shape for shape in [*SHAPES, *KNOWN_SHAPES] if "smallest" not in str(shape.id)])
def test_bfloat16_within_the_error_budget_of_autocast(case: Case) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True, autocast=True)
    got, gradients = forward_and_gradients(case, torch.float32, "manual", True, autocast=True)
    assert got.dtype == torch.bfloat16
    assert_within_budget([got], [plain], [truth])
    # Gradients come out in float32, but of values that were rounded to bfloat16 once at least.
    assert_within_budget([gradient.bfloat16() for gradient in gradients], plain_gradients, true_gradients)


@pytest.mark.parametrize("known", [0, 2])
def test_gradcheck_through_the_operator(known: int) -> None:
    case = Case(B=1, P=2, F=2, N=3, C=1, O=1, H=2, L=2, M=3, K=known)
    inputs = make_seq2seq(case).to(torch.float64)
    terms = make_terms(case, torch.float64)

    def of(*tensors: Tensor) -> Tensor:
        return run(inputs, terms, "manual")

    assert torch.autograd.gradcheck(of, tuple(inputs.differentiable), fast_mode=True)


@pytest.mark.parametrize("known", [0, 2])
def test_opcheck(known: int) -> None:
    case = Case(N=4, H=3, L=1, K=known)
    inputs = make_seq2seq(case).to(torch.float32)
    flat = [list(layer) for layer in (inputs.encoder[0], inputs.decoder[0])]
    known_inputs = [] if inputs.known_BFNK is None else [inputs.known_BFNK]
    for save in (True, False):
        arguments = (
            inputs.x_BPNC.permute(1, 2, 0, 3).contiguous().detach().requires_grad_(save),
            make_terms(case, torch.float32).tensors,
            case.M,
            *[[tensor.detach().requires_grad_(save) for tensor in layer] for layer in flat],
            inputs.projection_weight_OH.detach().requires_grad_(save),
            inputs.projection_bias_O.detach().requires_grad_(save),
            inputs.labels_BFNO.permute(1, 2, 0, 3).contiguous().detach(),
            inputs.feed_label_F,
            save,
            *(tensor.permute(1, 2, 0, 3).contiguous().detach().requires_grad_(save) for tensor in known_inputs),
        )
        torch.library.opcheck(torch.ops.dcrnn_fast.seq2seq_manual.default, arguments)


@contextmanager
def bytes_kept() -> Iterator[dict[int, int]]:
    """Bytes of every tensor's memory that autograd keeps, by its address."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


@pytest.mark.parametrize("case", SHAPES)
def test_inference_equals_training_and_saves_nothing(case: Case) -> None:
    inputs = make_seq2seq(case).to(torch.float32)
    terms = make_terms(case, torch.float32)
    with bytes_kept() as training:
        with_gradients = run(inputs, terms, "manual")
    with bytes_kept() as inference, torch.no_grad():
        without = run(inputs, terms, "manual")
    # Not to the bit: GEMM libraries round by the alignment of their operands.
    torch.testing.assert_close(with_gradients, without, rtol=1e-5, atol=1e-6)
    assert training
    assert not inference


def test_hand_written_backward_saves_less() -> None:
    case = Case(B=4, P=6, F=6, N=12, H=16, L=2, M=5)
    terms = make_terms(case, torch.float32)

    def saved_bytes(backend: str) -> int:
        inputs = make_seq2seq(case).to(torch.float32)
        with bytes_kept() as kept:
            run(inputs, terms, backend)
        return sum(kept.values())

    hruc = 4 * case.H * (case.P + case.F) * case.L * case.N * case.B * 4
    small = sum(tensor.numel() * 4 for tensor in make_seq2seq(case).differentiable)
    assert saved_bytes("manual") < 1.2 * hruc + 3 * small
    assert saved_bytes("manual") < saved_bytes("specification") / 4


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    case = Case(P=2, F=2)
    inputs = make_seq2seq(case).to(torch.float32)
    terms = make_terms(case, torch.float32)
    compiled = torch.compile(lambda: run(inputs, terms, "manual"), fullgraph=True)
    torch.testing.assert_close(compiled(), run(inputs, terms, "manual"))


def refused(error: type[Exception], match: str, **changes: object) -> None:
    case = Case()
    inputs = make_seq2seq(case)
    arguments: dict[str, object] = {
        "x_BPNC": inputs.x_BPNC,
        "terms": make_terms(case, torch.float64),
        "encoder": inputs.encoder,
        "decoder": inputs.decoder,
        "projection_weight_OH": inputs.projection_weight_OH,
        "projection_bias_O": inputs.projection_bias_O,
        "future_steps": case.F,
        **changes,
    }
    with pytest.raises(error, match=match):
        dcrnn_seq2seq(**arguments)  # type: ignore[arg-type]


def test_refuses_what_does_not_fit() -> None:
    inputs = make_seq2seq(Case())
    refused(ValueError, "unknown backend 'fast'; known: auto, specification", backend="fast")
    refused(NotImplementedError, "cuda: no CUDA kernels for torch.float64", backend="cuda")
    refused(ValueError, "x must have 4 dimensions with N=5 nodes", x_BPNC=inputs.x_BPNC[:, :, :4])
    refused(ValueError, r"encoder\[0\] takes 2 channels", x_BPNC=torch.cat([inputs.x_BPNC] * 2, dim=-1))
    refused(ValueError, "labels and feed_label go together", labels_BFNO=inputs.labels_BFNO)
    refused(TypeError, "projection_weight is torch.float64, x is torch.float32", x_BPNC=inputs.x_BPNC.float())
    refused(ValueError, "decoder needs at least one layer", decoder=[])
    refused(ValueError, "at least one past and one future step", future_steps=0)
    refused(
        TypeError,
        "feed_label must be torch.bool",
        labels_BFNO=inputs.labels_BFNO,
        feed_label_F=inputs.feed_label_F.double(),
    )
    known = make_seq2seq(Case(K=3)).known_BFNK
    assert known is not None
    refused(ValueError, r"known must be \(2, 2, 5, any\), got \(2, 1, 5, 3\)", known_BFNK=known[:, :1])
    refused(ValueError, r"decoder\[0\] takes 1 channels into 4 units, wanted 4 channels", known_BFNK=known)
    refused(TypeError, "known is torch.float32, x is torch.float64", **known_decoder(), known_BFNK=known.float())


def known_decoder() -> dict[str, object]:
    return {"decoder": make_seq2seq(Case(K=3)).decoder}


def test_the_budget_notices_a_wrong_backward() -> None:
    case = Case()
    _, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    _, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True)
    _, other_coins = forward_and_gradients(case, torch.float32, "manual", False)
    with pytest.raises(AssertionError, match="max error"):
        assert_within_budget(other_coins, plain_gradients, true_gradients)
