"""The moving average of the weights: as a plain loop has it, what is validated and forecast with, saved and resumed."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast import convert
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.interop import export_pytorch_port
from dcrnn_fast.loading import load
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.loop import train_epoch, validate
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.same_run import assert_same_run, differing, metrics

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")
DECAY = ("--ema-decay", "0.9")


def flat(weights: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([weight.detach().flatten() for weight in weights.values()]).numpy()


@pytest.mark.parametrize("static", [False, True], ids=["eager", "static"])
def test_it_is_that_of_a_plain_loop_without_the_skipped_steps(static: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64; the third step reads NaN."""
    config = debug_config(*TINY, *DECAY, "--batch-size", "4", "--max-bad-steps", "1", "--learning-rate", "0.1")
    run = make_run(config, open_data(config.data, config.graph), Ranks(), dtype=torch.float64)
    stepper = StaticStep(run, lambda _: None) if static else EagerStep(run)
    progress, gather = Progress(), ForecastData.gather

    def poisoned(self: ForecastData, starts: np.ndarray) -> Batch:
        batch = gather(self, starts)
        if progress.step == 2:
            batch.x_BPNC.fill_(math.nan)
        return batch

    monkeypatch.setattr(ForecastData, "gather", poisoned)
    weights = [flat(run.model.state_dict())]
    assert train_epoch(
        run, stepper, progress, StopRequest(), Watchers([]), lambda: weights.append(flat(run.model.state_dict()))
    )
    assert (progress.good_steps, progress.skipped_steps) == (9, 1)
    average = weights[0]
    for step in (0, 1, 3, 4, 5, 6, 7, 8, 9):
        average = 0.9 * average + 0.1 * weights[step + 1]
    np.testing.assert_allclose(flat(run.average.to_state()), average, rtol=1e-12, atol=1e-14)


