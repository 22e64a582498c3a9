"""The dict that is a checkpoint: complete by construction, and weights in any wrapper's names."""

import pytest
import torch
from torch import nn

from dcrnn_fast.checkpoints.state import REQUIRED, make_state, missing_keys, unwrapped
from dcrnn_fast.config.sections import Config, ModelConfig


class Part:
    def __init__(self, name: str) -> None:
        self.name = name

    def to_state(self) -> dict[str, str]:
        return {"name": self.name}


def test_what_is_made_has_every_required_key_and_no_other() -> None:
    config = Config(model=ModelConfig(hidden_units=7))
    state = make_state(config, nn.Linear(2, 3), Part("graph"), Part("windows"), Part("scaler"))
    assert tuple(state) == REQUIRED
    assert missing_keys(state) == []
    assert state["config"]["model"]["hidden_units"] == 7
    assert sorted(state["model"]) == ["bias", "weight"]
    assert [state[key]["name"] for key in ("graph", "window_format", "scaler")] == ["graph", "windows", "scaler"]
    assert state["training"] is None
    del state["scaler"], state["format"]
    assert missing_keys(state) == ["format", "scaler"]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_wrappers_prefix_is_taken_off(prefix: str) -> None:
    tensors = {f"{prefix}encoder.module.w": torch.ones(1), f"{prefix}b": torch.zeros(2)}
    assert list(unwrapped(tensors)) == ["encoder.module.w", "b"]


def test_a_name_that_only_looks_wrapped_stays() -> None:
    assert list(unwrapped({"module.w": torch.ones(1), "b": torch.ones(1)})) == ["module.w", "b"]
    assert unwrapped({}) == {}
