"""The decoder's known channels, computed another way: cell by cell, with the functions of single operators.

Shape legend: B batch, F future steps, N nodes, O output channels, K known channels, D = O+K, H units.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bench.cases import KNOWN_SHAPES, Case, Seq2SeqInputs, make_seq2seq, make_terms
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_cell, dcrnn_seq2seq
from dcrnn_fast.kernels.dcrnn_seq2seq import gradients
from tests.kernels.compiled import require_library
from tests.kernels.operators import run

Gradients = Sequence[Tensor | None]


def cell_by_cell(inputs: Seq2SeqInputs, terms: DiffusionTerms) -> Tensor:
    """The prediction (B, F, N, O) in steps of one cell. Known channels stand first here, and the rows of the weights
    that meet them are moved with them.
    """
    B, P, N, _ = inputs.x_BPNC.shape
    O, H = inputs.projection_weight_OH.shape  # noqa: E741
    assert inputs.known_BFNK is not None
    K, M = inputs.known_BFNK.shape[3], terms.num_terms

    def known_first(weight: Tensor) -> Tensor:
        by_feature = weight.view(O + K + H, M, -1)
        return torch.cat([by_feature[O : O + K], by_feature[:O], by_feature[O + K :]]).reshape(weight.shape)

    first = inputs.decoder[0]
    moved = first._replace(
        gate_weight=known_first(first.gate_weight), candidate_weight=known_first(first.candidate_weight)
    )
    states = [inputs.x_BPNC.new_zeros(B, N, H) for _ in inputs.encoder]

    def step(x_BNC: Tensor, cells: list[CellWeights]) -> Tensor:
        for layer, weights in enumerate(cells):
            x_BNC = states[layer] = dcgru_cell(x_BNC, states[layer], terms, weights, backend="specification")
        return x_BNC

    for t in range(P):
        step(inputs.x_BPNC[:, t], inputs.encoder)
    fed_BNO, predictions = inputs.x_BPNC.new_zeros(B, N, O), []
    for t, label_read in enumerate(inputs.feed_label_F.tolist()):
        h_BNH = step(torch.cat([inputs.known_BFNK[:, t], fed_BNO], dim=-1), [moved, *inputs.decoder[1:]])
        predictions.append(torch.einsum("bnh,oh->bno", h_BNH, inputs.projection_weight_OH) + inputs.projection_bias_O)
        fed_BNO = inputs.labels_BFNO[:, t] if label_read else predictions[-1]
    return torch.stack(predictions, dim=1)


@pytest.mark.parametrize("case", KNOWN_SHAPES)
def test_equals_the_decoder_cell_by_cell(case: Case) -> None:
    require_library()
    inputs, terms = make_seq2seq(case).to(torch.float64), make_terms(case, torch.float64)
    wanted = cell_by_cell(inputs, terms)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaves = inputs.differentiable
    theirs_of = torch.autograd.grad((wanted * weight).sum(), leaves, allow_unused=True)
    for backend in ("specification", "manual", "cpu"):
        got = run(inputs, terms, backend)
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        equal(torch.autograd.grad((got * weight).sum(), leaves, allow_unused=True), theirs_of, leaves)


def equal(ours_of: Gradients, theirs_of: Gradients, leaves: Sequence[Tensor]) -> None:
    for ours, theirs, leaf in zip(ours_of, theirs_of, leaves, strict=True):
        zeros = torch.zeros_like(leaf)
        torch.testing.assert_close(
            zeros if ours is None else ours, zeros if theirs is None else theirs, rtol=1e-10, atol=1e-11
        )
    known = ours_of[-1]
    assert known is not None
    # Every step's known inputs count, the first step's too.
    assert (known.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("backend", ["specification", "manual", "cpu"])
def test_no_known_channels_are_none(backend: str) -> None:
    case = Case()
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)

    def predicted(known_BFNK: Tensor | None) -> Tensor:
        return dcrnn_seq2seq(
            inputs.x_BPNC,
            terms,
            inputs.encoder,
            inputs.decoder,
            inputs.projection_weight_OH,
            inputs.projection_bias_O,
            future_steps=case.F,
            known_BFNK=known_BFNK,
            backend=backend,
        )

    none = inputs.x_BPNC.new_zeros(case.B, case.F, case.N, 0)
    assert torch.equal(predicted(None), predicted(none))


@pytest.mark.parametrize("backend", ["manual", "cpu"])
def test_known_gradient_is_made_if_wanted_only(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = gradients.call_backward

    def noting(op: str, found: dict[str, object], **others: object) -> object:
        results = real(op, found, **others)
        asked.append(results[6].numel() > 0)
        return results

    monkeypatch.setattr(gradients, "call_backward", noting)
    case = Case(K=3)
    for wanted in (True, False):
        inputs = make_seq2seq(case).to(torch.float32)
        assert inputs.known_BFNK is not None
        inputs.known_BFNK.requires_grad_(wanted)
        run(inputs, make_terms(case, torch.float32), backend).sum().backward()
        assert (inputs.known_BFNK.grad is not None) == wanted
    assert asked == [True, False]
