"""How plain PyTorch applies the diffusion terms: one product with all of them, dense or sparse.

Shape legend: N nodes, M diffusion terms, S = (M-1) N stacked rows, R columns of anything.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.halo.exchange import Halo, halo_of
from dcrnn_fast.kernels.terms import DiffusionTerms

# One line of PyTorch about the CSR layout as such; the tests hold its products against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

# A dense product touches S*N entries at the rate of a GEMM, a sparse one E entries at the rate of gathers. Measured on
# one Zen 5 core with torch 2.13 (MKL, oneDNN): float32 breaks even near S*N = 16 E, bfloat16 (whose dense product is
# five times faster and whose sparse product must run in float32) near 64 E.
DENSE_BELOW_SPARSITY = {torch.bfloat16: 64, torch.float16: 64}
DENSE_BELOW_SPARSITY_DEFAULT = 16


def prefers_dense(terms: DiffusionTerms, dtype: torch.dtype) -> bool:
    """Whether plain PyTorch applies the terms faster as a dense matrix, by counting entries."""
    dense_entries = (terms.num_terms - 1) * terms.num_nodes**2
    limit = DENSE_BELOW_SPARSITY.get(dtype, DENSE_BELOW_SPARSITY_DEFAULT)
    return dense_entries <= limit * terms.value.shape[0]


class StackedOperator(NamedTuple):
    """One stack (S, N), ready to be applied by plain PyTorch in one dtype: dense, or CSR."""

    matrix: Tensor

    def apply(self, x_NR: Tensor) -> Tensor:
        """Diffuses: (N, R) -> (S, R) in x's dtype. Sums run in float32 or wider."""
        if self.matrix.shape[0] == 0:
            return x_NR.new_empty(0, x_NR.shape[1])
        if self.matrix.layout == torch.strided:
            return self.matrix @ x_NR
        # Sparse products exist for float32 and float64 only; autocast would make bfloat16 of them.
        with torch.autocast(x_NR.device.type, enabled=False):
            return (self.matrix @ x_NR.to(self.matrix.dtype)).to(x_NR.dtype)


class SharedOperator(NamedTuple):
    """One rank's rows of a divided graph's stack: the columns of its own nodes, and those of rows that it receives."""

    own: StackedOperator
    received: StackedOperator
    halo: Halo
    transposed: bool

    def apply(self, x_NR: Tensor) -> Tensor:
        """The same, together with the partners: own columns are multiplied while the other rows travel."""
        if self.own.matrix.shape[0] == 0:
            return self.own.apply(x_NR)
        finish = self.halo.route(transposed=self.transposed).start(x_NR.contiguous(), self.halo.partners)
        wide = accumulator_dtype(x_NR.dtype)
        stacked_SR = self.own.apply(x_NR).to(wide)
        received_R = finish()
        if received_R.shape[0]:
            stacked_SR += self.received.apply(received_R).to(wide)
        return stacked_SR.to(x_NR.dtype)


Operator = StackedOperator | SharedOperator


def stack_of(tensors: list[Tensor], num_terms: int, x: Tensor, *, transposed: bool) -> Operator:
    """``stacked_operator`` for x (.., N, .., ..) with its nodes second, from an operator's arguments."""
    terms = DiffusionTerms.from_tensors(tensors, x.shape[1], num_terms)
    return stacked_operator(terms, x.dtype, transposed=transposed)


def stacked_operator(terms: DiffusionTerms, dtype: torch.dtype, *, transposed: bool) -> Operator:
    """The stack P_1 .. P_{M-1} (or of their transposes) in ``dtype``, dense if that is faster."""
    N, rows = terms.num_nodes, (terms.num_terms - 1) * terms.num_nodes
    if transposed:
        row_start, column, value = terms.row_start_t, terms.column_t, terms.value_t
    else:
        row_start, column, value = terms.row_start, terms.column, terms.value
    dense = prefers_dense(terms, dtype)
    if terms.halo is None:
        return StackedOperator(_matrix(row_start, column, value, (rows, N), dtype, dense))
    halo = halo_of(terms.halo)
    received = sum(halo.route(transposed=transposed).received)
    own = column < N
    return SharedOperator(
        StackedOperator(_matrix(*_entries(row_start, column, value, own), (rows, N), dtype, dense)),
        StackedOperator(_matrix(*_entries(row_start, column - N, value, ~own), (rows, received), dtype, dense)),
        halo,
        transposed,
    )


def _entries(row_start: Tensor, column: Tensor, value: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The CSR of some of the entries."""
    before = torch.cat([row_start.new_zeros(1), chosen.cumsum(0, dtype=row_start.dtype)])
    return before[row_start.long()], column[chosen], value[chosen]


def _matrix(
    row_start: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int], dtype: torch.dtype, dense: bool
) -> Tensor:
    rows, columns = shape
    if rows == 0:
        return value.new_zeros(0, columns, dtype=dtype)
    if dense:
        lengths = (row_start[1:] - row_start[:-1]).long()
        row = torch.repeat_interleave(torch.arange(rows, device=value.device), lengths, output_size=value.shape[0])
        filled = value.new_zeros(rows * columns, dtype=dtype)
        # Entries are unique, so an add is a store.
        return filled.index_add(0, row * columns + column, value.to(dtype)).view(rows, columns)
    return torch.sparse_csr_tensor(
        row_start, column, value.to(accumulator_dtype(dtype)), size=(rows, columns), check_invariants=False
    )
