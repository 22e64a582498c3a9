"""A trained model as plain arrays, laid out as ONNX and PyTorch's own operators multiply them.

Shape legend: B batch, P past steps, F future steps, N nodes, C value channels, D time channels, O target channels, K
known channels, H units, M diffusion terms, E stored entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.model.dcrnn import DCRNN

_DENSE_BELOW = 32
"""A dense product with all terms takes less time in ONNX Runtime if it has at most so many times their entries."""
_DENSE_ENTRIES = 4 << 20
"""that is 16 MiB of the file"""
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """term[target] = scale * support @ term[source] - term[minus]; term 0 is what is diffused, minus -1: nothing."""

    support: int
    source: int
    minus: int
    scale: float
    target: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Diffusion:
    """How the M terms of a graph are computed.

    Attributes:
        dense_NMN: float32 (N * M, N), row n * M + m is row n of term m; None: by the steps.
        supports: scipy CSR (N, N), float32.
        steps: over the supports, in order.
    """

    num_nodes: int
    num_terms: int
    dense_NMN: Floats | None
    supports: Sequence[scipy.sparse.csr_array]
    steps: Sequence[Step]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """The weights of one cell; rows are ordered by term, then by channel.

    Attributes:
        input_weight: (M * channels, 3H), input_bias (3H): r, u, c.
        gate_weight: (M * H, 2H), of the state; candidate_weight: (M * H, H), of r * state.
    """

    input_weight: Floats
    input_bias: Floats
    gate_weight: Floats
    candidate_weight: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class PortableModel:
    """All that the scaled forecast is computed from."""

    past_steps: int
    future_steps: int
    input_channels: int
    known_channels: int
    hidden_units: int
    diffusion: Diffusion
    encoder: tuple[Cell, ...]
    decoder: tuple[Cell, ...]
    projection_HO: Floats
    projection_bias_O: Floats

    @property
    def output_channels(self) -> int:
        """O."""
        return len(self.projection_bias_O)


def portable_model(model: DCRNN, past_steps: int) -> PortableModel:
    """The arrays, copied, in float32, of a model with its complete graph."""
    terms = model.diffusion.terms()
    return PortableModel(
        past_steps=past_steps,
        future_steps=model.future_steps,
        input_channels=model.input_channels,
        known_channels=model.known_channels,
        hidden_units=model.hidden_units,
        diffusion=_diffusion(terms),
        encoder=tuple(_cell(cell, terms.num_terms) for cell in model.encoder),
        decoder=tuple(_cell(cell, terms.num_terms) for cell in model.decoder),
        projection_HO=np.ascontiguousarray(_floats(model.projection.weight).T),
        projection_bias_O=_floats(model.projection.bias),
    )


def _floats(tensor: object) -> Floats:
    return tensor.detach().cpu().float().numpy().copy()  # type: ignore[attr-defined]


def _cell(cell: object, num_terms: int) -> Cell:
    gate, gate_bias, candidate, candidate_bias = map(_floats, cell.weights())  # type: ignore[attr-defined]
    units = len(candidate_bias)
    channels = gate.shape[0] // num_terms - units
    gate_input, gate_state = _by_term(gate, num_terms, channels)
    candidate_input, candidate_state = _by_term(candidate, num_terms, channels)
    return Cell(
        input_weight=np.concatenate([gate_input, candidate_input], axis=1),
        input_bias=np.concatenate([gate_bias, candidate_bias]),
        gate_weight=gate_state,
        candidate_weight=candidate_state,
    )


def _by_term(weight_IO: Floats, num_terms: int, channels: int) -> tuple[Floats, Floats]:
    """The rows of the input's channels and those of the state's, each ordered by term, then by channel."""
    weight_MCO = weight_IO.reshape(-1, num_terms, weight_IO.shape[1]).transpose(1, 0, 2)
    parts = weight_MCO[:, :channels], weight_MCO[:, channels:]
    of_input, of_state = (part.reshape(-1, weight_IO.shape[1]) for part in parts)
    return of_input, of_state


def _diffusion(terms: DiffusionTerms) -> Diffusion:
    N, M = terms.num_nodes, terms.num_terms
    stacked = _matrices(terms.row_start, terms.column, terms.value, N)
    entries = sum(matrix.nnz for matrix in stacked)
    dense = None
    if min(_DENSE_BELOW * (entries + N), _DENSE_ENTRIES) >= N * N * M:
        dense = np.empty((N, M, N), dtype=np.float32)
        dense[:, 0] = np.eye(N)
        for m, matrix in enumerate(stacked, start=1):
            dense[:, m] = matrix.toarray()
        return Diffusion(num_nodes=N, num_terms=M, dense_NMN=dense.reshape(N * M, N), supports=(), steps=())
    if terms.recursion and len(terms.recursion[0]):
        steps_R5, row_start, column, value = terms.recursion[:4]
        steps = [
            Step(support=support, source=source, minus=minus, scale=float(scale), target=target)
            for support, source, minus, scale, target in steps_R5.tolist()
        ]
        supports = _matrices(row_start, column, value, N)
        return Diffusion(num_nodes=N, num_terms=M, dense_NMN=None, supports=supports, steps=steps)
    steps = [Step(support=m, source=0, minus=-1, scale=1.0, target=m + 1) for m in range(M - 1)]
    return Diffusion(num_nodes=N, num_terms=M, dense_NMN=None, supports=stacked, steps=steps)


def _matrices(row_start: object, column: object, value: object, num_nodes: int) -> list[scipy.sparse.csr_array]:
    """The (N, N) matrices of a stack in compressed rows."""
    starts, columns, values = (tensor.cpu().numpy() for tensor in (row_start, column, value))  # type: ignore[attr-defined]
    matrices = []
    for first in range(0, len(starts) - 1, num_nodes):
        start_N = starts[first : first + num_nodes + 1]
        part = slice(start_N[0], start_N[-1])
        arrays = values[part].astype(np.float32), columns[part].astype(np.int64), start_N - start_N[0]
        matrices.append(scipy.sparse.csr_array(arrays, shape=(num_nodes, num_nodes)))
    return matrices


def gather_groups(matrix: scipy.sparse.csr_array) -> tuple[list[tuple[NDArray[np.int64], Floats]], NDArray[np.int64]]:
    """A sparse matrix as a few dense gathers: rows of at most 1, 2, 4, 8, ... entries each make a group.

    Returns:
        For each group columns (R, W) int64 and values (R, W), padded with zeros; and (N,) the place of each row among
        the groups' rows, one group after the other.
    """
    length_N = np.diff(matrix.indptr)
    width_N = 2 ** np.ceil(np.log2(np.maximum(length_N, 1))).astype(np.int64)
    groups, order = [], []
    for width in np.unique(width_N).tolist():
        rows = np.flatnonzero(width_N == width)
        width = int(length_N[rows].max(initial=1))  # no wider than its longest row
        place_RW = matrix.indptr[rows][:, None] + np.arange(width)
        there_RW = np.arange(width) < length_N[rows][:, None]
        place_RW = np.where(there_RW, place_RW, 0)
        if matrix.nnz:
            columns = np.where(there_RW, matrix.indices[place_RW], 0).astype(np.int64)
            values = np.where(there_RW, matrix.data[place_RW], 0).astype(np.float32)
        else:
            columns, values = np.zeros(place_RW.shape, np.int64), np.zeros(place_RW.shape, np.float32)
        groups.append((columns, values))
        order.append(rows)
    return groups, np.argsort(np.concatenate(order))
