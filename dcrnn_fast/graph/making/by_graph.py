"""A graph that a file holds already, in any form that ``--graph`` reads, as a list of weights."""

from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import account_lines, look_lines
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import Stations
from dcrnn_fast.graph.read import read_graph
from dcrnn_fast.messages import first_few


def by_graph(config: GraphConfig, stations: Stations | None) -> MadeList:
    """The links of a matrix, list, pickle, grid, GAL or GWT file with their weights; a node without any is named.

    Args:
        stations: their positions, if the file has none.
    Raises:
        UserError: errors of ``read_graph``; a node has no position.
    """
    graph = read_graph(config)
    if stations is not None:
        stations = stations.placed()
        place = {name: i for i, name in enumerate(stations.ids)}
        if absent := [name for name in graph.ids if name not in place]:
            raise UserError(f"--stations has no position of {first_few(absent)}, which the graph names")
        assert stations.positions_N2 is not None
        graph = graph.with_positions(stations.positions_N2[[place[name] for name in graph.ids]])
    links = graph.adjacency.tocoo()
    linked_N = np.zeros(graph.num_nodes, dtype=bool)
    linked_N[links.row] = linked_N[links.col] = True
    alone = np.flatnonzero(~linked_N)
    return MadeList(
        ids=graph.ids,
        rows_E=np.concatenate([links.row, alone]).astype(np.int64),
        columns_E=np.concatenate([links.col, alone]).astype(np.int64),
        values_E=np.concatenate([links.data, np.zeros(len(alone))]),
        holds="weights",
        source=Path(str(config.graph)).name,
        positions_N2=graph.positions_N2,
        notes=(*look_lines(graph), *account_lines(graph)[:1]),
    )
