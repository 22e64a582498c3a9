"""An account of every link that a graph file gives, and doubts about the graph.

Shape legend: N nodes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from dcrnn_fast.config.data import Match
from dcrnn_fast.messages import counted, first_few

if TYPE_CHECKING:
    from dcrnn_fast.graph.sensor_graph import SensorGraph


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphAccount:
    """How a graph came out of its file. It is no part of the graph's digest, and checkpoints do not keep it.

    Every pair given is a link used, a self loop, or counted below.

    Attributes:
        file: the file's name.
        kind: its contents in words: "a list of neighbours", "a matrix of weights" ...
        given: pairs that it lists, or entries of a matrix that are not 0, pairs of a sensor with itself included.
        unknown: pairs with a sensor that the series does not have.
        duplicates: pairs that were listed before, with the same value.
        no_path: pairs at an infinite distance, or with weight 0.
        below: links that the threshold removed.
        threshold, sigma: of the Gaussian kernel; None if the file holds weights.
        sigma_from: sigma's origin in words.
        matched_by: how nodes found their columns.
        doubts: lines about points that a human should look at.
    """

    file: str
    kind: str
    given: int
    unknown: int = 0
    duplicates: int = 0
    no_path: int = 0
    below: int = 0
    threshold: float | None = None
    sigma: float | None = None
    sigma_from: str = ""
    matched_by: Match = "id"
    doubts: tuple[str, ...] = ()


def isolated_sensors(graph: "SensorGraph") -> tuple[str, ...]:
    """The sensors without a link from or to another sensor."""
    links = _links(graph)
    alone_N = (np.diff(links.indptr) == 0) & (np.bincount(links.indices, minlength=graph.num_nodes) == 0)
    return tuple(graph.ids[n] for n in np.flatnonzero(alone_N))


def num_components(graph: "SensorGraph") -> int:
    """Parts that no link joins in either direction; an isolated sensor is one."""
    return int(_components(graph).max()) + 1


def account_lines(graph: "SensorGraph") -> list[str]:
    """The graph as it was understood, in two lines."""
    links = _links(graph)
    account = graph.account
    lines = []
    if account is not None:
        cut = "" if account.threshold is None else f"{account.below} below the threshold {account.threshold:g}, "
        rest = "".join(
            f", {count} {what}"
            for count, what in ((account.no_path, "without a path"), (_num_loops(graph), "of a sensor with itself"))
            if count
        )
        lines.append(
            f"graph: {account.file}, {account.kind}: {counted(account.given, 'pair')} given, "
            f"{counted(links.nnz, 'link')} used ({cut}{account.unknown} with unknown sensors, {account.duplicates} "
            f"duplicates{rest}), matched by {account.matched_by}"
        )
    isolated = isolated_sensors(graph)
    facts = [
        counted(graph.num_nodes, "sensor"),
        f"{counted(links.nnz, 'link')} ({_num_both_ways(links)} of them in both directions)",
        f"{len(isolated)} isolated" + (f" ({first_few(isolated)})" if isolated else ""),
        counted(num_components(graph), "component"),
    ]
    if links.nnz:
        facts.append(f"weights {links.data.min():.4g} to {links.data.max():.4g}")
    if loops := _num_loops(graph):
        facts.append(counted(loops, "self loop"))
    if account is not None and account.sigma is not None:
        facts.append(f"sigma {account.sigma:.6g} ({account.sigma_from})")
    lines.append("graph: " + ", ".join(facts))
    return lines


def look_lines(graph: "SensorGraph") -> list[str]:
    """Doubts about the graph, each a line that begins with "look: "."""
    doubts = list(graph.account.doubts) if graph.account is not None else []
    isolated = isolated_sensors(graph)
    if graph.num_nodes > 1 and len(isolated) == graph.num_nodes:
        doubts.append("no two sensors are linked: each is forecast from its own readings alone")
    elif isolated:
        doubts.append(
            f"{len(isolated)} of {graph.num_nodes} sensors have no link to another (isolated): {first_few(isolated)}"
        )
    joined = graph.num_nodes - len(isolated)
    if joined and (largest := int(np.bincount(_components(graph)).max())) * 2 < graph.num_nodes and largest < joined:
        doubts.append(
            f"the graph falls into {num_components(graph)} parts that no link joins, the largest of {largest} of its "
            f"{graph.num_nodes} sensors"
        )
    return [f"look: {doubt}" for doubt in doubts]


def _links(graph: "SensorGraph") -> "scipy.sparse.csr_array":
    """The adjacency without self loops."""
    adjacency = graph.adjacency
    loops = scipy.sparse.diags_array(adjacency.diagonal(), format="csr")
    links = scipy.sparse.csr_array(adjacency - loops)
    links.eliminate_zeros()
    return links


def num_links(graph: "SensorGraph") -> int:
    """Edges between two different sensors."""
    return graph.num_edges - _num_loops(graph)


def _num_loops(graph: "SensorGraph") -> int:
    return int(np.count_nonzero(graph.adjacency.diagonal()))


def _num_both_ways(links: "scipy.sparse.csr_array") -> int:
    listed = scipy.sparse.csr_array((np.ones(links.nnz), links.indices, links.indptr), shape=links.shape)
    return int(listed.multiply(listed.T).nnz)


def _components(graph: "SensorGraph") -> np.ndarray:
    """(N,) the number of each node's part, from 0."""
    import scipy.sparse.csgraph

    return np.asarray(scipy.sparse.csgraph.connected_components(graph.adjacency, directed=True, connection="weak")[1])
