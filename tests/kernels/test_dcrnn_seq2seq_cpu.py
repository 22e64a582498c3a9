"""The encoder-decoder in the compiled CPU kernels, unit by unit, against the specification and float64."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.cases import KNOWN_SHAPES, SHAPES, Case, assert_within_budget, make_seq2seq, make_terms, worst_error
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS
from tests.kernels.compiled import UNITS, require_library, use_unit
from tests.kernels.operators import forward_and_gradients, run

# Several tiles, the last of which is not full; more units than one block of columns; rows that no block divides.
MORE_SHAPES = [
    *SHAPES,
    *KNOWN_SHAPES,
    pytest.param(Case(B=11, P=2, F=2, N=29, C=2, O=2, H=5, L=2, M=2), id="tiles"),
    pytest.param(Case(B=1, P=2, F=2, N=53, C=2, O=1, H=83, L=1, M=3), id="wide"),
    pytest.param(Case(B=2, P=3, F=1, N=4, C=70, O=17, H=16, L=1, M=2), id="many_channels"),
    pytest.param(Case(B=11, P=1, F=3, N=29, C=1, O=2, H=5, L=2, M=2, K=9), id="known_in_tiles", marks=pytest.mark.slow),
]
# One number, whose error in plain PyTorch is luck, has a test of its own.
BUDGET_SHAPES = [shape for shape in MORE_SHAPES if "smallest" not in str(shape.id)]


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    use_unit(name, monkeypatch)
    return name


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("coins", [True, False])
@pytest.mark.parametrize("case", MORE_SHAPES)
def test_equals_specification_in_float64(case: Case, coins: bool) -> None:
    require_library()
    prediction, gradients = forward_and_gradients(case, torch.float64, "cpu", coins)
    wanted, wanted_gradients = forward_and_gradients(case, torch.float64, "specification", coins)
    torch.testing.assert_close(prediction, wanted, rtol=1e-12, atol=1e-12)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("case", BUDGET_SHAPES)
def test_float32_within_the_error_budget(case: Case, unit: str) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True)
    got, gradients = forward_and_gradients(case, torch.float32, "cpu", True)
    assert_within_budget([got], [plain], [truth])
    assert_within_budget(gradients, plain_gradients, true_gradients)


def test_biases_of_many_rows_lose_no_digit(unit: str) -> None:
    """A bias's gradient is a sum over all rows: 9,002 here. One float32 sum from end to end errs by some 1e-6."""
    case = Case(B=2, P=1, F=1, N=4501, C=1, O=1, H=3, L=1, M=1)
    inputs = {dtype: make_seq2seq(case).to(dtype) for dtype in (torch.float32, torch.float64)}
    for dtype, one in inputs.items():
        prediction = run(one, make_terms(case, dtype), "cpu")
        weight = 0.5 + torch.rand(prediction.shape, generator=torch.Generator().manual_seed(1))
        (prediction * weight.to(dtype)).sum().backward()
    got, truth = (
        [one.projection_bias_O.grad, *(bias.grad for cell in one.encoder for bias in (cell[1], cell[3]))]
        for one in inputs.values()
    )
    assert worst_error(got, truth) <= 5e-7


def test_float32_of_one_number(unit: str) -> None:
    case = Case(B=1, P=1, F=1, N=1, C=1, O=1, H=1, L=1, M=1)
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", False)
    got, gradients = forward_and_gradients(case, torch.float32, "cpu", False)
    torch.testing.assert_close(got.double(), truth, rtol=2e-6, atol=1e-7)
    for ours, true in zip(gradients, true_gradients, strict=True):
        torch.testing.assert_close(ours.double(), true, rtol=4e-6, atol=1e-7)


