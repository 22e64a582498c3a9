"""float32 products made of three bfloat16 ones: as good as promised, and only where they are asked for."""

import pytest
import torch
from torch import Tensor

from dcrnn_fast.kernels.dcrnn_seq2seq.cpu import dcrnn_seq2seq_cpu
from tests.kernels.cases import Case, make_seq2seq, make_terms, worst_error
from tests.kernels.compiled import require_library, use_unit

# Max |error| over max |value|. A number of two bf16 has 16 bits, so each product of random numbers is 5e-6 off already.
# Real training stays within 1e-5 in every gradient; a sum of random ones that nearly cancels, of few rows, does not.
FORECAST = 1e-5
GRADIENT = 5e-5
CASES = [
    pytest.param(Case(B=3, P=4, F=3, N=33, C=3, O=2, H=17, L=3, M=3), id="nothing_divides_a_tile"),
    pytest.param(Case(B=2, P=3, F=2, N=71, C=2, O=1, H=64, L=2, M=5, density=0.05), id="published_width"),
    pytest.param(Case(B=1, P=2, F=2, N=53, C=2, O=1, H=83, L=1, M=3), id="wide"),
    pytest.param(Case(B=1, P=1, F=1, N=5, C=2, O=1, H=240, L=2, M=5), id="deeper_than_is_split_at_once"),
]


def results(case: Case, dtype: torch.dtype, bf16x3: bool) -> tuple[Tensor, list[Tensor]]:
    """The forecast, and the gradients of all parameters."""
    inputs, terms = make_seq2seq(case).to(dtype), make_terms(case, dtype)
    prediction = dcrnn_seq2seq_cpu(
        inputs.x_BPNC,
        terms,
        inputs.encoder,
        inputs.decoder,
        inputs.projection_weight_OH,
        inputs.projection_bias_O,
        inputs.labels_BFNO,
        inputs.feed_label_F,
        bf16x3=bf16x3,
    )
    weight = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (prediction.double() * weight).sum().backward()
    return prediction, [tensor.grad for tensor in inputs.differentiable if tensor.grad is not None]


@pytest.mark.parametrize("case", CASES)
def test_errors_are_those_of_sixteen_bits(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    truth, true_gradients = results(case, torch.float64, bf16x3=False)
    got, gradients = results(case, torch.float32, bf16x3=True)
    assert worst_error([got], [truth]) <= FORECAST
    assert worst_error(gradients, true_gradients) <= GRADIENT
    exact, _ = results(case, torch.float32, bf16x3=False)
    assert not torch.equal(got, exact), "the products were not split"


def test_without_amx_the_products_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    case = Case()
    assert torch.equal(results(case, torch.float32, bf16x3=True)[0], results(case, torch.float32, bf16x3=False)[0])
