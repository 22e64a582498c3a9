"""The reference's diffusion matrices, from the written formula, independent of ``dcrnn_fast.graph``.

Shape legend: N nodes. Row = from, column = to in an adjacency; supports are applied as ``support @ x``.
"""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


def dual_random_walk(adjacency: Any) -> list[Any]:
    """Both supports of Li et al. 2018 as released, float64, of a scipy matrix."""
    supports = []
    for matrix in (scipy.sparse.csr_array(adjacency, dtype=np.float64), scipy.sparse.csr_array(adjacency.T)):
        out_degree_N = np.asarray(matrix.sum(axis=1)).ravel()
        inverse_N = np.divide(1.0, out_degree_N, out=np.zeros_like(out_degree_N), where=out_degree_N != 0)
        supports.append((scipy.sparse.diags_array(inverse_N) @ matrix).T.tocsr())
    return supports


def sparse_support(support: Any) -> Tensor:
    """The matrix, dense or scipy's, as the port holds it: float32 COO, column-major order, not marked as coalesced."""
    entries = scipy.sparse.coo_array(support)
    order = np.lexsort((entries.row, entries.col))
    indices = np.stack([entries.row[order], entries.col[order]]).astype(np.int64)
    values = entries.data[order].astype(np.float32)
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices), torch.from_numpy(values), support.shape, check_invariants=True
    )
