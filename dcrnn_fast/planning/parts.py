"""One process's part of a graph that several share: its nodes, and the rows of others' nodes that it exchanges.

Shape legend: N nodes, G parts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dcrnn_fast.config.sections import Config
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.graph.part_account import PartAccount
from dcrnn_fast.graph.partition import Partition, partition_graph
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.shapes import Shapes


@dataclass(frozen=True, slots=True)
class Part:
    """The part with the most work of a divided graph: the others wait for it.

    Attributes:
        graph: its nodes and the links among them. partition: of all nodes.
        account: of all parts. number: which part it is.
    """

    graph: SensorGraph
    partition: Partition
    account: PartAccount
    number: int

    @property
    def how(self) -> str:
        """metis or contiguous."""
        return self.partition.how

    @property
    def halo_rows(self) -> int:
        """Rows of other processes' nodes that it reads in a diffusion, there or back."""
        return int(max(self.account.halo_forward_G[self.number], self.account.halo_backward_G[self.number]))

    def halo_bytes(self, shapes: Shapes, choice: Choice, width: int, backend: str) -> int:
        """Bytes that a process sends to its partners in a step, at most."""
        sent_G = self.account.halo_bytes_per_step(
            batch=choice.windows,
            past_steps=shapes.past_steps,
            future_steps=shapes.future_steps,
            channels=shapes.input_channels,
            output_channels=shapes.output_channels,
            units=shapes.hidden_units,
            layers=shapes.num_layers,
            itemsize=width,
            save=choice.save,
            backend=backend,
            known_channels=shapes.known_channels,
        )
        return int(sent_G.max())


def hardest_part(graph: SensorGraph, config: Config, parts: int, how: Any) -> Part:
    """The part with the most work of ``graph``, divided as training divides it.

    Raises:
        UserError: more parts than nodes, or the named way cannot run here.
    """
    partition = partition_graph(graph.adjacency, parts, how)
    account = partition.account(graph_operators(graph, config.graph))
    number = int(np.argmax(account.work))
    own = [graph.ids[node] for node in np.flatnonzero(partition.part_N == number)]
    return Part(graph.take(own), partition, account, number)
