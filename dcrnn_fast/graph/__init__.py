"""From files of adjacencies, distances, positions and grids to the M fixed operators of a diffusion convolution."""

from dcrnn_fast.graph.account import GraphAccount, account_lines, look_lines
from dcrnn_fast.graph.distance_matrices import from_distance_matrix
from dcrnn_fast.graph.grid import cell_ids, from_curved_grid, from_grid, grid_ids, read_grid, read_land_mask
from dcrnn_fast.graph.lists import from_distances, from_edges, read_distances, read_edges
from dcrnn_fast.graph.matrices import from_matrix, read_matrix
from dcrnn_fast.graph.operators import diffusion_operators, graph_operators
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.graph.positions import from_positions, haversine_km, read_positions
from dcrnn_fast.graph.read import read_graph
from dcrnn_fast.graph.sensor_graph import SensorGraph, match_graph
from dcrnn_fast.graph.supports import build_supports

__all__ = [
    "GraphAccount", "SensorGraph", "account_lines", "build_supports", "cell_ids", "diffusion_operators",
    "from_curved_grid", "from_distance_matrix", "from_distances", "from_edges", "from_grid", "from_matrix",
    "from_positions", "graph_operators", "grid_ids", "haversine_km", "look_lines", "match_graph", "read_distances",
    "read_edges", "read_graph", "read_grid", "read_land_mask", "read_matrix", "read_pickle", "read_positions",
]  # fmt: skip
