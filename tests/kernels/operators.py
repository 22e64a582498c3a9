"""Every operator run on a case by any backend: what the tests of all backends compare.

Shape legend: see ``bench/cases.py``.
"""

import torch
from torch import Tensor

from bench.cases import Case, Seq2SeqInputs, make_cell, make_seq2seq, make_terms
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_sequence, dcrnn_seq2seq, diffusion_conv


def run(inputs: Seq2SeqInputs, terms: DiffusionTerms, backend: str, coins: bool = True, save: str = "all") -> Tensor:
    """The prediction of the encoder-decoder."""
    labels = {"labels_BFNO": inputs.labels_BFNO, "feed_label_F": inputs.feed_label_F} if coins else {}
    return dcrnn_seq2seq(
        inputs.x_BPNC,
        terms,
        inputs.encoder,
        inputs.decoder,
        inputs.projection_weight_OH,
        inputs.projection_bias_O,
        future_steps=inputs.feed_label_F.shape[0],
        backend=backend,
        save=save,
        known_BFNK=inputs.known_BFNK,
        **labels,
    )


def forward_and_gradients(
    case: Case, dtype: torch.dtype, backend: str, coins: bool, *, autocast: bool = False, save: str = "all"
) -> tuple[Tensor, list[Tensor]]:
    """The prediction, and the gradients of a weighted sum of it, zeros where there is none."""
    inputs = make_seq2seq(case).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        prediction = run(inputs, make_terms(case, dtype), backend, coins, save)
    weight = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (prediction.double() * weight).sum().backward()
    return prediction, [torch.zeros_like(t) if t.grad is None else t.grad for t in inputs.differentiable]


def sequence_leaves(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor, list[CellWeights]]:
    """x_BTNC, initial_LBNH and the layers, wanting gradients."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    x_BTNC = normal(case.B, case.P, case.N, case.C)
    initial_LBNH = normal(case.L, case.B, case.N, case.H)
    cells = [make_cell(generator, case.C if layer == 0 else case.H, case) for layer in range(case.L)]
    return x_BTNC, initial_LBNH, [CellWeights(*(t.to(dtype).requires_grad_() for t in cell)) for cell in cells]


def sequence_results(
    case: Case, dtype: torch.dtype, backend: str, *, autocast: bool = False, save: str = "all"
) -> list[Tensor]:
    """States, last states, and the gradients of a weighted sum of both."""
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        terms = make_terms(case, dtype)
        states, last = dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend=backend, save=save)
    generator = torch.Generator().manual_seed(3)
    total = sum(
        (out.double() * torch.randn(out.shape, generator=generator, dtype=torch.float64)).sum()
        for out in (states, last)
    )
    assert isinstance(total, Tensor)
    total.backward()
    flat = [tensor for layer in layers for tensor in layer]
    return [states.detach(), last.detach(), *(t.grad for t in (x_BTNC, initial_LBNH, *flat) if t.grad is not None)]


def convolution_leaves(case: Case, dtype: torch.dtype) -> list[Tensor]:
    """x_BNC, weight_IO, bias_O, wanting gradients."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.H), (case.H,))
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def convolution_results(case: Case, dtype: torch.dtype, backend: str, *, autocast: bool = False) -> list[Tensor]:
    """y, and the gradients of a weighted sum of it."""
    x_BNC, weight_IO, bias_O = tensors = convolution_leaves(case, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y_BNO = diffusion_conv(x_BNC, make_terms(case, dtype), weight_IO, bias_O, backend=backend)
    generator = torch.Generator().manual_seed(5)
    (y_BNO.double() * torch.randn(y_BNO.shape, generator=generator, dtype=torch.float64)).sum().backward()
    return [y_BNO.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]
