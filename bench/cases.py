"""Shapes, inputs and the error budget that the tests of all operators share.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms, K known channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.shapes import CORNERS, KNOWN, Case
from dcrnn_fast.kernels import CellWeights, DiffusionTerms

SHAPES = [pytest.param(case, id=name) for name, case in CORNERS.items()]
KNOWN_SHAPES = [pytest.param(case, id=name) for name, case in KNOWN.items()]


def make_operators(case: Case, seed: int = 0) -> list[sp.csr_array]:
    """M operators, the first the identity; row 0 of every other is empty, and so is column N-1."""
    generator = np.random.default_rng(seed)
    operators = [sp.csr_array(sp.eye_array(case.N))]
    for _ in range(case.M - 1):
        dense = generator.normal(size=(case.N, case.N)) * (generator.random((case.N, case.N)) < case.density)
        dense[0, :] = 0
        dense[:, case.N - 1] = 0
        operators.append(sp.csr_array(dense / max(1.0, case.density * case.N) ** 0.5))
    return operators


def make_terms(case: Case, dtype: torch.dtype, seed: int = 0) -> DiffusionTerms:
    """The case's graph for tensors of ``dtype``."""
    return DiffusionTerms.from_operators(
        make_operators(case, seed), torch.float64 if dtype == torch.float64 else torch.float32
    )


def make_cell(generator: torch.Generator, channels: int, case: Case) -> CellWeights:
    """Float64 parameters of a size that keeps gates away from saturation."""
    rows = (channels + case.H) * case.M
    scale = rows**-0.5
    return CellWeights(
        *(
            scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
            for shape in ((rows, 2 * case.H), (2 * case.H,), (rows, case.H), (case.H,))
        )
    )


@dataclass(frozen=True)
class Seq2SeqInputs:
    """Float64 inputs of the complete encoder-decoder."""

    x_BPNC: Tensor
    encoder: list[CellWeights]
    decoder: list[CellWeights]
    projection_weight_OH: Tensor
    projection_bias_O: Tensor
    labels_BFNO: Tensor
    feed_label_F: Tensor
    known_BFNK: Tensor | None = None

    @property
    def differentiable(self) -> list[Tensor]:
        """All that gradients are taken for, in a fixed order."""
        cells = [tensor for cell in [*self.encoder, *self.decoder] for tensor in cell]
        known = [] if self.known_BFNK is None else [self.known_BFNK]
        return [self.x_BPNC, self.labels_BFNO, self.projection_weight_OH, self.projection_bias_O, *cells, *known]

    def to(self, dtype: torch.dtype) -> "Seq2SeqInputs":
        """Leaf copies in another dtype that want gradients."""

        def leaf(tensor: Tensor) -> Tensor:
            return tensor.detach().to(dtype).requires_grad_()

        def cells(layers: list[CellWeights]) -> list[CellWeights]:
            return [CellWeights(*map(leaf, layer)) for layer in layers]

        return Seq2SeqInputs(
            leaf(self.x_BPNC),
            cells(self.encoder),
            cells(self.decoder),
            leaf(self.projection_weight_OH),
            leaf(self.projection_bias_O),
            leaf(self.labels_BFNO),
            self.feed_label_F,
            None if self.known_BFNK is None else leaf(self.known_BFNK),
        )


def make_seq2seq(case: Case, seed: int = 0) -> Seq2SeqInputs:
    """Inputs with coins that fall both ways, if there is more than one."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Seq2SeqInputs(
        normal(case.B, case.P, case.N, case.C),
        [make_cell(generator, case.C if layer == 0 else case.H, case) for layer in range(case.L)],
        [make_cell(generator, case.O + case.K if layer == 0 else case.H, case) for layer in range(case.L)],
        normal(case.O, case.H) * case.H**-0.5,
        normal(case.O),
        normal(case.B, case.F, case.N, case.O),
        torch.arange(case.F) % 2 == 0,
        normal(case.B, case.F, case.N, case.K) if case.K else None,
    )


MANUAL = 3
"""``times`` for the hand-written PyTorch in float32: its weights' gradients are one product over all steps, summed as
the BLAS likes (2.3 times PyTorch's error with MKL on an Intel processor, 2.6 with cuBLAS)"""


def worst_error(got: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """The largest of max|got - truth| / max|truth| over the tensors."""
    return max(
        ((ours.double() - true).abs().max() / true.abs().max().clamp_min(1e-30)).item()
        for ours, true in zip(got, truth, strict=True)
        if true.numel()
    )


def assert_within_budget(
    got: Sequence[Tensor], plain: Sequence[Tensor], truth: Sequence[Tensor], times: float = 2
) -> None:
    """``got`` may be at most twice as far from float64 truth as plain PyTorch in the same precision, plus one rounding.

    Distances are relative to each tensor's largest value, and the worst over the tensors counts: the error of plain
    PyTorch in a tensor of a few numbers can be luck.
    """
    ours, theirs, floor = worst_error(got, truth), worst_error(plain, truth), torch.finfo(got[0].dtype).eps
    assert ours <= times * theirs + floor, f"max error {ours:.3e}, plain PyTorch {theirs:.3e}, one rounding {floor:.3e}"
