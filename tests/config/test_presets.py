"""The configurations that the package brings along: each is a function, in the help, and one training anywhere."""

import re

import pytest

from dcrnn_fast import presets
from dcrnn_fast.config.page import _meanings, page
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config, parse_yaml, to_yaml
from dcrnn_fast.config.yaml_file import presets as names
from dcrnn_fast.train import TrainFlags
from dcrnn_fast.training.resolved import resolved

PROCESSES = {
    "single-gpu": (1,),
    "multi-gpu": (1, 2, 4, 8),
    "multi-node": (1, 2, 4, 8, 16),
    "cpu-nodes": (1, 2, 4, 8, 16),
}


def test_every_preset_loads_is_a_function_and_stands_in_the_help() -> None:
    assert names() == sorted(["city", "debug", *PROCESSES])
    listed = re.split(r"[(), ]+", _meanings(TrainFlags)["config"])
    for name in names():
        config = load_config(name)
        assert config.data.data == "city"
        assert config != Config()
        assert parse_yaml(to_yaml(config), source="again") == config
        assert getattr(presets, name.replace("-", "_"))() == config
        assert name in listed
        assert f"`{name}`" in page().partition("##")[0]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_preset_is_one_training_on_as_many_processes_as_it_says(name: str) -> None:
    for processes in PROCESSES[name]:
        training = resolved(load_config(name), processes).training
        assert training.batch_size * processes * training.accumulate == training.global_batch_size
