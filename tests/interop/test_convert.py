"""``dcrnn-fast convert``: foreign weights become a checkpoint that forecasts what they forecast, and come back."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dcrnn_fast
from bench.reference import ReferenceDCRNN, sparse_support
from dcrnn_fast import convert, evaluate
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.plain import from_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.interop import export_pytorch_port, import_state
from dcrnn_fast.model import DCRNN
from dcrnn_fast.model.build import build_model
from tests.checkout import GOLDEN
from tests.golden.supports import build_reference_supports
from tests.golden.vectors import GoldenCase, read_golden
from tests.models import predict, relative_error


class Files:
    """A golden case as its owner would have it: the port's .tar and an adjacency matrix."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.case: GoldenCase = read_golden(GOLDEN / f"{name}.npz")
        np.save(folder / "adjacency.npy", self.case.arrays["adjacency"])
        self.tar(self.case.config)

    def tar(self, settings: dict[str, Any]) -> None:
        nodes = {"num_nodes": len(self.case.arrays["adjacency"])}
        content = {"model": {**settings, **nodes}, "model_state_dict": self.case.state, "epoch": 9}
        torch.save(content, self.folder / "epo9.tar")

    def convert(self, *flags: str, weights: str = "epo9.tar") -> int:
        graph = ["--graph", str(self.folder / "adjacency.npy")]
        output = ["-o", str(self.folder / "model.pt")]
        return convert.main([str(self.folder / weights), *graph, *output, *flags])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, "dual_k2_l2")


def model_of(state: dict[str, Any]) -> DCRNN:
    """What any reader of a checkpoint does."""
    form = WindowFormat.from_state(state["window_format"])
    model = build_model(
        from_dict(Config, state["config"]),
        SensorGraph.from_state(state["graph"]),
        input_channels=form.input_channels,
        output_channels=form.output_channels,
    )
    model.load_state_dict(state["model"])
    return model


@pytest.mark.parametrize("name", [path.stem for path in sorted(GOLDEN.glob("*.npz"))])
def test_converted_checkpoint_forecasts_what_the_port_forecast(tmp_path: Path, name: str) -> None:
    files = Files(tmp_path, name)
    values = files.case.config["input_dim"] - (files.case.config["input_dim"] > files.case.config["output_dim"])
    scaler = ["--mean", *["54.4"] * values, "--std", *["19.5"] * values]
    assert files.convert("--edge-order", files.case.config["edge_order"], *scaler) == 0
    state = load_checkpoint(tmp_path / "model.pt")
    got = predict(model_of(state), files.case.tensor("x"))
    assert relative_error(got, files.case.tensor("prediction_eval_scaled")) <= 2e-5


def test_the_edge_order_makes_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = Files(tmp_path, "edge_order_pytorch_port_k2_l2")
    assert files.convert("--mean", "54", "--std", "19") == 0
    assert "--edge-order pytorch_port" in capsys.readouterr().out
    got = predict(model_of(load_checkpoint(tmp_path / "model.pt")), files.case.tensor("x"))
    assert relative_error(got, files.case.tensor("prediction_eval_scaled")) > 1e-3


def test_checkpoint_says_what_the_file_and_the_flags_say(files: Files) -> None:
    flags = ["--mean", "54.4", "--std", "19.5", "--channels", "speed", "--units", "mph", "--freq", "300s"]
    assert files.convert(*flags, "--backend", "specification") == 0
    state = load_checkpoint(files.folder / "model.pt")
    form = WindowFormat.from_state(state["window_format"])
    config = from_dict(Config, state["config"])
    assert (form.past_steps, form.future_steps, form.freq) == (4, 3, "5min")
    assert (form.channels, form.units, form.target_channels) == (("speed",), ("mph",), (0,))
    assert (form.time_of_day, form.day_of_week, form.missing) == (True, False, "zero")
    assert Scaler.from_state(state["scaler"]) == Scaler((54.4,), (19.5,))
    assert (config.data.past_steps, config.data.future_steps, config.data.freq) == (4, 3, "5min")
    assert (config.graph.supports, config.graph.hops, config.graph.orientation) == ("dual_random_walk", 2, "released")
    assert (config.model.hidden_units, config.model.num_layers, config.model.backend) == (8, 2, "specification")
    assert SensorGraph.from_state(state["graph"]).ids == tuple(map(str, range(9)))
    assert state["training"] is None


