"""From files of adjacencies, distances, positions and grids to the M fixed operators of a diffusion convolution."""

from dcrnn_fast.graph.grid import from_grid, grid_ids, read_grid, read_land_mask
from dcrnn_fast.graph.lists import from_distances, from_edges, read_distances, read_edges
from dcrnn_fast.graph.matrices import from_matrix, read_matrix
from dcrnn_fast.graph.operators import diffusion_operators, graph_operators
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.graph.positions import from_positions, haversine_km, read_positions
from dcrnn_fast.graph.read import read_graph
from dcrnn_fast.graph.sensor_graph import SensorGraph, match_graph
from dcrnn_fast.graph.supports import build_supports

__all__ = [
    "SensorGraph",
    "build_supports",
    "diffusion_operators",
    "from_distances",
    "from_edges",
    "from_grid",
    "from_matrix",
    "from_positions",
    "graph_operators",
    "grid_ids",
    "haversine_km",
    "match_graph",
    "read_distances",
    "read_edges",
    "read_graph",
    "read_grid",
    "read_land_mask",
    "read_matrix",
    "read_pickle",
    "read_positions",
]
