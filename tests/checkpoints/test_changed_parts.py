"""Any part of a checkpoint changed: it is refused in one line, or the answer is the same; forecast and resume."""

import copy
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dcrnn_fast
from dcrnn_fast.checkpoints.files import load_checkpoint, torch_bytes
from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training import resume
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.run import Run, make_run
from tests.checkpoints.changed_parts import Where, changed, changes, part_at, places
from tests.training.rank_programs import debug_config


class Trained(NamedTuple):
    run: Run
    state: dict[str, Any]
    file: Path
    """where changed checkpoints are put, one after the other"""
    forecast: np.ndarray


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    results = tmp_path_factory.mktemp("results")
    few = ("--max-train-windows", "16", "--max-validation-windows", "8", "--city-nodes", "6", "--epochs", "1")
    config = debug_config("--results", str(results), *few)
    fit(config)
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    path = results / "checkpoints" / "latest.pt"
    forecast = dcrnn_fast.load(path).forecast(run.data.series).values_FNO
    return Trained(run, load_checkpoint(path), tmp_path_factory.mktemp("changed") / "x.pt", forecast)


def resumed(trained: Trained) -> str:
    """What ``train --resume`` does with a checkpoint."""
    run, state = trained.run, load_checkpoint(trained.file)
    resume.require_resumable(state, "x.pt")
    config = resume.saved_choices(run.config, state)
    resume.in_saved_order(run.data, config.data, state)
    resume.require_fitting(run, state, "x.pt")
    resume.differences(run, state)
    resume.restore(run, state)
    return "resumed"


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
    except (RuntimeError, TypeError, NotImplementedError, IndexError, OverflowError):
        return  # torch makes no such tensor or file
    trained.file.write_bytes(payload)

    def forecast() -> None:
        values = dcrnn_fast.load(trained.file).forecast(trained.run.data.series).values_FNO
        assert np.isfinite(values).all()
        if where[0] not in ("config", "model", "graph", "scaler", "window_format"):
            assert np.array_equal(values, trained.forecast)

    require_one_line(message(forecast))
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
    (("window_format", "time_of_day"), "x"), (("window_format", "missing_input"), "x"),
    (("scaler", "mean", 0), "NaN"), (("scaler", "mean", 0), "1e308"), (("scaler", "std", 0), "-1"),
    (("scaler", "std", 0), "infinity"), (("scaler", "std", 0), "claims 10^12"),
    (("graph", "indptr"), "claims more"), (("graph", "positions_N2"), "x"), (("graph", "positions_N2"), "claims 10^12"),
    (("graph", "positions_N2"), "claims (10^6, 2)"), (("graph", "ids"), "[1]"), (("training", "part"), "5"),
]  # fmt: skip
NOT_RESUMED = [
    (("training", "step"), "-1"), (("training", "step"), "x"), (("training", "step"), "nothing"),
    (("training", "step"), "10^18"), (("training", "step"), "left out"), (("training", "step"), "2.5"),
    (("training", "epoch"), "x"), (("training", "history"), "[]"), (("training", "history", 0), "{'a': 1}"),
    (("training", "history", 0, "validation_mae"), "x"), (("training", "optimizer"), "{}"),
    (("training", "optimizer", "param_groups"), "[]"), (("training", "random"), "{}"),
    (("training", "random", "torch"), "tensor"), (("training", "random", "numpy", 2), "10^18"),
    (("training", "loss_scale"), "5"), (("training", "data"), "{}"), (("training", "data", "readings"), "x"),
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