def test_loaded_checkpoint_forecasts_in_original_units_what_the_reference_does(tmp_path: Path) -> None:
    files = Files(tmp_path, "edge_order_pytorch_port_k2_l2")
    assert files.convert("--mean", "54.4", "--std", "19.5", "--edge-order", "pytorch_port") == 0
    readings_PN = np.random.default_rng(0).uniform(20, 70, (4, 9)).astype(np.float32)
    times_P = np.datetime64("2012-03-01T07:10") + np.arange(4) * np.timedelta64(5, "m")
    forecast = dcrnn_fast.load(tmp_path / "model.pt").forecast(readings_PN, times=times_P)
    day_PN = np.broadcast_to(((430 + 5 * np.arange(4)) / 1440)[:, None], (4, 9))
    x_PBNC = torch.from_numpy(np.stack([(readings_PN - 54.4) / 19.5, day_PN], axis=-1)[:, None].astype(np.float32))
    with torch.no_grad():
        wanted_FNO = files.case.reference()(x_PBNC)[:, 0] * 19.5 + 54.4
    assert relative_error(torch.from_numpy(forecast.values_FNO), wanted_FNO) <= 2e-5
    assert forecast.times_F[0] == np.datetime64("2012-03-01T07:30")


def test_converted_checkpoint_without_data_asks_for_it(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.convert("--mean", "54", "--std", "19") == 0
    assert evaluate.main([str(files.folder / "model.pt"), "-o", str(files.folder / "report")]) == 2
    assert "no data given: name a file, a folder or a known data set with --data" in capsys.readouterr().err


def test_scaler_and_names_from_the_data(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    values_TN = np.random.default_rng(0).uniform(20, 70, (100, 9)).round(1)
    header = ",".join(f"s{i}" for i in range(9))
    np.savetxt(files.folder / "speed.csv", values_TN, delimiter=",", header=header, comments="")
    data = ["--data", str(files.folder / "speed.csv"), "--start", "2012-03-01", "--freq", "5min"]
    assert files.convert(*data, "--match", "position") == 0, capsys.readouterr().err
    state = load_checkpoint(files.folder / "model.pt")
    # 4 + 3 steps: 94 windows, the first 66 for training; a reading counts once for each window that reads it.
    windows = np.stack([values_TN[start : start + 4] for start in range(66)]).astype(np.float32)
    scaler = Scaler.from_state(state["scaler"])
    assert scaler.mean[0] == pytest.approx(windows.astype(np.float64).mean(), rel=1e-7)
    assert scaler.std[0] == pytest.approx(windows.astype(np.float64).std(), rel=1e-7)
    assert SensorGraph.from_state(state["graph"]).ids[0] == "s0"
    assert state["config"]["data"]["data"].endswith("speed.csv")


def test_largest_reads_untransposed_supports_and_the_weekday_as_a_number(tmp_path: Path) -> None:
    files = Files(tmp_path, "dual_k1_l2")
    state = import_state(files.case.state).state
    # One output channel, so that the two input channels beyond it are time of day and day of week.
    state["projection.weight"] = state["projection.weight"][:1].clone()
    state["projection.bias"] = state["projection.bias"][:1].clone()
    for name in ("decoder.0.gate_weight", "decoder.0.candidate_weight"):
        state[name] = state[name][3:].clone()
    theirs = {}
    for name, tensor in state.items():
        if name.startswith("projection"):
            theirs[name.replace("projection", "decoder.decoding_cells.1.project")] = tensor
        else:
            side, layer, part = name.replace("_bias", ".biases").replace("_weight", ".weight").split(".", 2)
            theirs[f"{side}.{side[:2]}coding_cells.{layer}.dconv_{part}"] = tensor
    torch.save(theirs, tmp_path / "largest.pt")
    scaler = ["--mean", "200", "--std", "150", "--past-steps", "3", "--future-steps", "2"]
    assert files.convert(*scaler, weights="largest.pt") == 0
    converted = load_checkpoint(tmp_path / "model.pt")
    assert converted["config"]["graph"]["orientation"] == "paper"
    form = WindowFormat.from_state(converted["window_format"])
    assert (form.channels, form.time_of_day, form.day_of_week, form.input_channels) == (("value",), True, True, 9)
    supports = build_reference_supports(files.case.arrays["adjacency"], "dual_random_walk")
    theirs_again = ReferenceDCRNN(
        [sparse_support(support.T) for support in supports],
        num_nodes=7,
        input_channels=3,
        output_channels=1,
        future_steps=2,
        hidden_units=6,
        num_layers=2,
        hops=1,
    )
    theirs_again.load_state_dict(export_pytorch_port(state))
    weekday_PBN = torch.randint(0, 7, (3, 2, 7))
    x_PBNC = torch.randn(3, 2, 7, 2)
    one_hot = torch.cat([x_PBNC, torch.nn.functional.one_hot(weekday_PBN, 7)], dim=-1)
    with torch.no_grad():
        wanted = theirs_again(torch.cat([x_PBNC, weekday_PBN[..., None] / 7], dim=-1))
    assert relative_error(predict(model_of(converted), one_hot), wanted) <= 2e-5


def test_there_and_back_is_bit_exact(files: Files) -> None:
    assert files.convert("--mean", "54", "--std", "19") == 0
    assert convert.main([str(files.folder / "model.pt"), "--export", "-o", str(files.folder / "back.tar")]) == 0
    back = torch.load(files.folder / "back.tar", weights_only=True)
    assert back["model_state_dict"].keys() == files.case.state.keys()
    for name, tensor in files.case.state.items():
        assert torch.equal(back["model_state_dict"][name], tensor), name
    same = ("filter_type", "max_diffusion_step", "num_rnn_layers", "input_dim", "output_dim", "rnn_units", "horizon")
    assert {name: back["model"][name] for name in same} == {name: files.case.config[name] for name in same}
    assert files.convert("--mean", "54", "--std", "19", weights="back.tar") == 0


def test_the_best_checkpoint_of_a_folder_goes_back_to_the_port(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.convert(*SCALER) == 0
    state = load_checkpoint(files.folder / "model.pt")
    other = state | {"model": {name: weight + 1 for name, weight in state["model"].items()}}
    (files.folder / "run" / "checkpoints").mkdir(parents=True)
    save_checkpoint(files.folder / "run" / "checkpoints", other, "latest.pt")
    best = save_checkpoint(files.folder / "run" / "checkpoints", state, "best.pt")
    capsys.readouterr()
    assert convert.main([str(files.folder / "run"), "--export", "-o", str(files.folder / "back.tar")]) == 0
    assert f"using {best}: " in capsys.readouterr().out
    assert convert.main([str(files.folder / "model.pt"), "--export", "-o", str(files.folder / "same.tar")]) == 0
    assert (files.folder / "back.tar").read_bytes() == (files.folder / "same.tar").read_bytes()


def test_a_model_that_the_port_cannot_compute_is_not_exported(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.convert("--mean", "54", "--std", "19", "--recursion", "chebyshev") == 0
    assert convert.main([str(files.folder / "model.pt"), "--export", "-o", str(files.folder / "back.tar")]) == 2
    assert "the port has no recursion 'chebyshev'" in capsys.readouterr().err
    assert not (files.folder / "back.tar").exists()


SCALER = ("--mean", "54", "--std", "19")
MISTAKES = {
    "no_scaler": ((), "do not carry their scaler: give --mean and --std, or --data"),
    "two_means": (("--mean", "1", "2", "--std", "1", "2"), "each of 1 value channel(s), got 2 and 2"),
    "negative_std": (("--mean", "1", "--std", "-1"), "--std must be positive, got -1"),
    "terms": ((*SCALER, "--hops", "3"), "have 5 diffusion terms, --supports dual_random_walk --hops 3 gives 7"),
    "supports": ((*SCALER, "--supports", "random_walk"), "filter_type dual_random_walk, --supports says random_walk"),
    "days": ((*SCALER, "--day-of-week"), "0 would be left for readings"),
    "names": ((*SCALER, "--channels", "a", "b"), "read 1 value channel(s), --channels names a b"),
    "targets": ((*SCALER, "--targets", "flow"), "no channel 'flow'; the channels are value"),
    "units": ((*SCALER, "--units", "a", "b"), "--units needs one for each of 1"),
    "graph": ((*SCALER, "--graph", "absent.npy"), "absent.npy"),
    "edge_order": ((*SCALER, "--edge-order", "pytorch_port", "--orientation", "paper"), "needs orientation released"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(
    files: Files, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, says = MISTAKES[mistake]
    assert files.convert(*flags) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("dcrnn-fast convert: error: ")
    assert said.count("\n") == 1
    assert not (files.folder / "model.pt").exists()


@pytest.mark.parametrize("link", ["itself", "hard", "soft"])
@pytest.mark.parametrize("name", ["epo9.tar", "model.pt"])
def test_the_file_that_is_read_is_not_overwritten(
    files: Files, name: str, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.convert(*SCALER) == 0
    source = output = files.folder / name
    if link != "itself":
        output = files.folder / link
        (output.hardlink_to if link == "hard" else output.symlink_to)(source)
    before = source.read_bytes()
    ways = ["--export"] if name == "model.pt" else ["--graph", str(files.folder / "adjacency.npy"), *SCALER]
    assert convert.main([str(source), "-o", str(output), *ways]) == 2
    assert f"{output} would replace" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_checkpoints_of_a_run_are_not_overwritten(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.convert(*SCALER) == 0
    assert files.convert(*SCALER) == 0, "a converted one may be made again"
    state = load_checkpoint(files.folder / "model.pt") | {
        "training": {"step": 1, "epoch": 1, "position": 0, "history": []}
    }
    latest = save_checkpoint(files.folder, state, "latest.pt")
    before = latest.read_bytes()
    (files.folder / "alone").mkdir()
    unlisted = shutil.copy(latest, files.folder / "alone" / "model.pt")
    foreign = [str(files.folder / "epo9.tar"), "--graph", str(files.folder / "adjacency.npy"), *SCALER]
    for argv in (foreign, [str(files.folder / "model.pt"), "--export"]):
        assert convert.main([*argv, "-o", str(latest)]) == 2
        assert "which would be lost: name another file" in capsys.readouterr().err
        assert latest.read_bytes() == before
    assert convert.main([*foreign, "-o", str(unlisted)]) == 2
    assert unlisted.read_bytes() == before
    unlisted.write_bytes(before[:100])
    assert convert.main([*foreign, "-o", str(unlisted)]) == 0, "a damaged one is replaced"


def test_another_graph_is_refused(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(files.folder / "adjacency.npy", np.eye(5))
    assert files.convert(*SCALER) == 2
    assert "trained on 9 nodes, the graph has 5" in capsys.readouterr().err


def test_a_pickle_that_would_run_code_is_one_line(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model_state_dict": files.case.state, "hook": print}, files.folder / "epo9.tar")
    assert files.convert(*SCALER) == 2
    said = capsys.readouterr().err
    assert "the pickle would run" in said
    assert said.count("\n") == 1
