"""What a graph is made of, in lines for the user.

Shape legend: N nodes.
"""

import numpy as np
import scipy.sparse.csgraph

from dcrnn_fast.graph.messages import counted, first_few
from dcrnn_fast.graph.sensor_graph import SensorGraph


def account_lines(graph: SensorGraph) -> list[str]:
    """Links, isolated sensors, components, range of weights."""
    links, isolated_N = _between(graph)
    components = scipy.sparse.csgraph.connected_components(links, directed=False)[0]
    line = (
        f"graph: {counted(graph.num_nodes, 'sensor')}, {counted(int(links.nnz), 'link')}, "
        f"{int(isolated_N.sum())} isolated, {counted(int(components), 'component')}"
    )
    if links.nnz:
        line += f", weights {links.data.min():.4g} to {links.data.max():.4g}"
    return [line]


def look_lines(graph: SensorGraph) -> list[str]:
    """What a human would doubt."""
    links, isolated_N = _between(graph)
    if not links.nnz:
        return ["look: the graph links no two sensors: each is forecast from its own readings alone"]
    if not isolated_N.any():
        return []
    ids = [graph.ids[n] for n in np.flatnonzero(isolated_N)]
    return [f"look: {counted(len(ids), 'sensor')} of {graph.num_nodes} without any link: {first_few(ids)}"]


def _between(graph: SensorGraph) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """The links between different sensors, and (N,) bool: sensors without one."""
    entries = graph.adjacency.tocoo()
    apart = entries.row != entries.col
    row, column = entries.row[apart], entries.col[apart]
    links = scipy.sparse.csr_array((entries.data[apart], (row, column)), shape=entries.shape)
    linked_N = np.zeros(graph.num_nodes, dtype=bool)
    linked_N[row] = linked_N[column] = True
    return links, ~linked_N
