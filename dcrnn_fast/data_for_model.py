"""Data of the kind that a model was trained on, opened to be evaluated: on its sensors and graph, with its scaler."""

from dataclasses import replace

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.far_readings import far_notes
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.sources import read_for_model
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, match_graph, read_graph
from dcrnn_fast.messages import first_few
from dcrnn_fast.model_inputs import ModelInputs
from dcrnn_fast.training_data import require_training_data

_SAME_WEIGHT = 1e-6


def open_for_model(
    inputs: ModelInputs, model_graph: SensorGraph, trained: Config, data: DataConfig | None, graph: GraphConfig | None
) -> ForecastData:
    """The data that the model was trained on, or other data of the same kind.

    Args:
        trained: the training run's configuration.
        data: None: that of the training.
        graph: given only to check that its graph file holds the model's graph.
    Raises:
        UserError: sensors, graph, channels, units or interval are not the model's; errors of the readers.
    """
    config = replace(trained.data if data is None else data, max_test_windows=None)  # ``evaluate`` limits them
    if data is None:
        require_training_data(config)
    series, own_graph = read_for_model(config, trained.graph, inputs.ids)
    left = set(config.leave_out) - set(inputs.ids)
    if graph is not None:
        own_graph = read_graph(graph, ids=series.ids, leave_out=left)
    elif trained.graph.graph is not None:
        own_graph = None  # the model was trained with another graph than the one that the data brings along
    match = (graph or trained.graph).match
    if own_graph is not None:
        kept = [sensor for sensor in series.ids if sensor not in left]
        matched = match_graph(own_graph, series.ids if match == "position" else kept, match).take(kept)
        _require_same_graph(model_graph, matched, config.data)
    series = inputs.fitting(series, config.data, spare_sensors=False, leave_out=config.leave_out)
    if data is not None:
        series = series.with_notes((*series.notes, *far_notes(series, inputs.scaler)))
    return assemble_data(series, model_graph, config, scaler=inputs.scaler, all_digits=inputs.all_digits)


def _require_same_graph(model: SensorGraph, graph: SensorGraph, where: str) -> None:
    if set(graph.ids) != set(model.ids):
        different = sorted(set(graph.ids) ^ set(model.ids))
        raise UserError(f"{where} is of another graph than the model: {first_few(different)} are not in both")
    difference = abs(graph.take(model.ids).adjacency - model.adjacency).tocoo()
    if difference.nnz and difference.max() > _SAME_WEIGHT:
        worst = int(difference.data.argmax())
        edge = f"{model.ids[difference.row[worst]]!r} to {model.ids[difference.col[worst]]!r}"
        raise UserError(
            f"{where} is of another graph than the model: same sensors, but the weight from {edge} differs by "
            f"{difference.data[worst]:.3g}"
        )
