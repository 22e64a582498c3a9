"""The M diffusion terms of a graph as tensors.

Every recursion over every support is linear in x, so a graph is M fixed operators P_m with P_0 = I. The other M-1 are
stacked vertically in one sparse matrix of S = (M-1) N rows: one sparse product diffuses for all terms. The stacked
transposes serve the backward pass, which diffuses the gradient.

Shape legend: N nodes, M diffusion terms, S = (M-1) N stacked rows, E stored entries.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class RecursionStep(Protocol):
    """panel[target] = scale * S_support panel[source] - panel[minus]; minus -1: nothing."""

    @property
    def support(self) -> int: ...
    @property
    def minus(self) -> int: ...
    def __iter__(self) -> Iterator[int]:
        """support, source, minus, scale, target."""
        ...


class Recursion(Protocol):
    """Supports (N, N), scipy sparse, and the steps over them (over their transposes) that make all terms."""

    @property
    def supports(self) -> Sequence[Any]: ...
    @property
    def steps(self) -> Sequence[RecursionStep]: ...
    @property
    def transposed_steps(self) -> Sequence[RecursionStep]: ...


class DiffusionTerms(NamedTuple):
    """P_1 .. P_{M-1}, stacked, as CSR; and P_1ᵀ .. P_{M-1}ᵀ, stacked, as CSR. P_0 is the identity and is not stored.

    Attributes:
        row_start, column, value: (S+1) int32, (E) int32, (E) floating; row m*N + i is row i of P_{m+1}.
        row_start_t, column_t, value_t: the same of the transposes.
        num_nodes, num_terms: N and M.
        recursion: nothing, or the steps over the supports that make the terms with fewer entries, for kernels that take
            them: steps (R, 5) int32, the supports as CSR, and both of the transposes. No steps: no gain.
        halo: nothing, or (int64) one rank's part of a divided graph (``halo/``): N counts its own nodes, and columns
            from N on are rows that its partners send.
    """

    row_start: Tensor
    column: Tensor
    value: Tensor
    row_start_t: Tensor
    column_t: Tensor
    value_t: Tensor
    num_nodes: int
    num_terms: int
    recursion: tuple[Tensor, ...] = ()
    halo: Tensor | None = None

    @classmethod
    def from_operators(
        cls, operators: Sequence[Any], dtype: torch.dtype = torch.float32, *, recursion: Recursion | None = None
    ) -> "DiffusionTerms":
        """Builds the terms from M scipy sparse matrices (N, N), float64, the first of which is the identity.

        Args:
            recursion: how the operators are made from supports, if that is known.

        Raises:
            ValueError: no operator, shapes that differ, a first operator that is not the identity, or more than
                2**31 - 1 stored entries (indices are int32).
        """
        if not operators:
            raise ValueError("DiffusionTerms: needs at least the identity, got no operator")
        num_nodes = operators[0].shape[0]
        for m, operator in enumerate(operators):
            if operator.shape != (num_nodes, num_nodes):
                raise ValueError(f"DiffusionTerms: operator {m} is {operator.shape}, the first is {num_nodes} nodes")
        first = operators[0].tocoo()
        if first.nnz != num_nodes or not ((first.row == first.col).all() and (first.data == 1).all()):
            raise ValueError("DiffusionTerms: the first operator must be the identity")
        forward = _stack([operator.tocsr() for operator in operators[1:]], num_nodes, dtype)
        backward = _stack([operator.T.tocsr() for operator in operators[1:]], num_nodes, dtype)
        terms = cls(*forward, *backward, num_nodes=num_nodes, num_terms=len(operators))
        return terms if recursion is None else terms._replace(recursion=_recursion_tensors(terms, recursion))

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor], num_nodes: int, num_terms: int) -> "DiffusionTerms":
        """The terms again, from the tensors of ``tensors`` or ``tensors_with_recursion``."""
        row_start, column, value, row_start_t, column_t, value_t, *rest = tensors
        # The recursion's tensors are eight.
        halo = rest.pop() if len(rest) % 2 else None
        return cls(row_start, column, value, row_start_t, column_t, value_t, num_nodes, num_terms, tuple(rest), halo)

    @property
    def tensors(self) -> list[Tensor]:
        """The six tensors in the order of an operator's schema, and the halo of a divided graph."""
        return [*self._operators, *self._halo]

    @property
    def tensors_with_recursion(self) -> list[Tensor]:
        """The same with the recursion's tensors, if there are any, before the halo."""
        return [*self._operators, *self.recursion, *self._halo]

    @property
    def _operators(self) -> list[Tensor]:
        return [self.row_start, self.column, self.value, self.row_start_t, self.column_t, self.value_t]

    @property
    def _halo(self) -> list[Tensor]:
        return [] if self.halo is None else [self.halo]


def _recursion_tensors(terms: DiffusionTerms, recursion: Recursion) -> tuple[Tensor, ...]:
    """Steps, row_start, column and value of the supports, then of their transposes; without steps if the operators
    have no more entries than the steps visit.
    """
    if not recursion.steps:
        return ()
    num_nodes, dtype = terms.num_nodes, terms.value.dtype
    entries = [int(support.nnz) for support in recursion.supports]
    # Rows of N numbers that are written or subtracted count like entries.
    at_once = terms.value.shape[0] + (terms.num_terms - 1) * num_nodes
    made: list[Tensor] = []
    for steps, supports in (
        (recursion.steps, [support.tocsr() for support in recursion.supports]),
        (recursion.transposed_steps, [support.T.tocsr() for support in recursion.supports]),
    ):
        by_steps = sum(entries[step.support] + num_nodes * (2 if step.minus >= 0 else 1) for step in steps)
        rows = [tuple(step) for step in steps] if by_steps < at_once else []
        made += [torch.tensor(rows, dtype=torch.int32).view(-1, 5), *_stack(supports, num_nodes, dtype)]
    return tuple(made) if made[0].shape[0] or made[4].shape[0] else ()


def _stack(matrices: Sequence[Any], num_nodes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    entries = sum(int(matrix.nnz) for matrix in matrices)
    if max(entries, len(matrices) * num_nodes + 1) > torch.iinfo(torch.int32).max:
        raise ValueError(f"DiffusionTerms: {entries} stored entries do not fit int32 indices")
    starts, columns, values = [torch.zeros(1, dtype=torch.int32)], [], []
    stored = 0
    for matrix in matrices:
        matrix.sort_indices()
        starts.append(torch.as_tensor(matrix.indptr[1:]).to(torch.int32) + stored)
        columns.append(torch.as_tensor(matrix.indices).to(torch.int32))
        values.append(torch.as_tensor(matrix.data).to(dtype))
        stored += int(matrix.nnz)
    if not matrices:
        return starts[0], torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=dtype)
    return torch.cat(starts), torch.cat(columns), torch.cat(values)
