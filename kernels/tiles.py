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


# Up to here a graph's nodes are put into tiles from many starts, by all that their terms read; beyond, once, by what
# the first term reads: a few seconds for 11,000 nodes.
_LARGEST_SEARCHED = 2048
_STARTS = 8


def cluster(row_start: Tensor, column: Tensor, num_nodes: int) -> list[int]:
    """The nodes in tile order: consecutive runs of 16 that read much the same nodes, forward and transposed.

    Greedy: a tile takes, 16 times, the node that adds least to the tile's union. The best of several starts and of
    three ways to measure "least" counts: from METR-LA's 207 nodes that makes 4.3 rows a node instead of 5.1.
    """
    terms = (row_start.shape[0] - 1) // max(num_nodes, 1)
    searched = num_nodes <= _LARGEST_SEARCHED
    reads = _reads(row_start.tolist(), column.tolist(), num_nodes, terms if searched else min(terms, 1))
    read_by: list[set[int]] = [set() for _ in range(num_nodes)]
    for node, others in enumerate(reads):
        for other in others:
            read_by[other].add(node)
    either = [one | other for one, other in zip(reads, read_by, strict=True)]
    if not searched:
        return _grow(either, 0, relative=True)
    ways = ((either, False), (either, True), (reads, True))
    starts = range(0, num_nodes, max(1, num_nodes // _STARTS))
    orders = [_grow(by, start, relative=relative) for by, relative in ways for start in starts]
    return min(orders, key=lambda order: _rows_read(order, reads) + _rows_read(order, read_by), default=[])


def _reads(starts: list[int], columns: list[int], num_nodes: int, terms: int) -> list[set[int]]:
    """What each node reads in the first ``terms`` terms, and the node itself."""
    return [
        {n}.union(*(columns[starts[m * num_nodes + n] : starts[m * num_nodes + n + 1]] for m in range(terms)))
        for n in range(num_nodes)
    ]


def _rows_read(order: Sequence[int], reads: Sequence[set[int]]) -> int:
    """The sizes of the tiles' unions, added up."""
    tiles = (order[first : first + SIDE] for first in range(0, len(order), SIDE))
    return sum(len(set().union(*(reads[node] for node in tile))) for tile in tiles)


def _grow(reads: Sequence[set[int]], start: int, *, relative: bool) -> list[int]:
    """One greedy clustering that begins at ``start``; ``relative``: new nodes count against all that a node reads.

    A tile begins beside earlier tiles, where fewest neighbours are free, so that no node is left alone between tiles.
    """
    num_nodes = len(reads)
    readers: list[list[int]] = [[] for _ in range(num_nodes)]
    for node, others in enumerate(reads):
        for other in others:
            readers[other].append(node)
    free = [True] * num_nodes
    rim = {start: None}
    order: list[int] = []
    next_untouched = 0
    while len(order) < num_nodes:
        union: set[int] = set()
        shared: dict[int, int] = {}
        for _ in range(min(SIDE, num_nodes - len(order))):
            if shared:
                node = max(
                    shared,
                    key=lambda n: (shared[n] / len(reads[n]) if relative else shared[n] - len(reads[n]), shared[n]),
                )
            elif rim:
                node = min(rim, key=lambda n: sum(free[other] for other in reads[n]))
            else:
                while not free[next_untouched]:
                    next_untouched += 1
                node = next_untouched
            order.append(node)
            free[node] = False
            shared.pop(node, None)
            rim.pop(node, None)
            for other in reads[node] - union:
                for reader in readers[other]:
                    if free[reader]:
                        shared[reader] = shared.get(reader, 0) + 1
                        rim[reader] = None
            union |= reads[node]
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
