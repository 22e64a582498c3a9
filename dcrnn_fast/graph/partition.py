"""A graph divided among ranks that train on it together: which node is in which part.

A step costs a rank its rows (products) and its operators' entries (diffusion), so that parts are of equal work, not of
equal node numbers; and it costs an exchange of the rows that a part reads of the others, its halo, so that few links
are cut.

Shape legend: N nodes, G parts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from dcrnn_fast.config.plain import require_choice
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.part_account import ENTRIES_PER_ROW, PartAccount, account_of_parts

How = Literal["metis", "contiguous"]
Way = Literal["auto", "metis", "contiguous"]

_SEED = 1
_METIS_RECURSIVE_UP_TO = 8
_METIS_IMBALANCE = 10
"""thousandths by which a part's work may exceed its share"""


@dataclass(frozen=True, eq=False, slots=True)
class Partition:
    """Which part each node is in.

    Attributes:
        part_N: int32, 0 to parts - 1; every part has at least one node.
        parts: G.
        how: what divided the graph.
    """

    part_N: np.ndarray
    parts: int
    how: How

    def account(self, operators: Sequence[Any]) -> PartAccount:
        """What each part holds and exchanges, for these M operators (N, N), scipy sparse, the first the identity."""
        return account_of_parts(self.part_N, self.parts, operators)

    def digest(self) -> str:
        """SHA-256 (hex) of the parts; the same for the same partition on every machine."""
        return hashlib.sha256(self.part_N.astype("<i4").tobytes()).hexdigest()


def partition_graph(adjacency: Any, parts: int, how: Way = "auto") -> Partition:
    """Divides a graph's nodes into parts of nearly equal work; the same parts for the same graph, always.

    Args:
        adjacency: (N, N) scipy sparse; directions and weights play no role.
        how: "metis" (pymetis), "contiguous" (stretches of equal work of the reverse Cuthill-McKee order), or "auto":
            metis if pymetis is installed.

    Raises:
        UserError: less than one part, more parts than nodes, or ``how`` is unknown or cannot run here.
    """
    require_choice("partition", how, Way)
    nodes = adjacency.shape[0]
    if parts < 1 or parts > nodes:
        raise UserError(f"cannot divide a graph of {nodes} nodes into {parts} parts: give 1 to {nodes} of them")
    here = find_spec("pymetis") is not None
    if how == "metis" and not here:
        raise UserError(
            "partition 'metis' needs pymetis, which is not installed: pip install 'dcrnn_fast[partition]', or use "
            "partition 'contiguous'"
        )
    chosen: How = "metis" if how == "metis" or (how == "auto" and here) else "contiguous"
    links = _links(adjacency)
    work_N = _work(links)
    if parts == 1:
        part_N = np.zeros(nodes, dtype=np.int32)
    elif chosen == "metis":
        part_N = _by_metis(links, work_N, parts)
    else:
        part_N = _contiguous(links, work_N, parts)
    return Partition(_none_empty(part_N, work_N, parts), parts, chosen)


def _links(adjacency: Any) -> Any:
    """Ones where two different nodes are linked in either direction, as canonical CSR."""
    listed = scipy.sparse.csr_array(adjacency, copy=True)
    listed.eliminate_zeros()
    listed = scipy.sparse.csr_array((np.ones(listed.nnz), listed.indices, listed.indptr), shape=listed.shape)
    both = scipy.sparse.coo_array(listed + listed.T)
    kept = both.row != both.col
    links = scipy.sparse.csr_array((np.ones(kept.sum()), (both.row[kept], both.col[kept])), shape=both.shape)
    links.sort_indices()
    return links


def _work(links: Any) -> np.ndarray:
    """(N,) int64: what a node costs, in entries: those of its row in two supports' operators up to two hops."""
    one_hop = np.diff(links.indptr)
    two_hops = np.diff((links @ links + links).indptr)
    return (ENTRIES_PER_ROW + 2 * (one_hop + two_hops)).astype(np.int64)


def _by_metis(links: Any, work_N: np.ndarray, parts: int) -> np.ndarray:
    import pymetis

    recursive = parts <= _METIS_RECURSIVE_UP_TO
    _, part = pymetis.part_graph(
        parts,
        adjacency=pymetis.CSRAdjacency(links.indptr.astype(np.int32), links.indices.astype(np.int32)),
        vweights=work_N.astype(np.int32),
        recursive=recursive,
        options=pymetis.Options(seed=_SEED, ufactor=_METIS_IMBALANCE),
    )
    return np.asarray(part, dtype=np.int32)


def _contiguous(links: Any, work_N: np.ndarray, parts: int) -> np.ndarray:
    """Node k of the order goes where the middle of its work lies."""
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(links, symmetric_mode=True)
    ends = np.cumsum(work_N[order])
    part_N = np.empty(len(order), dtype=np.int32)
    part_N[order] = ((2 * ends - work_N[order]) * parts // (2 * ends[-1])).astype(np.int32)
    return part_N


def _none_empty(part_N: np.ndarray, work_N: np.ndarray, parts: int) -> np.ndarray:
    """Gives each empty part the lightest node of the part with the most nodes."""
    nodes_G = np.bincount(part_N, minlength=parts)
    for empty in np.flatnonzero(nodes_G == 0):
        largest = int(nodes_G.argmax())
        members = np.flatnonzero(part_N == largest)
        part_N[members[work_N[members].argmin()]] = empty
        nodes_G[largest] -= 1
        nodes_G[empty] = 1
    return part_N
