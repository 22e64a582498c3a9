"""The dict that is a checkpoint: complete by construction, and weights in any wrapper's names."""

from typing import Any

import pytest
import torch
from torch import nn

from dcrnn_fast.checkpoints.state import REQUIRED, checked, make_state, missing_keys, unwrapped
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.errors import UserError


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


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."])
@pytest.mark.parametrize("inner", ["", "_orig_mod.", "module._orig_mod."])
def test_a_wrappers_name_is_taken_out_wherever_it_stands(prefix: str, inner: str) -> None:
    tensors = {f"{prefix}encoder.{inner}0.weight": torch.ones(1), f"{prefix}b": torch.zeros(2)}
    assert list(unwrapped(tensors)) == ["encoder.0.weight", "b"]


def test_names_that_would_become_the_same_stay() -> None:
    assert list(unwrapped({"module.w": torch.ones(1), "w": torch.ones(1)})) == ["module.w", "w"]
    assert list(unwrapped({"module": torch.ones(1)})) == ["module"]
    assert unwrapped({}) == {}


def test_a_checkpoint_of_a_wrapped_model_holds_the_models_own_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.DataParallel(nn.Linear(3, 1)))
    model[0] = torch.compile(model[0])
    wrapped = nn.DataParallel(torch.compile(model))
    assert "module._orig_mod.0._orig_mod.weight" in wrapped.state_dict()
    state = make_state(Config(), wrapped, Part("graph"), Part("windows"), Part("scaler"))
    assert list(state["model"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"format": 2, "version": "3.1"},
            r"has format 2, written by dcrnn_fast 3\.1; dcrnn_fast .*reads format 1: inst",
        ),
        ({"format": "new"}, r"has format 'new', written by dcrnn_fast 0; .* install the version that wrote it"),
        ({"format": 2, "version": 7}, r"has format 2; dcrnn_fast"),
        ({"format": True}, r"has format True, written"),
    ],
)
def test_an_unknown_format_is_refused_with_what_to_do(change: dict[str, Any], said: str) -> None:
    """Whatever else it holds, or lacks."""
    with pytest.raises(UserError, match=said):
        checked({"version": "0", **change})
