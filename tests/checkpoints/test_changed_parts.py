"""Any part of a checkpoint changed: it is refused in one line, or the answer is the same; forecast and resume."""

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dcrnn_fast
from dcrnn_fast.checkpoints.save import torch_bytes
from dcrnn_fast.errors import UserError
from tests.checkpoints.changed_parts import UNSAVABLE, Where, changed, changes, part_at, places
from tests.checkpoints.trained import Trained, forecast, resumed, train_one


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_one(tmp_path_factory.mktemp("trained"))


def message(action: Callable[[], object]) -> str | None:
    try:
        action()
    except UserError as error:
        return str(error)
    return None


def require_one_line(said: str | None) -> None:
    assert said is None or ("\n" not in said and len(said) < 1500), said


@settings(max_examples=60)
@given(st.data())
def test_any_change_is_refused_or_harmless(trained: Trained, data: st.DataObject) -> None:
    where: Where = data.draw(st.sampled_from(list(places(trained.state))))
    change = data.draw(st.sampled_from(changes(part_at(trained.state, where))))
    try:
        payload = torch_bytes(changed(trained.state, where, change))
    except UNSAVABLE:
        return
    trained.file.write_bytes(payload)

    def answered() -> None:
        values = forecast(trained)
        assert np.isfinite(values).all()
        if where[0] not in ("config", "ema", "graph", "scaler", "window_format"):
            assert np.array_equal(values, trained.forecast)

    require_one_line(message(answered))
    require_one_line(message(lambda: resumed(trained)))


NOT_READ = [
    (("format",), "tensor"), (("config",), "5"), (("config",), "{'a': 1}"), (("model",), "nothing"),
    (("model",), "names are numbers"), (("graph",), "x"), (("window_format",), "NaN"), (("scaler",), "5"),
    (("training",), "x"), (("training",), "{'a': 1}"), (("training",), "NaN"),
    (("model", "encoder.0.gate_weight"), "with NaN"), (("model", "encoder.0.gate_weight"), "with infinity"),
    (("model", "encoder.0.gate_weight"), "int64"), (("model", "encoder.0.gate_weight"), "boolean"),
    (("model", "encoder.0.gate_weight"), "complex"), (("model", "encoder.0.gate_weight"), "sparse"),
    (("model", "encoder.0.gate_weight"), "claims more"), (("model", "encoder.0.gate_weight"), "quantized"),
    (("config", "model", "hidden_units"), "10^30"), (("config", "model", "num_layers"), "10^18"),
    (("config", "graph", "hops"), "10^18"), (("window_format", "past_steps"), "10^18"),
    (("window_format", "past_steps"), "5"), (("window_format", "future_steps"), "-1"),
    (("window_format", "channels"), "[1]"), (("window_format", "channels", 0), "a path"),
    (("window_format", "target_channels", 0), "-1"), (("window_format", "target_channels", 0), "10^30"),
    (("window_format", "freq"), "long text"), (("window_format", "units"), "[]"),
    (("window_format", "units"), "[None]"),
    (("window_format", "units", 0), "surrogate"), (("window_format", "channels", 0), "surrogate"),
    (("version",), "surrogate"), (("window_format", "time_of_day"), "x"), (("window_format", "missing_input"), "x"),
    (("scaler", "mean", 0), "NaN"), (("scaler", "mean", 0), "1e308"), (("scaler", "std", 0), "-1"),
    (("scaler", "std", 0), "infinity"), (("scaler", "std", 0), "claims 10^12"),
    (("graph", "indptr"), "claims more"), (("graph", "positions_N2"), "x"), (("graph", "positions_N2"), "claims 10^12"),
    (("graph", "positions_N2"), "claims (10^6, 2)"), (("graph", "ids"), "[1]"), (("training", "part"), "5"),
    (("ema",), "nothing"), (("ema",), "names are numbers"), (("ema",), "one more"), (("ema",), "{}"),
    (("ema", "encoder.0.gate_weight"), "with NaN"), (("ema", "encoder.0.gate_weight"), "cut"),
    (("ema", "encoder.0.gate_weight"), "claims more"), (("ema", "encoder.0.gate_weight"), "int64"),
    (("ema", "encoder.0.gate_weight"), "left out"),
]  # fmt: skip
NOT_RESUMED = [
    (("ema",), "left out"),
    (("training", "step"), "-1"), (("training", "step"), "x"), (("training", "step"), "nothing"),
    (("training", "step"), "10^18"), (("training", "step"), "left out"), (("training", "step"), "2.5"),
    (("training", "epoch"), "x"), (("training", "history"), "[]"), (("training", "history", 0), "{'a': 1}"),
    (("training", "history", 0, "validation_mae"), "x"), (("training", "optimizer"), "{}"),
    (("training", "optimizer", "param_groups"), "[]"), (("training", "random"), "{}"),
    (("training", "random", "torch"), "tensor"), (("training", "random", "numpy", 2), "10^18"),
    (("training", "loss_scale"), "5"), (("training", "data"), "{}"), (("training", "data", "readings"), "x"),
    (("training", "environment", "device"), "surrogate"),
    (("training", "environment"), "{}"), (("training", "error_sum"), "x"), (("training", "error_sum"), "NaN"),
    (("training", "best"), "5"), (("training", "optimizer", "state", 0, "exp_avg"), "cut"),
    (("training", "optimizer", "state", 0, "exp_avg"), "with NaN"),
    (("training", "optimizer", "state", 0, "exp_avg_sq"), "negative"),
    (("training", "optimizer", "state", 0, "step"), "x"),
    (("training", "optimizer", "param_groups", 0, "amsgrad"), "nothing"),
    (("training", "optimizer", "param_groups", 0, "maximize"), "nothing"),
    (("training", "history", 0, "epoch"), "-1"), (("training", "history", 0, "step"), "10^18"),
    (("training", "history", 0, "validation_mae"), "10^30"), (("training", "history", 0, "train_seconds"), "-1"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "change"), NOT_READ)
