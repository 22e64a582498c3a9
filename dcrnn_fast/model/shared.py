"""One model computed by several processes, each a part of the graph's nodes."""

from dataclasses import dataclass

import numpy as np

from dcrnn_fast.config.training import GraphPartition
from dcrnn_fast.graph.partition import Partition, partition_graph
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.kernels.halo import Partners, partition_terms
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.graph_buffers import GraphBuffers
from dcrnn_fast.model.heap import give_back_freed_memory


@dataclass(frozen=True, slots=True)
class SharedGraph:
    """The graph as partners share it.

    Attributes:
        partition: the same for each of them; nodes: this one's, int64, ascending; partners: their exchange.
    """

    partition: Partition
    nodes: np.ndarray
    partners: Partners


def share_graph(model: DCRNN, graph: SensorGraph, how: GraphPartition, partners: Partners) -> SharedGraph:
    """Leaves ``model`` the nodes of its own part of the whole graph: from now on it is called with those alone, by all
    partners at once.

    Raises:
        UserError: as ``partition_graph``.
    """
    partition = partition_graph(graph.adjacency, partners.size, how)
    model.diffusion = GraphBuffers(partition_terms(model.diffusion.terms(), partition.part_N, partners))
    give_back_freed_memory()
    return SharedGraph(partition, np.flatnonzero(partition.part_N == partners.rank), partners)
