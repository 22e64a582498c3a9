"""Imported weights compute what their model computed, whatever it called them; misfits are one line."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.interop import (
    ImportedWeights,
    export_pytorch_port,
    import_state,
    read_weights,
    save_pytorch_port,
    with_one_hot_days,
)
from dcrnn_fast.model import DCRNN
from tests.checkout import GOLDEN
from tests.golden.supports import build_reference_supports
from tests.golden.vectors import GoldenCase, read_golden
from tests.models import predict, relative_error

FILES = sorted(GOLDEN.glob("*.npz"))
NAMES_BY_PART = {
    "libcity": {"gate": "_fn", "candidate": "_gconv"},
    "largest": {"gate": "dconv_gate", "candidate": "dconv_candidate"},
    "tensorflow": {"gate": "gates", "candidate": "candidate"},
}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> GoldenCase:
    return read_golden(request.param)


@pytest.fixture
def two_layers() -> GoldenCase:
    return read_golden(GOLDEN / "dual_k2_l2.npz")


def build(weights: ImportedWeights, case: GoldenCase, **other: Any) -> DCRNN:
    graph = SensorGraph(case.arrays["adjacency"], tuple(map(str, range(len(case.arrays["adjacency"])))))
    ways: dict[str, Any] = {"supports": case.config["filter_type"], "edge_order": case.config["edge_order"], **other}
    hops = case.config["max_diffusion_step"]
    return weights.build(graph, GraphConfig(hops=hops, **ways), future_steps=case.config["horizon"])


def renamed(state: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """dcrnn_fast's names turned into another layout's, as its published source builds them."""
    num_layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("encoder."))
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("projection."):
            kind = name.removeprefix("projection.")
            if layout == "libcity":
                theirs[f"decoder_model.projection_layer.{kind}"] = tensor
            elif layout == "largest":
                theirs[f"decoder.decoding_cells.{num_layers - 1}.project.{kind}"] = tensor
            elif kind == "weight":
                cell = f"DCRNN/DCRNN_SEQ/rnn_decoder/multi_rnn_cell/cell_{num_layers - 1}/dcgru_cell"
                theirs[f"{cell}/projection/w"] = tensor.T
            continue
        side, layer, what = name.split(".")
        part, kind = what.split("_")
        named = NAMES_BY_PART[layout][part]
        if layout == "tensorflow":
            scope = {"encoder": "rnn", "decoder": "rnn_decoder"}[side]
            kind = {"weight": "weights", "bias": "biases"}[kind]
            theirs[f"DCRNN/DCRNN_SEQ/{scope}/multi_rnn_cell/cell_{layer}/dcgru_cell/{named}/{kind}"] = tensor
        else:
            kind = {"weight": "weight", "bias": "biases"}[kind]
            stack = {"encoder": "encoding_cells", "decoder": "decoding_cells"}[side]
            cell = f"{side}_model.dcgru_layers" if layout == "libcity" else f"{side}.{stack}"
            theirs[f"{cell}.{layer}.{named}.{kind}"] = tensor
    return theirs


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_shapes_tell_the_architecture(case: GoldenCase) -> None:
    weights = import_state(case.state)
    config = case.config
    num_supports = len(case.supports)
    assert weights.layout == "pytorch_port"
    assert weights.hidden_units == config["rnn_units"]
    assert weights.num_layers == config["num_rnn_layers"]
    assert weights.input_channels == config["input_dim"]
    assert weights.output_channels == config["output_dim"]
    assert weights.hops(num_supports) == config["max_diffusion_step"]


def test_imported_model_predicts_what_the_original_predicted(case: GoldenCase) -> None:
    model = build(import_state(case.state), case)
    assert relative_error(predict(model, case.tensor("x")), case.tensor("prediction_eval_scaled")) <= 2e-5


@pytest.mark.parametrize("edge_order", ["correct", "pytorch_port"])
def test_imported_model_agrees_with_the_reference_on_either_edge_order(two_layers: GoldenCase, edge_order: str) -> None:
    supports = build_reference_supports(two_layers.arrays["adjacency"], "dual_random_walk", edge_order)
    x_PBNC = torch.randn(6, 3, 9, 2)
    with torch.no_grad():
        wanted = two_layers.reference(supports)(x_PBNC)
    weights = import_state(two_layers.state)
    same = build(weights, two_layers, edge_order=edge_order)
    assert relative_error(predict(same, x_PBNC), wanted) <= 2e-5
    other_order = "correct" if edge_order == "pytorch_port" else "pytorch_port"
    other = build(weights, two_layers, edge_order=other_order)
    assert relative_error(predict(other, x_PBNC), wanted) > 1e-3


@pytest.mark.parametrize("layout", ["libcity", "largest", "tensorflow"])
def test_other_layouts_carry_the_same_function(case: GoldenCase, layout: str) -> None:
    ours = import_state(case.state)
    weights = import_state(renamed(ours.state, layout))
    assert weights.layout == layout
    if layout == "tensorflow":
        assert torch.equal(weights.state["projection.bias"], torch.zeros(ours.output_channels))
        ours.state["projection.bias"].zero_()
    assert weights.state.keys() == ours.state.keys()
    for name, tensor in ours.state.items():
        assert torch.equal(weights.state[name], tensor), name


def test_export_gives_the_port_its_weights_back_bit_for_bit(case: GoldenCase, tmp_path: Path) -> None:
    weights = import_state(case.state)
    exported = export_pytorch_port(weights.state)
    assert sorted(exported) == sorted(case.state)
    save_pytorch_port(tmp_path / "epo0.tar", weights.state, {"rnn_units": weights.hidden_units}, epoch=0)
    again = torch.load(tmp_path / "epo0.tar", weights_only=True)
    assert again["epoch"] == 0
    for name, tensor in case.state.items():
        assert torch.equal(exported[name], tensor), name
        assert torch.equal(again["model_state_dict"][name], tensor), name


def tar(case: GoldenCase) -> object:
    settings = {"filter_type": "dual_random_walk", "max_diffusion_step": 2, "seq_len": 4, "horizon": 3}
    return {
        "log_level": "INFO",
        "model": settings,
        "train": {"steps": [20, 30]},
        "model_state_dict": case.state,
        "epoch": 7,
    }


FORMS: dict[str, Callable[[GoldenCase], object]] = {
    "tar": tar,
    "bare": lambda case: case.state,
    "data_parallel": lambda case: {f"module.{name}": tensor for name, tensor in case.state.items()},
    "with_optimizer": lambda case: (case.state, {"state": {}, "param_groups": [{"lr": 0.01}]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_files_that_torch_wrote(two_layers: GoldenCase, tmp_path: Path, form: str) -> None:
    weights = read_weights(saved(tmp_path / "weights.tar", FORMS[form](two_layers)))
    assert torch.equal(
        export_pytorch_port(weights.state)["decoder_model.projection_layer.weight"],
        two_layers.state["decoder_model.projection_layer.weight"],
    )
    assert weights.settings == (tar(two_layers)["model"] if form == "tar" else {})  # type: ignore[index]


def test_old_files_of_torch_are_read(two_layers: GoldenCase, tmp_path: Path) -> None:
    torch.save(tar(two_layers), tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "old.tar").settings["seq_len"] == 4


def test_npz_of_tensorflow_variables_leaves_the_optimiser_out(two_layers: GoldenCase, tmp_path: Path) -> None:
    variables = renamed(import_state(two_layers.state).state, "tensorflow")
    arrays = {name: tensor.numpy() for name, tensor in variables.items()}
    arrays |= {f"{name}/Adam": array for name, array in arrays.items()}
    arrays |= {f"{name}/Adam_1": array for name, array in arrays.items() if not name.endswith("Adam")}
    arrays |= {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.99), "global_step": np.int64(24375)}
    np.savez(tmp_path / "tf.npz", **arrays)
    weights = read_weights(tmp_path / "tf.npz")
    assert (weights.layout, weights.num_layers, weights.num_terms) == ("tensorflow", 2, 5)


def test_weekday_number_becomes_seven_channels_of_the_same_function() -> None:
    case = read_golden(GOLDEN / "dual_k1_l2.npz")
    weights = import_state(case.state)
    x_PBNC = case.tensor("x").clone()
    weekday_PBN = torch.randint(0, 7, x_PBNC.shape[:3])
    x_PBNC[..., 2] = weekday_PBN / 7
    one_hot = torch.cat([x_PBNC[..., :2], torch.nn.functional.one_hot(weekday_PBN, 7)], dim=-1)
    expanded = with_one_hot_days(weights)
    assert expanded.input_channels == 9
    wanted = predict(build(weights, case), x_PBNC)
    assert relative_error(predict(build(expanded, case), one_hot), wanted) <= 2e-6


def broken(case: GoldenCase, change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = dict(case.state)
    change(state)
    return state


FIRST = "encoder_model.dcgru_layers.0.gconv_weight_(50, 16)"
MISTAKES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "unknown": (lambda state: state.update({"attention.weight": torch.zeros(3)}), "do not belong: 'attention.weight'"),
    "missing": (lambda state: state.pop(FIRST), "1 of 18 parameters are missing, the first is encoder.0.gate_weight"),
    "shape": (lambda state: state.update({FIRST: torch.zeros(49, 16)}), r"gate_weight must be \(50, 16\), got \(49"),
    "nan": (lambda state: state[FIRST].fill_(float("nan")), "encoder.0.gate_weight holds NaN"),
    "no_projection": (lambda state: state.pop("decoder_model.projection_layer.weight"), "projection .* is missing"),
    "no_names": (lambda state: [state.pop(name) for name in list(state)], "no known DCRNN, but no tensor at all"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_state_that_does_not_fit_is_told_by_name(two_layers: GoldenCase, mistake: str) -> None:
    change, says = MISTAKES[mistake]
    with pytest.raises(UserError, match=says):
        import_state(broken(two_layers, change))


def test_gates_without_graph_convolution_are_refused() -> None:
    state = {"encoder_model.dcgru_layers.0.fc_weight_(66, 128)": torch.zeros(66, 128)}
    with pytest.raises(UserError, match=r"no known DCRNN, but 'encoder_model\.dcgru_layers\.0\.fc_weight"):
        import_state(state)


def test_a_graph_with_another_number_of_terms_is_refused(two_layers: GoldenCase) -> None:
    weights = import_state(two_layers.state)
    with pytest.raises(UserError, match="have 5 diffusion terms, --supports random_walk --hops 2 gives 3"):
        build(weights, two_layers, supports="random_walk")
    with pytest.raises(UserError, match="5 diffusion terms, which 3 supports cannot give"):
        weights.hops(3)


class _Runs:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


@pytest.mark.filterwarnings("error")
def test_a_pickle_that_torch_did_not_write_is_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(pickle.dumps([["a"], np.zeros(3)], protocol=4))
    with pytest.raises(UserError, match="no file of torch"):
        read_weights(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_would_run_code_runs_nothing(two_layers: GoldenCase, tmp_path: Path, new_format: bool) -> None:
    proof = tmp_path / "it_ran"
    content = {"model_state_dict": two_layers.state, "epoch": _Runs(proof)}
    torch.save(content, tmp_path / "evil.tar", _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError, match="the pickle would run"):
        read_weights(tmp_path / "evil.tar")
    assert not proof.exists()
    pickle.loads(pickle.dumps(_Runs(proof)))
    assert proof.exists(), "the trap itself must work"


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", weights=np.array([_Runs(tmp_path / "it_ran")], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "evil.npz")
    assert not (tmp_path / "it_ran").exists()


def test_truncated_files_are_one_line(two_layers: GoldenCase, tmp_path: Path) -> None:
    for new_format in (True, False):
        buffer = io.BytesIO()
        torch.save(tar(two_layers), buffer, _use_new_zipfile_serialization=new_format)
        payload = buffer.getvalue()
        path = tmp_path / "cut.tar"
        for length in [0, 1, 7, 100, *range(1000, len(payload), 4999), len(payload) - 1]:
            path.write_bytes(payload[:length])
            with pytest.raises(UserError, match=r"weights .*cut\.tar"):
                read_weights(path)


def test_files_that_are_something_else(two_layers: GoldenCase, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text(json.dumps({"lr": 0.01}))
    with pytest.raises(UserError, match=r"text\.tar are no file of torch\.save"):
        read_weights(tmp_path / "text.tar")
    (tmp_path / "series.csv").write_text("time,a\n2024-01-01,1\n")  # torch's reader pops from an empty list
    with pytest.raises(UserError, match=r"series\.csv are .*; they begin b'time,a.*: give a state dict"):
        read_weights(tmp_path / "series.csv")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_weights(tmp_path / "absent.tar")
    with pytest.raises(UserError, match=r"'epoch' is of type int, not a tensor; save model\.state_dict\(\)"):
        read_weights(saved(tmp_path / "loose.tar", {**two_layers.state, "epoch": 3}))
    with pytest.raises(UserError, match="holds no state dict but an object of type Tensor"):
        read_weights(saved(tmp_path / "tensor.tar", torch.zeros(3)))
    with pytest.raises(UserError, match="is a checkpoint of dcrnn_fast already"):
        read_weights(saved(tmp_path / "ours.pt", {"window_format": {}, "scaler": {}}))


def test_imported_tensors_are_copies(two_layers: GoldenCase) -> None:
    state = two_layers.state
    weights: ImportedWeights = import_state(state)
    weights.state["encoder.0.gate_weight"].zero_()
    assert bool(state[FIRST].abs().sum() > 0)
