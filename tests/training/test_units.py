"""The unit of the readings changes nothing but the digits; the published recipe changes nothing at all."""

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dcrnn_fast import load
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.check import check
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.run import Run, make_run, with_loss_unit
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep, label_coins
from tests.training.rank_programs import debug_config

IDS = tuple("abcdef")
QUICK = ("--past-steps", "6", "--future-steps", "3", "--batch-size", "16", "--hidden-units", "8", "--num-layers", "1")
UNITS = {"x 1e-6": (1e-6, 0), "x 1e6": (1e6, 0), "+ 273.15": (1, 273.15), "x 1e-3": (1e-3, 0)}
UNITS |= {"x 0.5556 + 255.37": (0.5556, 255.37), "x 0.01 - 40": (0.01, -40)}


def table(steps: int = 400, gaps: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    values = 50 + 10 * np.sin(np.arange(steps) / 144 * 2 * np.pi)[:, None] + rng.normal(0, 0.5, (steps, 6))
    values[rng.random(values.shape) < gaps] = np.nan
    return pd.DataFrame(values, pd.date_range("2024-01-01", periods=steps, freq="5min", name="time"), list(IDS))


def write(folder: Path, frame: pd.DataFrame) -> tuple[str, ...]:
    frame.to_csv(folder / "x.csv")
    links = [f"{a},{b},1" for a, b in zip(IDS, IDS[1:] + IDS[:1], strict=True)]
    (folder / "g.csv").write_text("\n".join(["from,to,weight", *links]))
    return ("--data", str(folder / "x.csv"), "--graph", str(folder / "g.csv"))


def forecasts(folder: Path, frame: pd.DataFrame, *flags: str) -> np.ndarray:
    """Of all test windows, in the frame's unit, after a training with default flags."""
    result = fit(debug_config(*write(folder, frame), *QUICK, "--results", str(folder / "r"), *flags))
    data = result.data
    with torch.no_grad():
        scaled = result.model(data.gather(data.test.starts_W).x_BPNC)
    return data.scaler.take(data.window_format.target_channels).inverse(scaled.double()).numpy()


@pytest.fixture(scope="module")
def in_own_unit(tmp_path_factory) -> np.ndarray:
    return forecasts(tmp_path_factory.mktemp("own"), table(gaps=0.1), "--epochs", "2")


@pytest.mark.parametrize("unit", UNITS)
def test_readings_in_another_unit_train_to_the_same_forecasts(tmp_path, in_own_unit, unit):
    """Up to the rounding of the readings to float32, which training magnifies: 7e-4 at most (1e-4 deviations)."""
    factor, offset = UNITS[unit]
    frame = table(gaps=0.1) * factor + offset
    back = (forecasts(tmp_path, frame, "--epochs", "2") - offset) / factor
    assert np.abs(back - in_own_unit).max() < 0.05
    assert np.abs(in_own_unit - 50).max() > 5, "forecasts that follow the readings"


def test_each_target_is_learned_whatever_its_magnitude(tmp_path, capsys):
    steps = np.arange(500)
    rng = np.random.default_rng(0)
    flow = 300 + 80 * np.sin(steps / 72)[:, None] + rng.normal(0, 4, (500, 6))
    share = 0.05 + 0.03 * np.sin(steps / 50 + 1)[:, None] + rng.normal(0, 0.001, (500, 6))
    share[rng.random(share.shape) < 0.5] = np.nan
    times = pd.date_range("2024-01-01", periods=500, freq="5min").values.astype("datetime64[s]")
    np.savez(tmp_path / "x.npz", data=np.stack([flow, share], -1), channels=["flow", "share"], ids=IDS, times=times)
    source = ("--data", str(tmp_path / "x.npz"), *write(tmp_path, table())[2:])
    results = {}
    for targets in (("flow", "share"), ("share",)):
        flags = ("--targets", *targets, "--results", str(tmp_path / targets[0]), "--epochs", "6")
        results[targets[0]] = fit(debug_config(*source, *QUICK, *flags, "--teacher-forcing", "off"))
    both, alone = results["flow"], results["share"]
    row, deviation = both.history[both.best_epoch - 1], np.array(both.data.scaler.std)
    assert row["validation_mae_share"] < 2 * alone.best_validation_mae
    maes = np.array([row["validation_mae_flow"], row["validation_mae_share"]])
    assert row["validation_error"] == pytest.approx((maes / deviation).mean(), rel=1e-9)
    assert both.best_epoch == 1 + int(np.argmin([row["validation_error"] for row in both.history]))
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("epoch 1/6: "))
    assert "validation MAE flow " in line
    assert ", share 0.0" in line
    assert "loss: mae, in which an error of 1 is 0.08 of the target's deviation: " in said
    with open(tmp_path / "flow" / "metrics.csv") as file:
        assert float(list(csv.DictReader(file))[-1]["validation_mae_share"]) == both.history[-1]["validation_mae_share"]


