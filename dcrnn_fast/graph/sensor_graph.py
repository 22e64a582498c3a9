"""The sensor graph: which sensors are connected, how strongly, and under which ids.

Shape legend: N nodes, E edges. A weight at (row i, column j) is an edge from node i to node j.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse

from dcrnn_fast.config.data import Match
from dcrnn_fast.config.plain import require_choice, shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import GraphAccount, num_links
from dcrnn_fast.graph.csr import canonical_csr
from dcrnn_fast.graph.numbering import counting_hint, in_numeric_order, is_numbering
from dcrnn_fast.messages import first_few, one_line
from dcrnn_fast.reading.texts import unwritable


@dataclass(frozen=True, eq=False, slots=True)
class SensorGraph:
    """A weighted directed graph with a text id on every node.

    Attributes:
        adjacency: (N, N) float64 ``csr_array``, row = from, column = to, unitless; columns sorted within each row, no
            explicit zeros. Any dense or sparse matrix is copied into this form; duplicate entries of a sparse matrix
            are summed, as scipy does.
        ids: N different non-empty texts.
        positions_N2: float64 (latitude, longitude) in degrees, or None if they are not known.
        account: how it came out of its file, or None; no part of the digest or the state.

    Raises:
        UserError: the matrix is not square or has no node, a weight is NaN, infinite or negative (the edge is named),
            an id is empty or comes twice, the number of ids or positions is not N, a position is not on the globe.
    """

    adjacency: Any
    ids: tuple[str, ...]
    positions_N2: np.ndarray | None = None
    account: GraphAccount | None = None

    def __post_init__(self) -> None:
        adjacency = canonical_csr(require_square(self.adjacency))
        ids = tuple(self.ids)
        if len(ids) != adjacency.shape[0]:
            raise UserError(f"the graph has {adjacency.shape[0]} nodes but {len(ids)} ids")
        require_unique_ids(ids)
        _require_weights(adjacency, ids)
        object.__setattr__(self, "adjacency", adjacency)
        object.__setattr__(self, "ids", ids)
        if self.positions_N2 is not None:
            object.__setattr__(self, "positions_N2", checked_positions(self.positions_N2, ids))

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def num_edges(self) -> int:
        """E, the weights that are not zero, self loops included."""
        return int(self.adjacency.nnz)

    def digest(self) -> str:
        """SHA-256 (hex) over ids, structure and values; the same for the same graph on every machine."""
        sha = hashlib.sha256(b"dcrnn_fast sensor graph 1\n")
        sha.update(json.dumps(self.ids, ensure_ascii=True).encode("ascii"))
        sha.update(self.adjacency.indptr.astype("<i8").tobytes())
        sha.update(self.adjacency.indices.astype("<i8").tobytes())
        sha.update(self.adjacency.data.astype("<f8").tobytes())
        return sha.hexdigest()

    def with_self_loops(self) -> "SensorGraph":
        """This graph with an edge of weight 1 from every node that has none to itself."""
        bare = self.adjacency.diagonal() == 0
        if not bare.any():
            return self
        loops = scipy.sparse.diags_array(bare.astype(np.float64), format="csr")
        return SensorGraph(self.adjacency + loops, self.ids, self.positions_N2, self.account)

    def with_positions(self, positions_N2: np.ndarray) -> "SensorGraph":
        """This graph with (latitude, longitude) in degrees for each node."""
        return SensorGraph(self.adjacency, self.ids, positions_N2, self.account)

    def with_account(self, account: GraphAccount | None) -> "SensorGraph":
        """This graph with another account."""
        return SensorGraph(self.adjacency, self.ids, self.positions_N2, account)

    def take(self, ids: Sequence[str]) -> "SensorGraph":
        """The sub-graph of these nodes, in this order.

        Raises:
            UserError: an id is not in the graph (the first few are named) or comes twice.
        """
        index_of = {node: index for index, node in enumerate(self.ids)}
        if unknown := [node for node in ids if node not in index_of]:
            raise UserError(f"the graph has no node {first_few(unknown)}{spelling_hint(unknown, self.ids)}")
        index = np.array([index_of[node] for node in ids], dtype=np.int64)
        positions_N2 = None if self.positions_N2 is None else self.positions_N2[index]
        part = SensorGraph(self.adjacency[index][:, index], tuple(ids), positions_N2)
        if self.account is None:
            return part
        missing = self.account.unknown + num_links(self) - num_links(part)
        return part.with_account(replace(self.account, unknown=missing))

    def to_state(self) -> dict[str, Any]:
        """The state for a checkpoint or an ``.npz``: ids (list of text), indptr, indices (int64), data (float64), and
        positions_N2 only if they are known."""
        state: dict[str, Any] = {
            "ids": list(self.ids),
            "indptr": self.adjacency.indptr.astype(np.int64),
            "indices": self.adjacency.indices.astype(np.int64),
            "data": self.adjacency.data.copy(),
        }
        if self.positions_N2 is not None:
            state["positions_N2"] = self.positions_N2.copy()
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SensorGraph":
        """The graph of ``to_state``; arrays may be numpy arrays or CPU tensors.

        Raises:
            UserError: a part is missing or the parts do not fit together.
        """
        if missing := [key for key in ("ids", "indptr", "indices", "data") if key not in state]:
            raise UserError(f"the saved graph lacks {', '.join(missing)}; it holds {', '.join(map(str, state))}")
        ids = state["ids"]
        if isinstance(ids, np.ndarray):  # of an archive, where ids may be numbers
            ids = [str(node) for node in ids.ravel().tolist()]
        if not isinstance(ids, (list, tuple)) or not all(isinstance(node, str) for node in ids):
            raise UserError(f"the saved graph's ids must be texts, got {shown(ids)}")
        data, indices, indptr = (_saved_array(state, *wanted) for wanted in _SAVED)
        if len(indptr) != len(ids) + 1 or not len(data) == len(indices) == indptr[-1]:
            raise UserError(
                f"the saved graph is damaged: {len(ids)} ids, {len(indptr)} row pointers, {len(indices)} columns and "
                f"{len(data)} weights do not fit together"
            )
        try:
            adjacency = scipy.sparse.csr_array((data, indices, indptr), shape=(len(ids), len(ids)))
            adjacency.check_format(full_check=True)
        except (ValueError, TypeError, IndexError, OverflowError, RuntimeError) as error:
            raise UserError(f"the saved graph is damaged: {one_line(error)}") from error
        positions_N2 = None
        if state.get("positions_N2") is not None:
            positions_N2 = _saved_array(state, "positions_N2", np.float64, 2)
        return cls(adjacency, tuple(map(str, ids)), positions_N2)


_SAVED = (("data", np.float64, 1), ("indices", np.int64, 1), ("indptr", np.int64, 1))


def _saved_array(state: Mapping[str, Any], name: str, dtype: type, dimensions: int) -> np.ndarray:
    """An array of a saved graph, of real or whole numbers that ``dtype`` can hold."""
    try:
        # Lists of hand-made states are arrays too; a tensor may carry a gradient.
        array = np.asarray(getattr(state[name], "detach", lambda: state[name])())
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"the saved graph is damaged: {name} is no array: {one_line(error)}") from error
    if not np.can_cast(array.dtype, dtype, "same_kind") or array.dtype == bool or array.ndim != dimensions:
        raise UserError(
            f"the saved graph is damaged: {name} must be numbers in {dimensions} dimension(s), got {array.dtype} "
            f"{array.shape}"
        )
    return array.astype(dtype, copy=False)


def match_graph(graph: SensorGraph, series_ids: Sequence[str], how: Match) -> SensorGraph:
    """The graph with its nodes in the series' order and under the series' ids.

    ``id``: node and column belong together if their ids are equal; graph nodes without a column are left out.
    ``position``: the i-th node is the i-th column, under any names; only nodes whose ids are the numbers 0 to N-1 or
    1 to N go by their number.

    Raises:
        UserError: a column has no node (the first few are named), or by position the numbers differ.
    """
    require_choice("match", how, Match)
    require_unique_ids(series_ids)
    if how == "position":
        if len(series_ids) != graph.num_nodes:
            raise UserError(
                f"match by position needs as many graph nodes as series columns, got {graph.num_nodes} nodes and "
                f"{len(series_ids)} columns"
            )
        if graph.ids != tuple(series_ids) and (order := in_numeric_order(graph.ids)) is not None:
            graph = graph.take([graph.ids[index] for index in order])
        account = None if graph.account is None else replace(graph.account, matched_by="position")
        return SensorGraph(graph.adjacency, tuple(series_ids), graph.positions_N2, account)
    known = set(graph.ids)
    if unmatched := [column for column in series_ids if column not in known]:
        wanted = set(series_ids)
        spare = [node for node in graph.ids if node not in wanted]
        hint = spelling_hint(unmatched, graph.ids)
        if not hint and graph.num_nodes != len(series_ids):
            hint = counting_hint(series_ids, graph.ids)
        raise UserError(
            f"{len(unmatched)} of the {len(series_ids)} series ids are not in the graph: {first_few(unmatched)}; graph "
            f"ids without a series: {first_few(spare)}{hint}; correct the ids"
            f"{'' if hint else _position_hint(graph, series_ids)}"
        )
    return graph if tuple(series_ids) == graph.ids else graph.take(series_ids)


def require_unique_ids(ids: Sequence[str]) -> None:
    """Every id is a non-empty text and comes once, else UserError naming the first few that are not."""
    if wrong := [node for node in ids if not isinstance(node, str) or not node.strip()]:
        raise UserError(f"sensor ids must be non-empty text, got {first_few(map(repr, wrong))}")
    if (odd := unwritable(ids)) is not None:
        raise UserError(f"the sensor id {odd} is no text that can be written")
    if len(set(ids)) != len(ids):
        repeated = [node for node, count in Counter(ids).items() if count > 1]
        raise UserError(f"sensor ids must be different, these come more than once: {first_few(repeated)}")


def checked_positions(positions_N2: Any, ids: Sequence[str]) -> np.ndarray:
    """(N, 2) float64 latitude and longitude in degrees, each on the globe, else UserError naming the sensor."""
    try:
        given = np.asarray(positions_N2)
    except ValueError as error:
        raise UserError(f"positions must be numbers: {one_line(error)[:80]}") from error
    if given.shape != (len(ids), 2):
        raise UserError(f"positions must be (latitude, longitude) of {len(ids)} sensors, got shape {given.shape}")
    if given.dtype.kind not in "fiu":
        raise UserError(f"positions must be numbers, got {given.dtype}")
    checked = np.array(given, dtype=np.float64)
    latitude_N, longitude_N = checked.T
    off = ~((np.abs(latitude_N) <= 90) & (np.abs(longitude_N) <= 540))
    if off.any():
        worst = int(np.flatnonzero(off)[0])
        swapped = 90 < abs(latitude_N[worst]) <= 180 and abs(longitude_N[worst]) <= 90
        hint = "; are latitude and longitude swapped?" if swapped else ""
        raise UserError(
            f"sensor {ids[worst]!r} is not on the globe: latitude {latitude_N[worst]:g} (wanted -90 to 90), longitude "
            f"{longitude_N[worst]:g} (wanted -180 to 360, or on to 540), in degrees{hint}"
        )
    return checked


def require_square(matrix: Any) -> Any:
    """A dense or scipy sparse matrix of real numbers (N, N), as it is, else UserError."""
    if not scipy.sparse.issparse(matrix):
        matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise UserError(f"an adjacency matrix must be square (N, N), got shape {tuple(matrix.shape)}")
    if matrix.shape[0] == 0:
        raise UserError("an adjacency matrix must have at least one node, got none")
    if matrix.dtype.kind not in "fiub":
        raise UserError(f"an adjacency matrix must hold real numbers, got dtype {matrix.dtype}")
    return matrix


def _require_weights(adjacency: Any, ids: Sequence[str]) -> None:
    bad = ~(np.isfinite(adjacency.data) & (adjacency.data >= 0))
    if not bad.any():
        return
    edge = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(adjacency.indptr, edge, side="right")) - 1
    others = int(bad.sum()) - 1
    raise UserError(
        f"edge weights must be finite and not negative, got {adjacency.data[edge]:g} from {ids[row]!r} to "
        f"{ids[adjacency.indices[edge]]!r}" + (f" and {others} more such edges" if others else "")
    )


def _plain_spelling(node: str) -> str:
    text = node.strip().casefold()
    text = text.removesuffix(".0")
    return text.lstrip("0") or text


def _position_hint(graph: SensorGraph, series_ids: Sequence[str]) -> str:
    """When laying the graph on by position can be right: never for a list of ids, whose lines have no order."""
    if graph.num_nodes != len(series_ids):
        return " or leave these sensors out (--leave-out)"
    if is_numbering(graph.ids, graph.num_nodes):
        return ", or lay node number i on column i with --match position"
    if graph.account is not None and graph.account.kind.startswith("a list"):
        return ""
    return ", or match by position (--match position) if the i-th column is the i-th node"


def spelling_hint(unmatched: Sequence[str], known: Sequence[str]) -> str:
    """A hint if ids differ only by spaces, case, leading zeros or a trailing .0."""
    spelled = {_plain_spelling(node): node for node in known}
    for node in unmatched:
        if (other := spelled.get(_plain_spelling(node))) is not None:
            return f" (they are compared as text: {node!r} is not {other!r})"
    return ""
