"""``dcrnn-fast evaluate`` and ``forecast`` as a user calls them: files in, files out, one line on mistakes."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from dcrnn_fast import evaluate, forecast, train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.loading import load
from tests.evaluation.small_city import SmallCity, make_small_city


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("city"))


@pytest.fixture
def recent(city: SmallCity, tmp_path: Path) -> pd.DataFrame:
    """The city's series as a table, as a user would have it."""
    series = city.data.series
    values = np.where(series.observed_TNC, series.values_TNC, np.nan)[..., 0]
    return pd.DataFrame(values, index=pd.Index(series.times_T, name="time"), columns=list(series.ids))


def mistake(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one line that the mistake made."""
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def test_evaluate_needs_only_the_checkpoint(
    city: SmallCity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(city.checkpoint), "--output", str(tmp_path / "out"), "--horizons", "1", "4"]) == 0
    printed = capsys.readouterr().out
    assert "last value" in printed
    assert "20 min" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("report.txt", "report.json", "horizons.csv", "sensors.csv"),
        *("horizons.png", "worst_and_best.png", "forecasts.png", "map.png"),
    }
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["windows"] == len(city.data.test)


def test_a_file_with_the_columns_in_another_order_is_the_same_data(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path
) -> None:
    recent[recent.columns[::-1]].to_csv(tmp_path / "data.csv")
    forecaster = load(city.checkpoint)
    own = forecaster.open_data()
    file = forecaster.open_data(replace(forecaster.config.data, data=str(tmp_path / "data.csv")))
    np.testing.assert_array_equal(file.series.values_TNC, own.series.values_TNC)
    np.testing.assert_array_equal(file.test.starts_W, own.test.starts_W)
    assert file.series.ids == own.series.ids
    assert (file.window_format, file.scaler) == (own.window_format, own.scaler)


def test_evaluate_refuses_other_data(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.csv"
    argv = [str(city.checkpoint), "--data", str(path), "-o", str(tmp_path / "out")]
    first = recent.columns[0]
    recent.rename(columns={first: "x99"}).to_csv(path)
    line = mistake(capsys, evaluate.main(argv))
    assert first in line
    assert "x99" in line
    recent.assign(x99=1.0).to_csv(path)
    assert "sensors that the model does not know: 'x99'; --leave-out" in mistake(capsys, evaluate.main(argv))
    forecaster = load(city.checkpoint)
    newer = replace(forecaster.config.data, data=str(path), leave_out=("x99",))
    assert forecaster.open_data(newer).series.ids == forecaster.ids
    recent.iloc[::2].to_csv(path)
    assert "every 10min, the model was trained on every 5min" in mistake(capsys, evaluate.main(argv))


def test_a_sensor_that_is_silent_in_new_data_is_scored_nowhere(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = recent.columns[2]
    recent.assign(**{silent: np.nan}).to_csv(tmp_path / "data.csv")
    argv = [str(city.checkpoint), "--data", str(tmp_path / "data.csv"), "-o", str(tmp_path / "out")]
    assert evaluate.main(argv) == 0
    assert f"1 sensor(s) have no observed reading of 'speed' at all: '{silent}'" in capsys.readouterr().out
    sensors = pd.read_csv(tmp_path / "out" / "sensors.csv")
    assert (sensors["count"] == 0).tolist() == (sensors["id"] == silent).tolist()


def test_data_of_another_kind_of_times_is_refused(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recent.index = pd.DatetimeIndex(recent.index, name="time").tz_localize("Europe/Amsterdam")
    recent.to_csv(tmp_path / "zoned.csv")
    for command in (evaluate, forecast):
        argv = [str(city.checkpoint), "--data", str(tmp_path / "zoned.csv"), "-o", str(tmp_path / "out.csv")]
        line = mistake(capsys, command.main(argv))
        assert "zoned.csv has times with an offset, the model was trained on" in line or command is forecast
        assert "give times as those of training, without an offset" in line


def test_evaluate_refuses_another_graph(city: SmallCity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = city.data.graph.adjacency.toarray()
    argv = [str(city.checkpoint), "--graph", str(tmp_path / "graph.npy"), "-o", str(tmp_path / "out")]
    np.save(tmp_path / "graph.npy", matrix)
    assert len(load(city.checkpoint).open_data(graph=GraphConfig(graph=str(tmp_path / "graph.npy"))).test)
    matrix[2, 3] += 0.25
    np.save(tmp_path / "graph.npy", matrix)
    line = mistake(capsys, evaluate.main(argv))
    assert f"the weight from '{city.data.graph.ids[2]}' to '{city.data.graph.ids[3]}' differs by 0.25" in line


def test_evaluate_refuses_a_checkpoint_of_another_city(
    city: SmallCity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_checkpoint(city.checkpoint)
    state["config"] = to_dict(city.config) | {"data": to_dict(city.config.data) | {"city_seed": 1}}
    path = save_checkpoint(tmp_path, state, "other.pt")
    assert "city is of another graph than the model" in mistake(capsys, evaluate.main([str(path), "-o", str(tmp_path)]))


@pytest.mark.parametrize("ending", ["csv", "parquet", "nc"])
def test_forecast_from_a_file(city: SmallCity, recent: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    recent.iloc[390:406].to_csv(tmp_path / "recent.csv")
    out = tmp_path / "new" / f"forecast.{ending}"
    plot = tmp_path / "new" / "forecast.png"
    argv = [str(city.checkpoint), "--data", str(tmp_path / "recent.csv"), "-o", str(out), "--plot", str(plot)]
    assert forecast.main(argv) == 0
    assert out.exists()
    assert plot.exists()
    if ending == "csv":
        with torch.no_grad():
            wanted = city.data.scaler.inverse(city.model(city.data.gather(np.array([400])).x_BPNC))[0, :, :, 0]
        table = pd.read_csv(out).pivot(index="time", columns="id", values="value")[list(city.data.series.ids)]
        np.testing.assert_allclose(table.to_numpy(), wanted, rtol=1e-6)


def test_forecast_from_an_array_without_times(city: SmallCity, recent: pd.DataFrame, tmp_path: Path) -> None:
    np.savez(tmp_path / "recent.npz", data=recent.to_numpy()[400:406, :, None], ids=np.array(recent.columns, dtype=str))
    argv = [str(city.checkpoint), "--data", str(tmp_path / "recent.npz"), "-o", str(tmp_path / "f.csv")]
    assert forecast.main([*argv, "--start", str(recent.index[400])]) == 0
    frame = pd.read_csv(tmp_path / "f.csv", parse_dates=["time"])
    assert frame["time"].min() == recent.index[406]


@pytest.mark.parametrize("command", [evaluate, forecast])
def test_how_to_read_the_data_goes_with_the_data(
    city: SmallCity, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: ModuleType
) -> None:
    argv = [str(city.checkpoint), "-o", str(tmp_path / "out.csv"), "--start", "2024-01-01", "--hdf5-key", "df"]
    assert "--hdf5-key, --start: only with --data" in mistake(capsys, command.main(argv))


def test_forecast_without_data_continues_the_built_in_city(city: SmallCity, tmp_path: Path) -> None:
    assert forecast.main([str(city.checkpoint), "-o", str(tmp_path / "f.csv")]) == 0
    frame = pd.read_csv(tmp_path / "f.csv", parse_dates=["time"])
    assert frame["time"].min().to_datetime64() == city.data.series.times_T[-1] + np.timedelta64(300, "s")


def test_forecast_says_what_is_wrong_in_one_line(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recent.csv"
    argv = [str(city.checkpoint), "--data", str(path), "-o", str(tmp_path / "f.csv")]
    recent.iloc[:5].to_csv(path)
    assert "reads the newest 6 steps" in mistake(capsys, forecast.main(argv))
    recent.iloc[[0, 1, 2, 3, 4, 3]].to_csv(path)
    assert "times must increase" in mistake(capsys, forecast.main(argv))
    recent.iloc[:12].to_csv(path)
    assert "no backend can run here" in mistake(capsys, forecast.main([*argv, "--backend", "triton"]))
    assert "forecasts are written as" in mistake(capsys, forecast.main([*argv[:-1], "f.txt"]))
    assert "plots are written as" in mistake(capsys, forecast.main([*argv, "--plot", "f.gif"]))
    assert "cannot be read" in mistake(capsys, forecast.main(["absent.pt", *argv[1:]]))
    assert not (tmp_path / "f.csv").exists()


def test_sensors_left_out_are_missing_to_the_model_and_scored_nowhere(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late, absent = recent.columns[2], recent.columns[5]
    recent.drop(columns=[absent]).to_csv(tmp_path / "data.csv")
    argv = [str(city.checkpoint), "--data", str(tmp_path / "data.csv")]
    assert absent in mistake(capsys, evaluate.main([*argv, "-o", str(tmp_path / "out")]))
    left = ["--leave-out", late, absent]
    assert evaluate.main([*argv, *left, "-o", str(tmp_path / "out")]) == 0
    sensors = pd.read_csv(tmp_path / "out" / "sensors.csv")
    assert (sensors["count"] == 0).tolist() == sensors["id"].isin([late, absent]).tolist()
    assert forecast.main([*argv, *left, "-o", str(tmp_path / "left.csv")]) == 0
    recent.assign(**{late: np.nan, absent: np.nan}).to_csv(tmp_path / "data.csv")
    assert forecast.main([*argv, "-o", str(tmp_path / "empty.csv")]) == 0
    assert (tmp_path / "left.csv").read_bytes() == (tmp_path / "empty.csv").read_bytes()
    capsys.readouterr()
    assert "leave_out: the model has no sensor 'x99'" in mistake(
        capsys, forecast.main([*argv, "--leave-out", "x99", "-o", str(tmp_path / "x.csv")])
    )


def test_the_readings_of_a_file_are_missing_as_its_flags_say(
    city: SmallCity, recent: pd.DataFrame, tmp_path: Path
) -> None:
    recent.iloc[-6:] += 1.0
    recent.iloc[-2, 3] = np.nan
    recent.to_csv(tmp_path / "nan.csv")
    recent.fillna(-9999).to_csv(tmp_path / "constant.csv")
    argv = [str(city.checkpoint), "--data", str(tmp_path / "nan.csv"), "-o", str(tmp_path / "nan_out.csv")]
    assert forecast.main(argv) == 0
    argv = [str(city.checkpoint), "--data", str(tmp_path / "constant.csv"), "-o", str(tmp_path / "out.csv")]
    assert forecast.main([*argv, "--missing-value", "-9999"]) == 0
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "nan_out.csv").read_bytes()
    assert forecast.main(argv) == 0
    assert (tmp_path / "out.csv").read_bytes() != (tmp_path / "nan_out.csv").read_bytes()
    recent.fillna(0).to_csv(tmp_path / "zero.csv")
    argv = [str(city.checkpoint), "--data", str(tmp_path / "zero.csv"), "-o", str(tmp_path / "out.csv")]
    assert forecast.main(argv) == 0  # as in training: zeros are missing
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "nan_out.csv").read_bytes()
    assert forecast.main([*argv, "--missing", "nan"]) == 0
    assert (tmp_path / "out.csv").read_bytes() != (tmp_path / "nan_out.csv").read_bytes()


@pytest.mark.slow
def test_what_training_left_out_and_filled_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readings = np.random.default_rng(0).normal(5, 1, (300, 4))
    times = pd.date_range("2024-01-01", periods=300, freq="h", name="time")
    table = pd.DataFrame(readings.round(3), index=times, columns=list("abcd")).assign(d=np.nan)
    table = table.drop(index=times[[40, 41, 200, 297]])
    table.to_csv(tmp_path / "data.csv")
    np.save(tmp_path / "graph.npy", np.roll(np.eye(4), 1, axis=1))
    small = ["--hidden-units", "4", "--num-layers", "1", "--epochs", "1", "--past-steps", "4", "--future-steps", "2"]
    source = ["--data", str(tmp_path / "data.csv"), "--graph", str(tmp_path / "graph.npy")]
    results = str(tmp_path / "r")
    argv = [*source, *small, "--leave-out", "d", "--fill-rows", "--threads", "1", "--results", results]
    assert train.main(argv) == 0
    checkpoint = str(tmp_path / "r" / "checkpoints" / "best.pt")
    assert load(checkpoint).config.data.leave_out == ("d",)
    assert evaluate.main([checkpoint, "-o", str(tmp_path / "out")]) == 0
    ours, theirs = (json.loads((tmp_path / folder / "report.json").read_text()) for folder in ("out", "r"))
    assert ours["channels"] == theirs["channels"]
    # The newest rows have an absent one among them, and the dead sensor's column has gone altogether.
    table.drop(columns=["d"]).tail(6).to_csv(tmp_path / "new.csv")
    capsys.readouterr()
    assert forecast.main([checkpoint, "--data", str(tmp_path / "new.csv"), "-o", str(tmp_path / "f.csv")]) == 0
    assert "1 absent row(s) filled" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "f.csv")["id"]) == {"a", "b", "c"}
    again = ["--data", str(tmp_path / "data.csv"), "--fill-rows"]
    assert evaluate.main([checkpoint, *again, "-o", str(tmp_path / "again")]) == 0
    assert forecast.main([checkpoint, *again, "-o", str(tmp_path / "f.csv")]) == 0