def test_what_is_validated_and_forecast_with_is_the_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the training itself is bit for bit the one without it."""
    flags = (*TINY, "--epochs", "3", "--batch-size", "8", "--learning-rate", "0.05", "--results")
    result = fit(debug_config(*flags, str(tmp_path / "with"), *DECAY))
    fit(debug_config(*flags, str(tmp_path / "without")))
    folder = tmp_path / "with" / "checkpoints"
    assert "weights: validation and forecasts use their moving average, decay 0.9" in capsys.readouterr().out
    ours, theirs = load_checkpoint(folder / "latest.pt"), load_checkpoint(tmp_path / "without/checkpoints/latest.pt")
    assert differing(ours["model"], theirs["model"]) == []
    assert differing(ours["training"]["optimizer"], theirs["training"]["optimizer"]) == []
    assert "ema" not in theirs
    rows = metrics(tmp_path / "with"), metrics(tmp_path / "without")
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]
    assert [row["validation_mae"] for row in rows[0]] != [row["validation_mae"] for row in rows[1]]
    best = load_checkpoint(folder / "best.pt")
    assert differing(result.model.state_dict(), best["ema"]) == []
    forecaster = load(folder / "best.pt")
    assert differing(dict(forecaster.model.state_dict()), best["ema"]) == []
    assert "weights: their moving average over the training (ema_decay 0.9)" in forecaster.notes
    config = debug_config(*flags, str(tmp_path / "x"))
    run = make_run(config, result.data, Ranks())
    run.model.load_state_dict(best["ema"])
    sums = validate(run, StopRequest())
    assert sums is not None
    assert float(sums.overall().mae) == result.best_validation_mae
    capsys.readouterr()
    assert convert.main([str(folder / "best.pt"), "--export", "-o", str(tmp_path / "port.tar")]) == 0
    port = torch.load(tmp_path / "port.tar", weights_only=True)["model_state_dict"]
    assert differing(port, export_pytorch_port(best["ema"])) == []
    assert "weights: their moving average over the training (ema_decay 0.9)" in capsys.readouterr().out


@pytest.mark.parametrize("world", [1, 2])
def test_it_is_resumed_bit_for_bit_from_the_middle_of_an_epoch(
    tmp_path: Path, rank_server: RankServer, world: int
) -> None:
    flags = (*TINY, *DECAY, "--epochs", "2", "--batch-size", "4", "--resume", "auto", "--results")
    program = "feature_programs:logs_windows"
    whole = rank_server.start(tmp_path / "a", world, program, str(tmp_path / "x"), -1, *flags, str(tmp_path / "whole"))
    first = rank_server.start(tmp_path / "b", world, program, str(tmp_path / "x"), 3, *flags, str(tmp_path / "half"))
    assert first.wait() == [85] * world, first.errors(0)
    half = load_checkpoint(tmp_path / "half" / "checkpoints" / "latest.pt")
    assert half["training"]["position"] == 12 * world
    assert differing(half["ema"], half["model"])
    rank_server.run(tmp_path / "c", world, program, str(tmp_path / "x"), -1, *flags, str(tmp_path / "half"))
    assert whole.wait() == [0] * world, whole.errors(0)
    assert_same_run(tmp_path / "whole", tmp_path / "half")


def _renamed(ema: dict[str, torch.Tensor]) -> Any:
    return {f"x{name}": tensor for name, tensor in ema.items()}


WRONG = {
    "no dict": (lambda ema: [1.0], "has a wrong ema: wanted names with values"),
    "other names": (_renamed, "has a wrong ema: it has 10 names, and they are not those of the weights"),
    "NaN": (lambda ema: ema | {"projection.bias": ema["projection.bias"] * math.nan}, "holds NaN or infinity"),
    "integers": (lambda ema: ema | {"projection.bias": torch.zeros(1, dtype=torch.int64)}, "wanted floating-point"),
    "another shape": (
        lambda ema: ema | {"projection.bias": torch.zeros(3)},
        r"projection.bias must be \(1,\), got \(3,\)",
    ),
}


def test_a_wrong_or_missing_average_is_refused(tmp_path: Path) -> None:
    flags = (*TINY, "--results", str(tmp_path), "--epochs")
    fit(debug_config(*flags, "1", *DECAY))
    folder = tmp_path / "checkpoints"
    state = load_checkpoint(folder / "latest.pt")
    with pytest.raises(UserError, match=r"was trained with ema_decay = 0\.9, this run has None"):
        fit(debug_config(*flags, "2", "--resume", "auto"))
    for wrong, said in WRONG.values():
        save_checkpoint(folder, {**state, "ema": wrong(dict(state["ema"]))}, "wrong.pt")
        for opened in (load, lambda path: fit(debug_config(*flags, "2", *DECAY, "--resume", str(path)))):
            with pytest.raises(UserError, match=rf"wrong\.pt .*{said}"):
                opened(folder / "wrong.pt")
    wrapped = {name: {f"module.{key}": tensor for key, tensor in state[name].items()} for name in ("model", "ema")}
    save_checkpoint(folder, {**state, **wrapped}, "wrong.pt")
    assert differing(dict(load(folder / "wrong.pt").model.state_dict()), state["ema"]) == [], "in a wrapper's names"
    lost = copy.copy(state)
    del lost["ema"]
    save_checkpoint(folder, lost, "wrong.pt")
    with pytest.raises(UserError, match=r"cannot be resumed: the moving average of its weights is missing"):
        fit(debug_config(*flags, "2", *DECAY, "--resume", str(folder / "wrong.pt")))


def test_the_weights_are_back_after_a_validation_that_fails() -> None:
    config = debug_config(*TINY, *DECAY)
    run: Run = make_run(config, open_data(config.data, config.graph), Ranks())
    for weight in run.model.parameters():
        torch.nn.init.normal_(weight)
    before = copy.deepcopy(run.model.state_dict())
    places = [weight.data_ptr() for weight in run.model.parameters()]

    def fails() -> None:
        with run.evaluated():
            assert differing(dict(run.model.state_dict()), run.average.to_state()) == []
            assert [weight.data_ptr() for weight in run.model.parameters()] == places, "where CUDA graphs read"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert differing(dict(run.model.state_dict()), dict(before)) == []
