"""One door to every graph file: from the configuration to a SensorGraph."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.formats import Sensors, find_format, format_named
from dcrnn_fast.graph.positions import read_positions
from dcrnn_fast.graph.sensor_graph import SensorGraph


@np.errstate(over="ignore", invalid="ignore")  # a number that is too large is refused, or as good as infinite
def read_graph(
    config: GraphConfig, *, ids: Sequence[str] | None = None, leave_out: Collection[str] = ()
) -> SensorGraph:
    """The graph of ``config.graph``, with self loops as configured.

    ``ids`` are the series' ids, if they are known. A matrix without ids takes them. With ``match="id"`` the lists
    and positions are read for these sensors, in this order, and every other sensor of the file is left out before
    sigma and neighbours are determined, as the published graphs were made; without them the nodes are the file's own.
    With ``match="position"`` a list must call its sensors by number. ``leave_out`` are ids of the series that lists and
    positions are read without. ``match_graph`` brings the result into the series' order.

    ``graph_format="auto"`` goes by the ending (.pkl, .npy, .npz, .nc) and, for text, by the header's names; a list
    without a header could hold distances, weights or positions, and a matrix with a diagonal of 0 and large values off
    it weights or distances: ``graph_format`` must name the format.

    Raises:
        UserError: no graph file named, or an error of its reader.
    """
    if config.graph is None:
        raise UserError("no graph file given: name one with --graph")
    path = Path(config.graph)
    found = find_format(path) if config.graph_format == "auto" else format_named(config.graph_format)
    wanted = ids
    if ids is not None and config.match == "id":
        wanted = [sensor for sensor in ids if sensor not in leave_out]
    graph = found.read(path, config, Sensors(ids, wanted))
    if config.sensor_positions is not None:
        graph = graph.with_positions(read_positions(config.sensor_positions, ids=graph.ids)[1])
    return graph.with_self_loops() if config.self_loops == "add" else graph
