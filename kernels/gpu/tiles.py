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


def cluster(terms: Sequence[Tensor], num_nodes: int, num_terms: int) -> list[int]:
    """The nodes in tile order: consecutive runs of 16 whose terms read the same nodes as far as possible.

    Greedy: a tile begins at the node with fewest free neighbours among those that earlier tiles touch, and takes 15
    times the neighbour whose terms (of both directions) add fewest nodes to the tile's union, less 0.3 for each that
    is in it already. Neighbours are those of the first term; ties go to fewest free neighbours, then to the node seen
    first. ``terms`` are ``DiffusionTerms.tensors``, on the CPU.
    """
    reads: list[set[int]] = [set() for _ in range(num_nodes)]
    neighbours: list[set[int]] = [set() for _ in range(num_nodes)]
    for at in (0, 3):
        starts, columns = terms[at].tolist(), terms[at + 1].tolist()
        for row in range((num_terms - 1) * num_nodes):
            found = columns[starts[row] : starts[row + 1]]
            reads[row % num_nodes].update(found)
            if row < num_nodes:
                neighbours[row].update(found)
    free_neighbours = [len(found - {node}) for node, found in enumerate(neighbours)]
    untouched = iter(sorted(range(num_nodes), key=free_neighbours.__getitem__))
    free, order = [True] * num_nodes, list[int]()
    touched: dict[int, None] = {}
    while len(order) < num_nodes:
        union: set[int] = set()
        candidates: dict[int, None] = {}
        for place in range(min(SIDE, num_nodes - len(order))):
            if place and (candidates or touched):
                costs = {c: (_growth(reads[c], union), free_neighbours[c]) for c in candidates or touched}
                node = min(costs, key=costs.__getitem__)
            elif touched:
                node = min(touched, key=free_neighbours.__getitem__)
            else:
                node = next(node for node in untouched if free[node])
            order.append(node)
            free[node] = False
            union |= reads[node]
            candidates.pop(node, None)
            touched.pop(node, None)
            for other in sorted(neighbours[node]):
                free_neighbours[other] -= 1
                if free[other]:
                    candidates.setdefault(other)
                    touched.setdefault(other)
    return order


def _growth(reads: set[int], union: set[int]) -> float:
    new = len(reads - union)
    return new - 0.3 * (len(reads) - new)


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
    stacked = torch.repeat_interleave(torch.arange((num_terms - 1) * N), (row_start[1:] - row_start[:-1]).long())
    row, at = position[stacked % N], position[column.long()]
    # One number for each (tile, position that it reads), in order.
    keys = torch.unique((row // SIDE) * (tiles * SIDE) + at)
    count_T = torch.bincount(keys // (tiles * SIDE), minlength=tiles)
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

    tile = row // SIDE
    found = torch.searchsorted(keys, tile * (tiles * SIDE) + at) - first_T[tile]
    coefficient_TQSU = torch.zeros(tiles, num_terms - 1, SIDE, U, dtype=dtype)
    coefficient_TQSU[tile, stacked // N, row % SIDE, found] = value.to(dtype)
    beyond = (count_T - chunk).clamp_min(0)
    gathered = int((count_T.clamp_max(chunk) + (num_terms - 1) * beyond).sum())
    return TileGraph(index_TU, count_T.to(torch.int32), coefficient_TQSU, chunk, gathered)