@pytest.mark.parametrize("case", BUDGET_SHAPES)
def test_bfloat16_within_the_error_budget_of_autocast(case: Case, unit: str) -> None:
    truth, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    plain, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True, autocast=True)
    got, gradients = forward_and_gradients(case, torch.float32, "cpu", True, autocast=True)
    assert got.dtype == torch.bfloat16
    assert_within_budget([got], [plain], [truth])
    assert_within_budget([gradient.bfloat16() for gradient in gradients], plain_gradients, true_gradients)


def test_saturated_gates_stay_finite_and_nan_comes_through(unit: str) -> None:
    case = Case(B=2, P=2, F=2, N=5, H=20)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    for scale in (1e4, 1e30):
        far = make_seq2seq(case).to(torch.float32)
        far.x_BPNC.data.mul_(scale)
        prediction = run(far, terms, "cpu")
        prediction.sum().backward()
        assert prediction.isfinite().all()
        assert all(t.grad is None or t.grad.isfinite().all() for t in far.differentiable)
        torch.testing.assert_close(prediction, run(far, terms, "specification"), rtol=1e-4, atol=1e-5)
    inputs.x_BPNC.data[0, 0, 2, 0] = float("nan")
    prediction = run(inputs, terms, "cpu")
    prediction.sum().backward()
    assert prediction[0].isnan().any()
    assert prediction[1].isfinite().all()
    assert inputs.encoder[0].gate_weight.grad is not None
    assert inputs.encoder[0].gate_weight.grad.isnan().any()


@pytest.mark.parametrize("known", [0, 2])
def test_gradcheck_through_the_operator(known: int) -> None:
    require_library()
    case = Case(B=1, P=2, F=2, N=3, C=1, O=1, H=2, L=2, M=3, K=known)
    inputs = make_seq2seq(case).to(torch.float64)
    terms = make_terms(case, torch.float64)

    def of(*tensors: Tensor) -> Tensor:
        return run(inputs, terms, "cpu")

    assert torch.autograd.gradcheck(of, tuple(inputs.differentiable), fast_mode=True)


def operator_arguments(case: Case, save: int) -> list[object]:
    inputs = make_seq2seq(case).to(torch.float32)
    flat = [[t.detach().requires_grad_(save != 0) for t in layer] for layer in (inputs.encoder[0], inputs.decoder[0])]
    return [
        inputs.x_BPNC.detach().requires_grad_(save != 0),
        make_terms(case, torch.float32).tensors,
        case.M,
        *flat,
        inputs.projection_weight_OH.detach().requires_grad_(save != 0),
        inputs.projection_bias_O.detach().requires_grad_(save != 0),
        inputs.labels_BFNO.detach().requires_grad_(save != 0),
        inputs.feed_label_F,
        save,
        False,
        *([] if inputs.known_BFNK is None else [inputs.known_BFNK.detach().requires_grad_(save != 0)]),
    ]


@pytest.mark.parametrize(
    ("save", "known"), [(-1, 0), (0, 0), (2, 0), (0, 2), pytest.param(-1, 2, marks=pytest.mark.slow)]
)
def test_opcheck(save: int, known: int) -> None:
    require_library()
    arguments = tuple(operator_arguments(Case(N=4, H=3, L=1, K=known), save))
    torch.library.opcheck(torch.ops.dcrnn_fast.seq2seq_cpu.default, arguments)


@pytest.mark.parametrize("case", MORE_SHAPES)
def test_inference_equals_training_to_the_bit(case: Case, unit: str) -> None:
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    with_gradients = run(inputs, terms, "cpu")
    with torch.no_grad():
        without = run(inputs, terms, "cpu")
    assert torch.equal(with_gradients, without)
    assert not without.requires_grad


# More tiles than threads, also where these do not divide them; one tile and two, whose rows the threads divide, also
# where only some get a block of rows.
THREAD_CASES = [
    pytest.param(Case(B=70, P=2, F=2, N=71, H=20, density=0.05), id="many_tiles"),
    pytest.param(Case(B=5, P=2, F=3, N=301, C=1, O=2, H=18, M=3, density=0.02, K=2), id="tiles_left_over"),
    pytest.param(Case(B=1, P=2, F=3, N=50, H=20, density=0.1, K=1), id="one_small_tile"),
    pytest.param(Case(B=2, P=3, F=2, N=301, C=3, O=2, H=33, density=0.02), id="two_tiles"),
    pytest.param(Case(B=1, P=1, F=1, N=7, H=70, M=1), id="rows_for_one"),
]


