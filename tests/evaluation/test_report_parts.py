"""Some sensors and targets of a report or forecast, and steps beyond those of the training."""

from pathlib import Path

import numpy as np
import pytest
import torch

import dcrnn_fast
from dcrnn_fast import evaluate, forecast
from dcrnn_fast.evaluation.evaluator import predict
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.evaluation.report_csv import horizons_csv
from dcrnn_fast.evaluation.report_parts import part_of
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    words = ("--city-nodes", "9", "--city-days", "3", "--max-train-windows", "64", "--device", "cpu", "--epochs", "1")
    fit(debug_config(*words, "--results", str(place)))
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> Forecaster:
    return dcrnn_fast.load(folder)


def test_a_part_of_the_sums_is_what_is_scored_alone() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 5, 7, 6, 3).unbind(0)
    observed = torch.rand(5, 7, 6, 3) > 0.3
    whole = HorizonSums(7, 6, 3)
    whole.add(prediction, target, observed)
    alone = HorizonSums(2, 3, 1)
    chosen = (slice(None), slice(4, 6), [5, 0, 2])
    alone.add(prediction[chosen][..., [1]], target[chosen][..., [1]], observed[chosen][..., [1]])
    part = whole.part(steps=slice(4, 6), nodes=[5, 0, 2], channels=[1])
    assert torch.allclose(part.sums_SFNO, alone.sums_SFNO, rtol=1e-12)


def test_a_report_of_some_sensors(model: Forecaster) -> None:
    report = model.evaluate()
    some = part_of(report, sensors=[model.ids[4], model.ids[1]])
    assert some.ids == (model.ids[1], model.ids[4])
    by_sensor = report.methods["DCRNN"].by_sensor().mae
    assert np.array_equal(some.methods["DCRNN"].by_sensor().mae, by_sensor[[1, 4]])
    assert some.trace is not None
    assert report.trace is not None
    assert np.array_equal(some.trace.truth_RNO, report.trace.truth_RNO[:, [1, 4]], equal_nan=True)
    edges = {tuple(edge) for edge in report.edges_E2.tolist()} & {(1, 4), (4, 1), (1, 1), (4, 4)}
    assert {tuple([1, 4][n] for n in edge) for edge in some.edges_E2.tolist()} == edges
    assert some.positions_N2 is not None


def test_a_longer_horizon_is_the_same_decoder_going_on(model: Forecaster, folder: Path) -> None:
    longer = dcrnn_fast.load(folder, future_steps=19)
    data = longer.open_data()
    short = model.open_data()
    starts = data.windows("test").starts_W
    assert np.array_equal(starts, short.windows("test").starts_W[: len(starts)])
    assert len(short.windows("test")) - len(starts) == 7
    x = torch.from_numpy(data.gather(starts[:3]).x_BPNC.numpy())
    both = [predict(one.model, x, one.scaler.take((0,))) for one in (model, longer)]
    assert torch.equal(both[1][:, :12], both[0])
    report = longer.evaluate(data)
    whole = model.evaluate(short, starts_W=starts)
    assert np.array_equal(report.methods["DCRNN"].by_horizon().mae, whole.methods["DCRNN"].by_horizon().mae)
    assert report.horizons == whole.horizons
    assert report.beyond is not None
    assert report.beyond.horizons[0] == "1 h 5 min"
    assert len(report.beyond.horizons) == 7
    truth = torch.from_numpy(data.gather(starts).y_BFNO.numpy())
    forecast_ = predict(longer.model, data.gather(starts).x_BPNC, longer.scaler.take((0,)))
    seen = data.gather(starts).observed_BFNO
    last = (forecast_ - truth)[:, -1].abs().double()[seen[:, -1]].mean()
    assert report.beyond.methods["DCRNN"].by_horizon().mae[-1] == pytest.approx(float(last), rel=1e-6)
    assert "beyond the 12 steps that the model was trained on" in report.table()
    rows = horizons_csv(report).decode().splitlines()
    assert rows[-1].split(",")[4] == "19"
    assert report.to_dict()["beyond"]["horizons"][0]["step"] == 13


def test_commands_take_a_part_and_a_longer_horizon(
    folder: Path, model: Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = tmp_path / "chosen.txt"
    chosen.write_text(f"{model.ids[2]}\n{model.ids[7]}\n")
    words = [str(folder), "--sensors", str(chosen), "--future-steps", "15"]
    assert forecast.main([*words, "-o", str(tmp_path / "f.csv")]) == 0
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert len(lines) == 1 + 15 * 2
    assert {line.split(",")[2] for line in lines[1:]} == {model.ids[2], model.ids[7]}
    assert "steps 13 to 15 are beyond the 12" in capsys.readouterr().err
    assert evaluate.main([*words, "-o", str(tmp_path / "e"), "--part", "all"]) == 0
    assert "2 sensors" in capsys.readouterr().out
    assert evaluate.main([str(folder), "-o", str(tmp_path / "e"), "--targets", "flow"]) == 2
    assert "--targets: the model has no 'flow'; it has 'speed'" in capsys.readouterr().err
    assert evaluate.main([str(folder), "-o", str(tmp_path / "e"), "--part=all", "--split", "test"]) == 2
    assert "--part is another name of --split: give one of them" in capsys.readouterr().err
