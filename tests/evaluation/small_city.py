"""A small city with an untrained model: what the tests of evaluation, load and forecast share."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.data.city import synthetic_city
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.model.build import build_model
from dcrnn_fast.model.dcrnn import DCRNN

NODES, DAYS = 8, 8


@dataclass(frozen=True)
class SmallCity:
    config: Config
    data: ForecastData
    model: DCRNN
    checkpoint: Path


def make_small_city(folder: Path, prefix: str = "", **data_fields: object) -> SmallCity:
    """A checkpoint in ``folder`` whose forecasts are random but depend on every input; names carry ``prefix``."""
    settings = {"city_nodes": NODES, "city_days": DAYS, "past_steps": 6, "future_steps": 4} | data_fields
    config = Config(
        data=DataConfig(**settings),  # type: ignore[arg-type]
        model=ModelConfig(hidden_units=8, num_layers=2),
    )
    series, graph = synthetic_city(nodes=NODES, days=DAYS, seed=0)
    data = assemble_data(series, graph, config.data)
    training = replace(config.training, loss_unit="deviation")
    config = replace(config, data=data.config, training=training)  # as a run saves it
    torch.manual_seed(1)
    form = data.window_format
    model = build_model(config, graph, input_channels=form.input_channels, output_channels=form.output_channels)
    folder.mkdir(exist_ok=True)
    checkpoint = save_checkpoint(folder, state_of(config, data, model, prefix), "model.pt")
    return SmallCity(config, data, model.eval(), checkpoint)


def state_of(config: Config, data: ForecastData, model: DCRNN, prefix: str = "") -> dict[str, object]:
    """What a checkpoint of a converted model holds."""
    return {
        "format": 1,
        "version": "0.1.0",
        "config": to_dict(config),
        "model": {prefix + name: weight for name, weight in model.state_dict().items()},
        "graph": data.graph.to_state(),
        "window_format": data.window_format.to_state(),
        "scaler": data.scaler.to_state(),
        "training": None,
    }
