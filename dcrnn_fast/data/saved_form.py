"""What a checkpoint says of its data: graph, windows and scaler, read together and checked against each other."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dcrnn_fast.config.plain import from_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph


class SavedForm(NamedTuple):
    """The parts of a checkpoint, but for its weights and the state that a training goes on from."""

    config: Config
    graph: SensorGraph
    window_format: WindowFormat
    scaler: Scaler
    training_part: TrainingPart | None
    """None: a converted model, or a checkpoint of an early version"""


def saved_form(state: Mapping[str, Any], where: str) -> SavedForm:
    """The parts of a checkpoint's ``state``.

    Args:
        where: its file, for messages.
    Raises:
        UserError: a part is not what its ``to_state`` writes, or they do not fit together.
    """
    try:
        config = from_dict(Config, state["config"])
        graph = SensorGraph.from_state(state["graph"])
        window_format = WindowFormat.from_state(state["window_format"])
        window_format.require_config(config.data)
        scaler = Scaler.from_state(state["scaler"])
        scaler.require_shape(len(window_format.channels), graph.num_nodes)
        saved_part = (state["training"] or {}).get("part")
        part = None if saved_part is None else TrainingPart.from_state(saved_part, window_format.output_channels)
    except UserError as error:
        raise UserError(f"checkpoint {where}: {error}") from error
    return SavedForm(config, graph, window_format, scaler, part)