@pytest.mark.parametrize("precision", ["float32", "float64", "autocast"])
@pytest.mark.parametrize("case", THREAD_CASES)
def test_bits_do_not_depend_on_threads_or_runs(case: Case, precision: str, threads_restored: None) -> None:
    require_library()
    dtype = torch.float64 if precision == "float64" else torch.float32
    runs = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        runs.append(forward_and_gradients(case, dtype, "cpu", True, autocast=precision == "autocast"))
    for prediction, gradients in runs[1:]:
        assert torch.equal(prediction, runs[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, runs[0][1], strict=True))


@pytest.mark.parametrize("unit", UNITS)
def test_rows_that_threads_divide_have_the_same_bits_in_every_unit(
    unit: str, monkeypatch: pytest.MonkeyPatch, threads_restored: None
) -> None:
    use_unit(unit, monkeypatch)
    case = Case(B=1, P=2, F=2, N=203, C=2, O=1, H=34, L=2, M=3, density=0.05)
    for autocast in (False, True):
        torch.set_num_threads(1)
        prediction, gradients = forward_and_gradients(case, torch.float32, "cpu", True, autocast=autocast)
        # Shares of the weights' gradients that begin and end within a term, also within one of two left panels.
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            again, gradients_again = forward_and_gradients(case, torch.float32, "cpu", True, autocast=autocast)
            assert torch.equal(prediction, again)
            assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_again, strict=True))


def test_gradients_that_nobody_wants_are_not_computed() -> None:
    require_library()
    case = Case(B=3, P=2, F=3, K=2)
    wanted, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    run(wanted, terms, "cpu").sum().backward()
    some = make_seq2seq(case).to(torch.float32)
    assert some.known_BFNK is not None
    for tensor in (some.x_BPNC, some.labels_BFNO, some.known_BFNK):
        tensor.requires_grad_(False)
    run(some, terms, "cpu").sum().backward()
    assert some.x_BPNC.grad is None
    assert some.known_BFNK.grad is None
    for a, b in zip(some.differentiable[2:-1], wanted.differentiable[2:-1], strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_takes_any_strides() -> None:
    require_library()
    case = Case(B=3, P=4, N=6, K=2)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    assert inputs.known_BFNK is not None
    both = (inputs.x_BPNC, inputs.known_BFNK)
    x_BPNC, known_BFNK = (t.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0) for t in both)
    assert not x_BPNC.is_contiguous()
    assert not known_BFNK.is_contiguous()
    got = run(replace(inputs, x_BPNC=x_BPNC, known_BFNK=known_BFNK), terms, "cpu", coins=False)
    assert torch.equal(got, run(inputs, terms, "cpu", coins=False))


def test_an_empty_batch_is_a_batch() -> None:
    require_library()
    case = Case(B=0, K=1)
    inputs = make_seq2seq(case).to(torch.float32)
    prediction = run(inputs, make_terms(case, torch.float32), "cpu")
    assert prediction.shape == (0, case.F, case.N, case.O)
    prediction.sum().backward()
    assert all(t.grad is not None and not t.grad.any() for t in inputs.differentiable[2:])


def test_is_the_first_choice_of_auto() -> None:
    assert IMPLEMENTATIONS[0].name == "cpu"
    require_library()
    assert IMPLEMENTATIONS[0].why_not(torch.zeros(1)) is None
    assert IMPLEMENTATIONS[0].why_not(torch.zeros(1, dtype=torch.float16)) == "no kernels for torch.float16"
    assert IMPLEMENTATIONS[0].why_not(torch.zeros(1, device="meta")) == "x is on meta"


