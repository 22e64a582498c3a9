"""How plain PyTorch applies the diffusion terms: one product with all of them, dense or sparse.

Shape legend: N nodes, M diffusion terms, S = (M-1) N stacked rows, R columns of anything.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dtypes import accumulator_dtype
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


def stack_of(tensors: list[Tensor], num_terms: int, x: Tensor, *, transposed: bool) -> StackedOperator:
    """``stacked_operator`` for x (.., N, .., ..) with its nodes second, from an operator's arguments."""
    terms = DiffusionTerms.from_tensors(tensors, x.shape[1], num_terms)
    return stacked_operator(terms, x.dtype, transposed=transposed)


def stacked_operator(terms: DiffusionTerms, dtype: torch.dtype, *, transposed: bool) -> StackedOperator:
    """The stack P_1 .. P_{M-1} (or of their transposes) in ``dtype``, dense if that is faster."""
    if transposed:
        row_start, column, value = terms.row_start_t, terms.column_t, terms.value_t
    else:
        row_start, column, value = terms.row_start, terms.column, terms.value
    rows = (terms.num_terms - 1) * terms.num_nodes
    if rows == 0:
        return StackedOperator(value.new_zeros(0, terms.num_nodes, dtype=dtype))
    if prefers_dense(terms, dtype):
        lengths = (row_start[1:] - row_start[:-1]).long()
        row = torch.repeat_interleave(torch.arange(rows, device=value.device), lengths, output_size=value.shape[0])
        dense = value.new_zeros(rows * terms.num_nodes, dtype=dtype)
        # Entries are unique, so an add is a store.
        dense = dense.index_add(0, row * terms.num_nodes + column, value.to(dtype))
        return StackedOperator(dense.view(rows, terms.num_nodes))
    sparse = torch.sparse_csr_tensor(
        row_start, column, value.to(accumulator_dtype(dtype)), size=(rows, terms.num_nodes), check_invariants=False
    )
    return StackedOperator(sparse)