def test_no_forecast_comes_of(trained: Trained, where: Where, change: str) -> None:
    trained.file.write_bytes(torch_bytes(changed(trained.state, where, change)))
    for read in (lambda: dcrnn_fast.load(trained.file), lambda: resumed(trained)):
        with pytest.raises(UserError, match=r"x\.pt"):
            read()


@pytest.mark.parametrize(
    ("where", "part"),
    [
        (("more",), torch.zeros(1).expand(10**12)),
        (("graph", "more"), [{"x": torch.zeros(1).expand(10**12)}]),
        (("training", "optimizer", "param_groups", 0, "fused"), torch.zeros(1).expand(10**12)),
        (("training", "optimizer", "state", 0, "more"), torch.zeros(1).expand(10**12)),
        (("training", "more"), functools.reduce(lambda inner, _: [inner], range(60), 0)),
        (("training", "more"), functools.reduce(lambda inner, _: [inner] * 10, range(9), 0)),
    ],
)
def test_parts_that_nobody_reads_are_not_copied_by_a_resumed_run(trained: Trained, where: Where, part: Any) -> None:
    state = copy.deepcopy(trained.state)
    part_at(state, where[:-1])[where[-1]] = part
    trained.file.write_bytes(torch_bytes(state))
    with pytest.raises(UserError, match=r"x\.pt cannot be resumed: holds"):
        resumed(trained)


def test_quantized_moments_are_refused_without_a_warning(trained: Trained) -> None:
    where = ("training", "optimizer", "state", 0, "exp_avg")
    trained.file.write_bytes(torch_bytes(changed(trained.state, where, "quantized")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="quantized"):
            resumed(trained)


@pytest.mark.parametrize(("where", "change"), NOT_RESUMED)
def test_no_run_goes_on_from(trained: Trained, where: Where, change: str) -> None:
    trained.file.write_bytes(torch_bytes(changed(trained.state, where, change)))
    with pytest.raises(UserError, match=r"x\.pt"):
        resumed(trained)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_under_a_wrappers_names_are_forecast_with_and_resumed(trained: Trained, prefix: str) -> None:
    weights = {f"{prefix}{name}": tensor for name, tensor in trained.state["model"].items()}
    trained.file.write_bytes(torch_bytes({**trained.state, "model": weights}))
    assert np.array_equal(forecast(trained), trained.forecast)
    resumed(trained)
    assert list(trained.run.model.state_dict()) == list(trained.state["model"])