def refused(match: str, position: int, value: object) -> None:
    arguments = operator_arguments(Case(N=4, H=3, L=1), -1)
    arguments[position : position + 1] = [value]
    with pytest.raises(RuntimeError, match=match):
        torch.ops.dcrnn_fast.seq2seq_cpu(*arguments)


def test_the_operator_checks_what_it_is_given() -> None:
    require_library()
    arguments = operator_arguments(Case(N=4, H=3, L=1), -1)
    terms = arguments[1]
    encoder = arguments[3]
    assert isinstance(terms, list)
    assert isinstance(encoder, list)
    refused(r"terms: row_start must be \(37,\), got \(17,\)", 0, torch.zeros(2, 3, 9, 2))
    refused("x must be float32, float64 or bfloat16", 0, torch.zeros(2, 3, 4, 2, dtype=torch.float16))
    refused(
        "terms must be six tensors, or fourteen with a recursion, and one more of a divided graph, got 5", 1, terms[:5]
    )
    refused("terms: column has an index outside of", 1, [terms[0], terms[1] + 100, *terms[2:]])
    refused("terms: column has an index outside of", 1, [*terms[:4], terms[4] - 100, terms[5]])
    refused("row_start must rise from 0", 1, [terms[0].flip(0), *terms[1:]])
    refused("value must be float32, got float64", 1, [*terms[:2], terms[2].double(), *terms[3:]])
    refused(r"encoder\[0\] gate_bias must be \(6,\), got \(5,\)", 3, [encoder[0], torch.zeros(5), *encoder[2:]])
    refused("as many layers of 4 tensors, got 3 and 4", 3, encoder[:3])
    refused("labels must be float32, got float64", 7, torch.zeros(2, 2, 4, 1, dtype=torch.float64))
    refused(r"feed_label must be \(2,\), got \(3,\)", 8, torch.zeros(3, dtype=torch.bool))
    refused("feed_label must be bool", 8, torch.zeros(2))
    refused("num_terms must be at least 1, got 0", 2, 0)
    refused(r"decoder\[0\] gate_weight must be \(35, 6\), got \(20, 6\)", 11, torch.zeros(2, 2, 4, 3))
    refused(r"known must be \(2, 2, 4, 3\), got \(2, 3, 4, 3\)", 11, torch.zeros(2, 3, 4, 3))
    refused(r"known must have 4 dimensions and a channel, got \(2, 2, 4\)", 11, torch.zeros(2, 2, 4))
    refused(r"known must have 4 dimensions and a channel", 11, torch.zeros(2, 2, 4, 0))
    refused("known must be float32, got float64", 11, torch.zeros(2, 2, 4, 1, dtype=torch.float64))


def test_an_unknown_unit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "sse9")
    case = Case()
    with pytest.raises(
        ValueError, match="DCRNN_FAST_CPU is 'sse9', wanted one of generic, avx2, avx512, avx512_bf16, amx"
    ):
        run(make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32), "cpu")


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    require_library()
    case = Case(P=2, F=2, K=2)
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    compiled = torch.compile(lambda: run(inputs, terms, "cpu"), fullgraph=True)
    prediction = compiled()
    torch.testing.assert_close(prediction, run(inputs, terms, "cpu"))
    got = torch.autograd.grad(prediction.sum(), inputs.differentiable)
    wanted = torch.autograd.grad(run(inputs, terms, "cpu").sum(), inputs.differentiable)
    torch.testing.assert_close(got, wanted)


def test_the_budget_notices_a_wrong_backward() -> None:
    require_library()
    case = Case()
    _, true_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    _, plain_gradients = forward_and_gradients(case, torch.float32, "specification", True)
    _, other_coins = forward_and_gradients(case, torch.float32, "cpu", False)
    with pytest.raises(AssertionError, match="max error"):
        assert_within_budget(other_coins, plain_gradients, true_gradients)
