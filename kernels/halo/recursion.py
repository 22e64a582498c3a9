"""One rank's part of a recursion that makes the terms: supports over the rows of its panels.

A step of a recursion reads what an earlier one wrote in the neighbours' rows. Rows travel only before the first one, so
that a rank computes the later ones' rows of its neighbours itself: the further a row, the fewer steps need it.

Shape legend: N nodes of the complete graph, M diffusion terms, S supports.
"""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor


class PartOfRecursion:
    """Which rows of which supports one rank computes in one direction.

    Args:
        tensors: steps, row_start, column and value of the complete graph's supports.
        num_terms: M.
        own: numbers of the rank's nodes.
        received: those of the rows that travel.
    """

    def __init__(self, tensors: tuple[Tensor, ...], num_terms: int, own: np.ndarray, received: np.ndarray, N: int):
        import scipy.sparse  # nothing else of the operators needs it

        steps, row_start, column, value = (tensor.numpy() for tensor in tensors)
        stacked = scipy.sparse.csr_array((value, column, row_start), shape=(len(row_start) - 1, N))
        self._supports = [stacked[first : first + N] for first in range(0, len(row_start) - 1, N)]
        self._steps = steps
        self._value_dtype = tensors[3].dtype
        here = np.zeros(N, dtype=bool)
        here[own] = True
        needed: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(N, dtype=bool))
        for term in range(1, num_terms):
            needed[term] |= here
        self._rows = [np.zeros(N, dtype=bool) for _ in self._supports]
        for support, source, minus, _, target in steps[::-1].tolist():
            rows = needed[target]
            self._rows[support] |= rows
            needed[source][self._supports[support][np.flatnonzero(rows)].indices] = True
            if minus >= 0:
                needed[minus] |= rows
        here[received] = True
        self.usable = len(steps) > 0 and not (needed[0] & ~here).any()
        """whether there are steps, and all that they read travels: operators lack entries that cancel"""
        computed = np.logical_or.reduce(list(needed.values())) if needed else here
        self._local = [own, received, np.flatnonzero(computed & ~here)]

    @property
    def panel_rows(self) -> int:
        """Own rows, received ones, and those that are only computed."""
        return sum(map(len, self._local))

    def gains(self, entries: int, own: int, num_terms: int) -> bool:
        """Whether the steps visit less than the operators' ``entries`` in the own rows."""
        by_steps = 0
        for support, _, minus, _, _ in self._steps.tolist():
            by_steps += int(np.diff(self._supports[support].indptr)[self._rows[support]].sum())
            by_steps += self.panel_rows * (2 if minus >= 0 else 1)
        return by_steps < entries + (num_terms - 1) * own

    def tensors(self) -> list[Tensor]:
        """Steps, row_start, column and value of the supports over the panels' rows; rows of no use are empty."""
        import scipy.sparse

        order = np.concatenate(self._local)
        parts = []
        for support, rows in zip(self._supports, self._rows, strict=True):
            used = scipy.sparse.diags_array(rows.astype(support.dtype), format="csr") @ support
            parts.append(used[order][:, order])
        stacked = scipy.sparse.csr_array(scipy.sparse.vstack(parts, format="csr"))
        stacked.sort_indices()
        return [
            torch.from_numpy(self._steps.copy()),
            torch.from_numpy(stacked.indptr.astype(np.int32)),
            torch.from_numpy(stacked.indices.astype(np.int32)),
            torch.from_numpy(stacked.data).to(self._value_dtype),
        ]
