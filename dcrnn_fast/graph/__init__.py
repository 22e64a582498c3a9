"""From files of adjacencies, distances, positions and grids to the M fixed operators of a diffusion convolution."""

from dcrnn_fast.graph.operators import diffusion_operators, graph_operators
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.graph.sensor_graph import SensorGraph, match_graph
from dcrnn_fast.graph.supports import build_supports

__all__ = [
    "SensorGraph",
    "build_supports",
    "diffusion_operators",
    "graph_operators",
    "match_graph",
    "read_pickle",
]
