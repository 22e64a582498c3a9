"""Exported models give our own forecasts, in ONNX Runtime and in a PyTorch that has no dcrnn_fast."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dcrnn_fast
from dcrnn_fast import export
from dcrnn_fast.data.inputs import put_inputs, put_known, readable
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.graph import read_pickle
from tests.interop.made_models import ring, save_model

TOLERANCE = 1e-5
EPOCH = np.datetime64(0, "s")


def readings(forecaster: Forecaster, batch: int, *, gap: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
    """(B, P, N, C) with gaps, some of them from the first step on, and times (B, P)."""
    form, generator = forecaster.window_format, np.random.default_rng(3)
    shape = batch, form.past_steps, len(forecaster.ids), len(form.channels)
    values_BPNC = generator.normal(50, 15, shape).clip(1).astype(np.float32)
    values_BPNC[generator.random(shape) < 0.2] = gap
    # Weekends and midnight are among the times.
    first_B = np.datetime64("2024-03-01T23:50", "s") + np.arange(batch) * np.timedelta64(37, "h")
    times_BP = first_B[:, None] + np.arange(form.past_steps) * form.interval
    return values_BPNC, times_BP


def ours(forecaster: Forecaster, values_BPNC: np.ndarray, times_BP: np.ndarray) -> np.ndarray:
    """(B, F, N, O) of ``Forecaster.forecast``."""
    pairs = zip(values_BPNC, times_BP, strict=True)
    return np.stack([forecaster.forecast(values_PNC, times=times_P).values_FNO for values_PNC, times_P in pairs])


def seconds(times: np.ndarray) -> np.ndarray:
    """What an exported model reads as a time."""
    return (times - EPOCH).astype("timedelta64[s]").astype(np.int64)


def session(path: Path) -> Any:
    """ONNX Runtime's, whose warnings would be lines on stderr."""
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def far(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest value wanted."""
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def exported(checkpoint: Path, ending: str, *flags: str) -> Path:
    """The file that the command wrote."""
    target = checkpoint.with_name(f"exported{len(flags)}.{ending}")
    assert export.main([str(checkpoint), f"--{ending}", str(target), *flags]) == 0
    return target


@pytest.mark.slow
def test_onnx_runtime_gives_our_forecast_on_metr_las_graph(
    real_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = read_pickle(real_data / "metr_la_graph" / "adj_mx.pkl")
    checkpoint = save_model(tmp_path / "m", graph, past_steps=12, future_steps=12, hidden_units=64, at_least=50.0)
    forecaster = dcrnn_fast.load(checkpoint)
    raw = session(exported(checkpoint, "onnx", "--raw"))
    for batch in (1, 3):
        values_BPNC, times_BP = readings(forecaster, batch)
        wanted = ours(forecaster, values_BPNC, times_BP)
        got = raw.run(["forecast"], {"readings": values_BPNC, "times": seconds(times_BP)})[0]
        assert far(got, wanted) < TOLERANCE
        assert (got == 50).any()  # the bound is inside
        assert (got > 50).any()
    assert capfd.readouterr().err == ""
    described = json.loads(raw.get_modelmeta().custom_metadata_map["dcrnn_fast"])
    assert described["ids"] == list(graph.ids)
    assert described["scaler"] == {"mean": [54.4], "std": [19.5]}
    assert (described["freq"], described["missing"], described["missing_input"]) == ("5min", "zero", "last")
    assert [(one["name"], one["shape"]) for one in described["inputs"]] == [
        ("readings", ["batch", 12, 207, 1]), ("times", ["batch", 12])
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "gap"),
    [
        ({"missing": "nan", "missing_input": "last", "day_of_week": True}, np.nan),
        ({"missing": "nan", "missing_input": "mean", "channels": ("a", "b"), "units": ("", "")}, np.nan),
        ({"missing": "zero", "missing_input": "zero", "time_of_day": False}, 0.0),
        ({"missing": "zero", "missing_input": "last", "missing_value": (-9999.0,)}, -9999.0),
    ],
)
def test_gaps_and_times_are_read_as_we_do(tmp_path: Path, window: dict[str, Any], gap: float) -> None:
    checkpoint = save_model(tmp_path / "m", ring(5), past_steps=2, future_steps=1, num_layers=1, **window)
    forecaster = dcrnn_fast.load(checkpoint)
    values_BPNC, times_BP = readings(forecaster, 3, gap=gap)
    wanted = ours(forecaster, values_BPNC, times_BP)
    given = {"readings": values_BPNC, "times": seconds(times_BP)}
    runtime = session(exported(checkpoint, "onnx", "--raw"))
    given = {one.name: given[one.name] for one in runtime.get_inputs()}
    assert far(runtime.run(None, given)[0], wanted) < TOLERANCE
    program = torch.export.load(exported(checkpoint, "pt2", "--raw")).module()
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    assert far(program(**tensors).numpy(), wanted) < TOLERANCE


@pytest.mark.slow
def test_what_is_known_ahead_is_an_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    window = {"channels": ("speed", "rain"), "units": ("", ""), "known_channels": (1,), "calendar_ahead": True}
    steps = {"past_steps": 2, "future_steps": 3, "num_layers": 1}
    checkpoint = save_model(tmp_path / "m", ring(5), missing="nan", **steps, **window)
    forecaster = dcrnn_fast.load(checkpoint)
    form = forecaster.window_format
    values_BPNC, times_BP = readings(forecaster, 2)
    future_BF = times_BP[:, -1:] + np.arange(1, form.future_steps + 1) * form.interval
    known_BFNK = np.random.default_rng(4).normal(50, 15, (2, form.future_steps, 5, 1)).astype(np.float32)
    known_BFNK[0, 0, 2] = known_BFNK[1, 2, 3] = np.nan  # a gap at the first step takes the last reading
    every_BSNC = np.concatenate([values_BPNC, np.zeros((2, form.future_steps, 5, 2), np.float32)], axis=1)
    every_BSNC[:, form.past_steps :, :, 1:] = known_BFNK
    observed_BSNC = ~np.isnan(every_BSNC)
    scaled_BSNC = readable(np.nan_to_num(every_BSNC), observed_BSNC, forecaster.scaler, "last")
    x_BPNC = np.empty((*values_BPNC.shape[:3], form.input_channels), np.float32)
    put_inputs(x_BPNC, scaled_BSNC[:, : form.past_steps], times_BP, form)
    known = np.empty((2, form.future_steps, 5, form.num_known), np.float32)
    put_known(known, scaled_BSNC[:, form.past_steps :, :, 1:], future_BF, form)
    with torch.inference_mode():
        model = forecaster.model
        scaled_BFNO = model(torch.from_numpy(x_BPNC), known_BFNK=torch.from_numpy(known)).numpy()
    runtime = session(exported(checkpoint, "onnx"))
    assert far(runtime.run(None, {"scaled_inputs": x_BPNC, "known": known})[0], scaled_BFNO) < TOLERANCE
    given = {
        "readings": values_BPNC, "times": seconds(times_BP), "known": known_BFNK, "future_times": seconds(future_BF),
    }  # fmt: skip
    pairs = zip(values_BPNC, times_BP, known_BFNK, strict=True)
    wanted = np.stack([forecaster.forecast(one, times=at, known=ahead).values_FNO for one, at, ahead in pairs])
    assert far(wanted, forecaster.scaler.take((0,)).inverse(scaled_BFNO)) < TOLERANCE
    assert far(session(exported(checkpoint, "onnx", "--raw")).run(None, given)[0], wanted) < TOLERANCE
    assert capfd.readouterr().err == ""  # the runtime warns of what nothing reads
    program = torch.export.load(exported(checkpoint, "pt2", "--raw")).module()
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    assert far(program(**tensors).numpy(), wanted) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("recursion", [True, False])
def test_a_large_graph_stays_sparse(tmp_path: Path, recursion: bool) -> None:
    graph = ring(2000)
    checkpoint = save_model(
        tmp_path / "m", graph, past_steps=1, future_steps=1, num_layers=1, hops=3 if recursion else 1
    )
    forecaster = dcrnn_fast.load(checkpoint)
    x_BPNC = np.random.default_rng(0).normal(size=(2, 1, 2000, 2)).astype(np.float32)
    with torch.inference_mode():
        wanted = forecaster.model(torch.from_numpy(x_BPNC)).numpy()
    files = exported(checkpoint, "onnx"), exported(checkpoint, "pt2")
    assert far(session(files[0]).run(None, {"scaled_inputs": x_BPNC})[0], wanted) < TOLERANCE
    assert far(torch.export.load(files[1]).module()(scaled_inputs=torch.from_numpy(x_BPNC)).numpy(), wanted) < TOLERANCE
    assert max(file.stat().st_size for file in files) < 2000 * 2000  # a dense operator is four times that


_ALONE = """
import sys, importlib.abc
class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dcrnn_fast", "_dcrnn_fast_C", "kernels"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import json, numpy, torch
texts = {"description.json": ""}
program = torch.export.load("m/exported0.pt2", extra_files=texts).module()
for batch in (1, 3):
    x = torch.from_numpy(numpy.load(f"x{batch}.npy"))
    numpy.save(f"y{batch}.npy", program(scaled_inputs=x).numpy())
print(json.loads(texts["description.json"])["ids"])
"""


@pytest.mark.slow
def test_a_pt2_needs_no_dcrnn_fast(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "m", ring(5), past_steps=2, future_steps=2, num_layers=1)
    forecaster = dcrnn_fast.load(checkpoint)
    exported(checkpoint, "pt2")
    for batch in (1, 3):
        x_BPNC = np.random.default_rng(batch).normal(size=(batch, 2, 5, 2)).astype(np.float32)
        np.save(tmp_path / f"x{batch}.npy", x_BPNC)
    ran = subprocess.run([sys.executable, "-c", _ALONE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(list(forecaster.ids))
    for batch in (1, 3):
        with torch.inference_mode():
            wanted = forecaster.model(torch.from_numpy(np.load(tmp_path / f"x{batch}.npy"))).numpy()
        assert far(np.load(tmp_path / f"y{batch}.npy"), wanted) < TOLERANCE


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("small") / "m", ring(3), past_steps=1, future_steps=1, num_layers=1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "nothing to write: name a file with --onnx"),
        (["--onnx", "model.pt"], "the file's name must end in .onnx"),
        (["--pt2", "folder.pt2"], "is a folder: name a file"),
        (["--onnx", "file/model.onnx"], "output folder file cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    small: Path, tmp_path: Path, flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("folder.pt2").mkdir()
    Path("file").touch()
    assert export.main([str(small), *flags]) == 2
    said_lines = capsys.readouterr().err.splitlines()
    assert len(said_lines) == 1
    assert said in said_lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.pt2"]


def test_the_checkpoint_is_not_replaced(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = small.with_name("link.pt2")
    link.symlink_to(small)
    before = small.read_bytes()
    assert export.main([str(small), "--pt2", str(link)]) == 2
    assert "which is an input" in capsys.readouterr().err
    assert small.read_bytes() == before