def published_run(folder: Path) -> Run:
    """A small series and its pickle in the places of METR-LA's, opened by name with default flags."""
    home = folder / "metr-la"
    home.mkdir()
    frame = table(300).astype("float64")
    frame.iloc[40:60, 2] = 0
    frame.to_hdf(home / "metr-la.h5", key="df")
    weights = (np.eye(6) + 0.5 * np.roll(np.eye(6), 1, axis=1)).astype("float32")
    content = [list(IDS), {name: k for k, name in enumerate(IDS)}, weights]
    (home / "adj_mx.pkl").write_bytes(pickle.dumps(content, protocol=2))
    config = debug_config("--data", "metr-la", "--data-folder", str(folder), *QUICK)
    return make_run(config, open_data(config.data, config.graph), Ranks())


def frozen_steps(run: Run, rates: list[float], *, static: bool) -> list[float]:
    """The published training as it has always been: loss in original units, clip 5, Adam with eps 1e-3.

    The step with fixed shapes differs in one rounding: there the number of targets is a float32.
    """
    mean, std = (torch.tensor(numbers, dtype=torch.float32) for numbers in (run.data.scaler.mean, run.data.scaler.std))
    adam = torch.optim.Adam(run.model.parameters(), lr=0.01, eps=1e-3, fused=True)
    losses = []
    run.model.train()
    for step, (global_batch, rate) in enumerate(zip(run.batches.epoch(0), rates, strict=False)):
        batch = run.data.gather(run.data.train.starts_W[global_batch.windows])
        observed = int(batch.observed_BFNO.sum())
        scaled = run.model(batch.x_BPNC, batch.labels_BFNO, label_coins(run, step))
        error = torch.where(batch.observed_BFNO, scaled * std + mean - batch.y_BFNO, 0.0)
        total = error.abs().sum((2, 3)).sum()
        adam.zero_grad()
        (total * (1.0 / torch.tensor(float(observed)) if static else 1.0 / observed)).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in run.model.parameters()])
        norm = torch.linalg.vector_norm(gradient)
        for parameter in run.model.parameters():
            parameter.grad.mul_((5.0 / (norm + 1e-6)).clamp(max=1.0))
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        losses.append((total / observed).item())
    return losses


@pytest.mark.parametrize("static", [False, True], ids=["eager", "static"])
def test_the_published_recipe_is_the_same_bits_as_ever(tmp_path, static):
    (tmp_path / "frozen").mkdir()
    run, frozen = published_run(tmp_path), published_run(tmp_path / "frozen")
    assert run.data.published
    assert run.config.training.loss_unit == "original"
    assert (run.data.config.scaler, run.data.config.missing_input) == ("published", "zero")
    rates = [2.0**-7] * 5  # a float32 too: there the rate is one
    wanted = frozen_steps(frozen, rates, static=static)
    stepper = StaticStep(run, str) if static else EagerStep(run)
    run.model.train()
    batches = zip(run.batches.epoch(0), rates, strict=False)
    outcomes = [stepper.take(batch, k, rate, StopRequest()) for k, (batch, rate) in enumerate(batches)]
    assert [outcome.loss for outcome in outcomes] == wanted
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, frozen.model.state_dict()[name]), name


def test_published_data_with_several_targets_has_no_published_loss(tmp_path):
    run = published_run(tmp_path)
    data = run.data
    twice = replace(
        data,
        window_format=replace(data.window_format, channels=("a", "b"), units=("", ""), target_channels=(0, 1)),
        scaler=Scaler((*data.scaler.mean, 0.0), (*data.scaler.std, 1.0)),
    )
    training = run.config.training
    assert with_loss_unit(training, twice).loss_unit == "original", "as the configuration says"
    assert with_loss_unit(replace(training, loss_unit="auto"), data).loss_unit == "original"
    assert with_loss_unit(replace(training, loss_unit="auto"), twice).loss_unit == "deviation"


