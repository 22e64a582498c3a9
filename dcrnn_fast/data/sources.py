"""From a name, a file or a folder to a series, and to the graph that it brings along, if any."""

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.city import synthetic_city
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph


def read_source(data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    if data.data == "city":
        return synthetic_city(nodes=data.city_nodes, days=data.city_days, seed=data.city_seed)
    raise UserError(f"unknown data {data.data!r}")


def read_series(data: DataConfig) -> SensorSeries:
    return read_source(data, GraphConfig())[0]
