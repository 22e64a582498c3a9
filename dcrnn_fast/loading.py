"""``dcrnn_fast.load``: from a checkpoint to a model with everything it needs to forecast and to be evaluated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.checkpoints.find import find_checkpoint
from dcrnn_fast.checkpoints.state import INTERVALS, average_notes, forecast_weights
from dcrnn_fast.command import command_line
from dcrnn_fast.config.plain import shown
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import Backend, Precision
from dcrnn_fast.data.saved_form import saved_form
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.device import choose_device
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.intervals import Intervals, lacking_notes
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.model.build import build_model, precision_notes
from dcrnn_fast.model.dcrnn import DCRNN


def load(
    path: str | Path,
    *,
    device: str = "auto",
    backend: Backend | None = None,
    precision: Precision | None = None,
    at_least: float | None = None,
    future_steps: int | None = None,
) -> Forecaster:
    """A forecaster from a checkpoint, or from a folder (its best checkpoint, as ``find_checkpoint`` says).

    Needs nothing but the checkpoint: graph, ids, scaler and configuration are in it.

    Args:
        device: auto: the GPU where there is one, else the CPU.
        backend, precision, at_least: left out: as in training.
        future_steps: F, if it is to be another than in training: the decoder goes on reading its own forecasts.
    Raises:
        UserError: no checkpoint there, damaged and no other good one beside it, or of another shape than it says; no
            such device.
    """
    if future_steps is not None:
        future_steps = _whole_number(future_steps, "future_steps")
    if at_least is not None:
        at_least = _number(at_least, "at_least")
    found = find_checkpoint(path)
    state = found.state
    config, graph, window_format, scaler, training_part = saved_form(state, str(found.path))
    if backend is not None:
        config = replace(config, model=replace(config.model, backend=backend))
    if precision is not None:
        config = replace(config, training=replace(config.training, precision=precision))
    if at_least is not None:
        config = replace(config, model=replace(config.model, at_least=at_least))
    trained_steps, intervals = None, _intervals(state.get(INTERVALS), window_format, graph, found.path)
    if future_steps not in (None, window_format.future_steps):
        trained_steps = window_format.future_steps
        config = replace(config, data=replace(config.data, future_steps=future_steps))
        intervals = None if intervals is None else intervals.of_steps(future_steps)
        window_format = replace(window_format, future_steps=future_steps)
    model = _model(config, graph, window_format, forecast_weights(state), found.path)
    training = state["training"] or {}
    about: dict[str, str | int] = {"checkpoint": str(found.path), "version": str(state["version"])}
    about |= {name: int(training[name]) for name in ("epoch", "step") if name in training}
    return Forecaster(
        model=model.to(choose_device(device)).eval(),
        config=config,
        graph=graph,
        window_format=window_format,
        scaler=scaler,
        precision=config.training.precision,
        about=about | {"backend": config.model.backend},
        notes=(*found.notes, *average_notes(state), *precision_notes(config), *lacking_notes(intervals, graph.ids)),
        data_digests=training.get("data"),
        training_part=training_part,
        trained_steps=trained_steps,
        intervals=intervals,
    )


def _whole_number(value: object, name: str) -> int:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise UserError(f"{name} must be a whole number, got {shown(value)}")


def _number(value: object, name: str) -> float:
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    raise UserError(f"{name} must be a number, got {shown(value)}")


def _intervals(state: Any, form: WindowFormat, graph: SensorGraph, path: Path) -> Intervals | None:
    if state is None:
        return None
    try:
        return Intervals.from_state(state, (form.future_steps, graph.num_nodes, form.output_channels))
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from error


def _model(
    config: Config, graph: SensorGraph, window_format: WindowFormat, weights: dict[str, Any], path: Path
) -> DCRNN:
    try:
        return build_model(
            config,
            graph,
            input_channels=window_format.input_channels,
            output_channels=window_format.output_channels,
            known_channels=window_format.num_known,
            weights=weights,
        )
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from error


def without_intervals(forecaster: Forecaster) -> str:
    """A line that says how a model without prediction intervals gets them."""
    how = command_line("evaluate", forecaster.about["checkpoint"], "--calibrate")
    return f"the checkpoint has no prediction intervals; from its validation windows: {how}"
