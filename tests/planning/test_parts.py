"""A plan for a graph that processes share is the plan of the part with the most work."""

import numpy as np

from dcrnn_fast.config.sections import Config
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.even_graph import even_graph
from dcrnn_fast.planning.parts import hardest_part
from dcrnn_fast.planning.shapes import Shapes


def test_the_hardest_part() -> None:
    graph, config = even_graph(200, 1500), Config()
    part = hardest_part(graph, config, 3, "contiguous")
    assert part.how == "contiguous"
    assert part.graph.num_nodes == part.account.nodes_G[part.number] < 100
    assert part.account.work[part.number] == part.account.work.max()
    # The rows that its own read in the operators, two hops away, are those that are sent to it.
    own = np.isin(graph.ids, part.graph.ids)
    read = sum(abs(operator) for operator in graph_operators(graph, config.graph)[1:])[own]
    there = np.unique(read.tocoo().col[~own[read.tocoo().col]])
    assert len(there) <= part.halo_rows
    shapes = Shapes.of(config, nodes=part.graph.num_nodes, edges=1, value_channels=1)
    once = part.halo_bytes(shapes, Choice(4, 1, "all"), 4, "manual")
    assert once > 4 * 4 * 64 * 24 * 2
    assert part.halo_bytes(shapes, Choice(2, 4, "all"), 4, "manual") == 2 * once
