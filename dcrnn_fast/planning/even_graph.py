"""A graph of given size, for plans of graphs that are not there: sensors on a square grid, linked to their nearest."""

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph


def even_graph(nodes: int, edges: int) -> SensorGraph:
    """``nodes`` sensors; about ``edges`` links, self loops included. As in a road network, a sensor's neighbours are
    mostly each other's neighbours too, which is what the entries of two hops depend on.

    Raises:
        UserError: there cannot be so many links.
    """
    if not nodes <= edges <= nodes * nodes:
        raise UserError(
            f"--edges must be from {nodes} (a link of each sensor to itself) to {nodes * nodes}, got {edges}"
        )
    side = int(np.ceil(nodes**0.5))
    row_N, column_N = np.divmod(np.arange(nodes), side)
    reach = int(np.ceil((edges / nodes) ** 0.5)) + 1
    offsets = sorted(
        ((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)),
        key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset),
    )
    from_, to, missing = [], [], edges
    for dy, dx in offsets:
        y_N, x_N = row_N + dy, column_N + dx
        target_N = y_N * side + x_N
        inside_N = (y_N >= 0) & (x_N >= 0) & (x_N < side) & (target_N < nodes)
        found = np.flatnonzero(inside_N)[:missing]
        from_.append(found)
        to.append(target_N[found])
        missing -= len(found)
        if not missing:
            break
    rows_E, columns_E = np.concatenate(from_), np.concatenate(to)
    weights = np.exp(-0.1 * np.abs(rows_E % side - columns_E % side).astype(np.float64))
    adjacency = scipy.sparse.coo_array((weights, (rows_E, columns_E)), shape=(nodes, nodes))
    return SensorGraph(adjacency.tocsr(), tuple(f"s{n}" for n in range(nodes)))
