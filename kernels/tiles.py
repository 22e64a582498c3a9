"""Nodes in tiles: 16 neighbouring nodes share one list of all that their diffusion terms read.

A GPU program that owns such a tile loads every row of the list once and makes all terms from it: on road networks a
twentieth of the rows that the same terms read one entry at a time. Nodes are reordered so that a tile is consecutive;
the order depends on the graph alone.

Shape legend: N nodes, M diffusion terms, T tiles, Q = M-1 stored terms, S = 16 nodes of a tile, U slots of a union.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 16


class TileGraph(NamedTuple):
    """All terms of one direction by tiles: y_m[16 t + s] = sum over j of coefficient[t, m-1, s, j] x[index[t, j]].

    Attributes:
        index_TU: int32, node positions in tile order; slots from ``count_T`` on are not to be read.
        count_T: int32, how many slots of each tile are real.
        coefficient_TQSU: in the dtype that is computed with; zero in the slots that are not real.
        chunk: slots that a kernel loads at a time, a power of two that divides U.
        gathered_rows: rows that one diffusion loads, summed over tiles (slots beyond the first chunk once a term).
    """

    index_TU: Tensor
    count_T: Tensor
    coefficient_TQSU: Tensor
    chunk: int
    gathered_rows: int


def cluster(row_start: Tensor, column: Tensor, num_nodes: int) -> list[int]:
    """The nodes in tile order: consecutive runs of 16 that are near each other in the graph of the first term.

    Greedy: a tile begins at the first free node that earlier tiles touch, and takes the free node with most edges into
    it, 15 times; ties go to the node seen first. Edges count in both directions.
    """
    starts, columns = row_start[: num_nodes + 1].tolist(), column.tolist()
    neighbours: list[set[int]] = [set() for _ in range(num_nodes)]
    for node in range(num_nodes):
        for other in columns[starts[node] : starts[node + 1]]:
            if other != node:
                neighbours[node].add(other)
                neighbours[other].add(node)
    free = [True] * num_nodes
    order: list[int] = []
    touched: dict[int, None] = {}
    next_untouched = 0
    while len(order) < num_nodes:
        edges: dict[int, int] = {}
        for _ in range(min(SIDE, num_nodes - len(order))):
            if edges:
                node = max(edges, key=edges.__getitem__)
            else:
                while touched and not free[next(iter(touched))]:
                    del touched[next(iter(touched))]
                while not free[next_untouched]:
                    next_untouched += 1
                node = next(iter(touched)) if touched else next_untouched
            order.append(node)
            free[node] = False
            edges.pop(node, None)
            touched.pop(node, None)
            for other in sorted(neighbours[node]):
                if free[other]:
                    edges[other] = edges.get(other, 0) + 1
                    touched.setdefault(other)
        # Whatever one tile leaves at its rim is where the next ones begin.
    return order


def union_counts(
    row_start: Tensor, column: Tensor, position: Tensor, num_nodes: int, num_terms: int
) -> tuple[Tensor, Tensor]:
    """((tile, column position) pairs as sorted keys tile*N' + position, how many each tile has); N' = 16 T."""
    tiles = -(-num_nodes // SIDE)
    row, at = _entries(row_start, column, position, num_nodes, num_terms)
    keys = torch.unique((row // SIDE) * (tiles * SIDE) + at)
    return keys, torch.bincount(keys // (tiles * SIDE), minlength=tiles)


def _entries(
    row_start: Tensor, column: Tensor, position: Tensor, num_nodes: int, num_terms: int
) -> tuple[Tensor, Tensor]:
    """(row position, column position) of every stored entry; int64."""
    lengths = (row_start[1:] - row_start[:-1]).long()
    stacked = torch.repeat_interleave(torch.arange((num_terms - 1) * num_nodes), lengths)
    return position[stacked % num_nodes], position[column.long()]


def build(
    row_start: Tensor,
    column: Tensor,
    value: Tensor,
    order: Sequence[int],
    num_terms: int,
    dtype: torch.dtype,
    largest_chunk: int,
) -> TileGraph:
    """The stacked terms (CSR, on the CPU) by tiles of ``order``, with coefficients in ``dtype``."""
    N, tiles = len(order), -(-len(order) // SIDE)
    position = torch.empty(N, dtype=torch.int64)
    position[torch.tensor(order, dtype=torch.int64)] = torch.arange(N)
    keys, count_T = union_counts(row_start, column, position, N, num_terms)
    largest = int(count_T.max())
    chunk = SIDE
    while chunk < min(largest, largest_chunk):
        chunk *= 2
    U = max(1, -(-largest // chunk)) * chunk
    first_T = torch.cumsum(count_T, 0) - count_T
    tile_of_key = keys // (tiles * SIDE)
    slot = torch.arange(keys.shape[0]) - first_T[tile_of_key]
    index_TU = torch.zeros(tiles, U, dtype=torch.int32)
    index_TU[tile_of_key, slot] = (keys % (tiles * SIDE)).to(torch.int32)

    row, at = _entries(row_start, column, position, N, num_terms)
    tile = row // SIDE
    found = torch.searchsorted(keys, tile * (tiles * SIDE) + at) - first_T[tile]
    lengths = (row_start[1:] - row_start[:-1]).long()
    term = torch.repeat_interleave(torch.arange((num_terms - 1) * N), lengths) // N
    coefficient_TQSU = torch.zeros(tiles, num_terms - 1, SIDE, U, dtype=dtype)
    coefficient_TQSU[tile, term, row % SIDE, found] = value.to(dtype)
    beyond = (count_T - chunk).clamp_min(0)
    gathered = int((count_T.clamp_max(chunk) + (num_terms - 1) * beyond).sum())
    return TileGraph(index_TU, count_T.to(torch.int32), coefficient_TQSU, chunk, gathered)
