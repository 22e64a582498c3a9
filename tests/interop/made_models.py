"""Checkpoints of untrained models whose forecasts depend on every input, on any graph."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.model.build import build_model


def ring(nodes: int) -> SensorGraph:
    """Each node is linked to the next two, with weights that differ."""
    row = np.repeat(np.arange(nodes), 2)
    column = (row + np.tile([1, 2], nodes)) % nodes
    weights = np.random.default_rng(0).uniform(0.2, 1, len(row))
    return SensorGraph(
        scipy.sparse.csr_array((weights, (row, column)), shape=(nodes, nodes)), tuple(f"n{i}" for i in range(nodes))
    )


def save_model(
    folder: Path,
    graph: SensorGraph,
    *,
    hops: int = 2,
    hidden_units: int = 8,
    num_layers: int = 2,
    at_least: float | None = None,
    missing_value: tuple[float, ...] = (),
    **window: Any,
) -> Path:
    """A checkpoint; ``window`` are fields of its ``WindowFormat`` that differ from six steps of one channel."""
    fields: dict[str, Any] = {
        "past_steps": 6, "future_steps": 4, "channels": ("speed",), "target_channels": (0,), "units": ("mph",),
        "time_of_day": True, "day_of_week": False, "missing": "zero", "missing_input": "last", "freq": "5min",
    } | window  # fmt: skip
    form = WindowFormat(**fields)
    config = Config(
        graph=GraphConfig(hops=hops),
        data=DataConfig(
            past_steps=form.past_steps,
            future_steps=form.future_steps,
            time_of_day=form.time_of_day,
            day_of_week=form.day_of_week,
            missing_value=missing_value,
            known_ahead=(*form.known_names, *(("calendar",) if form.calendar_ahead else ())),
        ),
        model=ModelConfig(hidden_units=hidden_units, num_layers=num_layers, at_least=at_least),
    )
    torch.manual_seed(1)
    model = build_model(
        config,
        graph,
        input_channels=form.input_channels,
        output_channels=form.output_channels,
        known_channels=form.num_known,
    )
    channels = len(form.channels)
    state = {
        "format": 1,
        "version": "0.1.0",
        "config": to_dict(config),
        "model": model.state_dict(),
        "graph": graph.to_state(),
        "window_format": form.to_state(),
        "scaler": {
            "mean": [54.4 - 10 * c for c in range(channels)],
            "std": [19.5 + c for c in range(channels)],
        },
        "training": None,
    }
    folder.mkdir(exist_ok=True)
    return save_checkpoint(folder, state, "model.pt")
