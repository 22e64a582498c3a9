"""Series and graph together: without the sensors that are left out, the graph's nodes in the series' order.

Shape legend: R rows of a piece, N sensors, C channels.
"""

from collections.abc import Iterable

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.left_out import with_silent_ids, without_sensors
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.silent_sensors import SILENT
from dcrnn_fast.data.sources import match_series, read_source
from dcrnn_fast.data.window_format import window_format_of
from dcrnn_fast.graph import SensorGraph, read_graph


def read_matched(data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    """Series and graph, if there is one, in the series' order, both without the sensors of ``data.leave_out`` (ids, or
    the word for silent ones).

    Raises:
        UserError: as ``read_source``, ``read_graph``, ``match_series`` and ``without_sensors``.
    """
    series, own_graph = read_source(data, graph)
    return with_graph(series, own_graph, silent_by_id(data, series), graph)


def silent_by_id(data: DataConfig, series: SensorSeries, observed: Iterable[np.ndarray] | None = None) -> DataConfig:
    """``data`` whose ``leave_out`` names the sensors without an observed target by their ids; see ``with_silent_ids``.

    Raises:
        UserError: as ``window_format_of``.
    """
    if SILENT not in data.leave_out:
        return data
    return with_silent_ids(data, series, window_format_of(series, data).target_channels, observed)


def with_graph(
    series: SensorSeries, own_graph: SensorGraph | None, data: DataConfig, graph: GraphConfig
) -> tuple[SensorSeries, SensorGraph | None]:
    """``read_matched`` of a source that was read; no reading is looked at."""
    if graph.graph is not None:
        own_graph = read_graph(graph, ids=series.ids, leave_out=data.leave_out)
    if own_graph is None:
        return without_sensors(series, data.leave_out, data.data), None
    if graph.match == "position":  # the i-th node is the i-th column of the whole series
        series, own_graph = match_series(own_graph, series, graph.match)
    series = without_sensors(series, data.leave_out, data.data)
    left = set(data.leave_out)
    if left & set(own_graph.ids):
        own_graph = own_graph.take([node for node in own_graph.ids if node not in left])
    return match_series(own_graph, series, "id")