def test_a_checkpoint_from_before_these_choices_is_resumed_as_it_was_started(tmp_path):
    """Nothing of them in its configuration; the run goes on in original units, bit for bit."""
    as_then = ("--loss-unit", "original", "--scaler", "published", "--missing-input", "zero")
    source = write(tmp_path, table(gaps=0.1))
    flags = (*source, *QUICK, "--results")
    whole = fit(debug_config(*flags, str(tmp_path / "whole"), *as_then, "--epochs", "3"))
    fit(debug_config(*flags, str(tmp_path / "half"), *as_then, "--epochs", "1"))
    state = load_checkpoint(tmp_path / "half" / "checkpoints" / "latest.pt")
    for section, names in {"training": ["loss_unit"], "data": ["missing_value", "leave_out", "fill_rows"]}.items():
        for name in names:
            del state["config"][section][name]
    state["config"]["data"]["missing"] = "auto"
    for row in state["training"]["history"]:
        del row["validation_error"]
    save_checkpoint(tmp_path / "half" / "checkpoints", state, "latest.pt")
    resumed = fit(debug_config(*flags, str(tmp_path / "half"), "--epochs", "3", "--resume", "auto"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.best_epoch == whole.best_epoch
    with pytest.raises(UserError, match="was trained with loss_unit = original, this run has deviation"):
        fit(debug_config(*flags, str(tmp_path / "half"), "--resume", "auto", "--loss-unit", "deviation"))


def test_a_resumed_run_is_not_told_that_it_chose_its_rule_for_zeros(tmp_path):
    """The file has empty cells, the run was started with --missing zero: "the file marks no gaps" would be untrue."""
    flags = (*write(tmp_path, table(gaps=0.1)), *QUICK, "--results", str(tmp_path / "r"), "--epochs", "1")
    fit(debug_config(*flags, "--missing", "zero"))
    said = "\n".join(check(debug_config(*flags, "--resume", "auto")))
    assert "--missing zero" in said
    assert "because the file marks no gaps" not in said


def of_six_magnitudes() -> pd.DataFrame:
    frame = table()
    frame *= [1, 1e3, 1e-3, 1, 1e2, 1]
    return frame


def test_a_scaler_for_each_sensor_trains_resumes_in_another_order_and_forecasts(tmp_path):
    frame, flags = of_six_magnitudes(), (*QUICK, "--scaler", "sensor", "--results")
    whole = fit(debug_config(*write(tmp_path, frame), *flags, str(tmp_path / "whole"), "--epochs", "3"))
    fit(debug_config(*write(tmp_path, frame), *flags, str(tmp_path / "turned"), "--epochs", "1"))
    turned = write(tmp_path, frame[list("fdbeca")])
    again = fit(debug_config(*turned, *flags, str(tmp_path / "turned"), "--epochs", "3", "--resume", "auto"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert again.data.scaler == whole.data.scaler
    assert again.best_validation_mae == whole.best_validation_mae
    forecaster = load(whole.checkpoint)
    assert forecaster.scaler == whole.data.scaler
    report = forecaster.evaluate(whole.data)
    mae_N = report.methods["DCRNN"].by_sensor().mae
    assert (mae_N / frame.std().to_numpy() < 0.7).all(), "each sensor is learned"
    recent = frame.tail(6)
    turned_around = forecaster.forecast(recent[list("bafedc")]).values_FNO
    np.testing.assert_array_equal(turned_around, forecaster.forecast(recent).values_FNO)


def test_errors_rank_epochs_in_each_sensors_own_deviation(tmp_path):
    config: Config = debug_config(
        *write(tmp_path, of_six_magnitudes()), *QUICK, "--scaler", "sensor", "--epochs", "1", "--results", str(tmp_path)
    )
    result = fit(config)
    data = result.data
    batch = data.gather(data.validation.starts_W)
    with torch.no_grad():
        scaled = result.model(batch.x_BPNC)
    error = (scaled - batch.labels_BFNO).abs()[batch.observed_BFNO].double().mean().item()
    assert result.history[0]["validation_error"] == pytest.approx(error, rel=1e-5)
    assert result.history[0]["validation_mae"] > 10 * error
