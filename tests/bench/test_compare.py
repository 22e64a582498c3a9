"""The measurement of a training step: same work for everybody, nothing reported for a wrong result."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import step
from bench.contestants import REFERENCE, Contestant, TrainingStep, largest_errors
from bench.workload import METR_LA_EDGES, METR_LA_NODES, SMALL, metr_la, synthetic_adjacency

TINY = SMALL["tiny"]


@pytest.mark.parametrize("contestant", ["specification", "manual", "manual:bf16"])
@pytest.mark.parametrize("shape", ["tiny", "nothing_divides_a_tile"])
def test_contestants_agree_with_the_reference(shape: str, contestant: str) -> None:
    results = []
    for taking_part in (Contestant.parse(contestant), Contestant(REFERENCE)):
        training_step = TrainingStep(taking_part, SMALL[shape])
        training_step.run()
        results.append(training_step.results())
    errors = largest_errors(*results)
    bounds = Contestant.parse(contestant).bounds
    assert errors[0] <= bounds[0]
    assert errors[1] <= bounds[1]
    assert contestant != "manual:bf16" or errors[0] > 2e-5, "bf16 that is as exact as float32 did not run in bf16"


def test_one_wrong_gradient_is_noticed() -> None:
    training_step = TrainingStep(Contestant(REFERENCE), TINY)
    training_step.run()
    wanted = training_step.results()
    wrong = dict(wanted)
    name = "grad/encoder_model.dcgru_layers.0.gconv_biases_16"
    wrong[name] = wanted[name] * 1.001
    errors = largest_errors(wrong, wanted)
    assert errors[0] == 0
    with pytest.raises(SystemExit, match=r"manual is wrong, so no speed is reported: error of gradients 1\.0e-03"):
        step._require_equal(Contestant("manual"), errors)
    wrong[name] = wanted[name] * torch.nan
    with pytest.raises(SystemExit, match="error of gradients inf"):
        step._require_equal(Contestant("manual"), largest_errors(wrong, wanted))
    wrong.pop(name)
    with pytest.raises(ValueError, match="not the same tensors"):
        largest_errors(wrong, wanted)


def test_what_does_not_fit_in_memory_is_not_started() -> None:
    with pytest.raises(SystemExit, match=r"need about 1269531\.2 GiB"):
        step._require_room(1e9)


def test_work_is_counted_as_published() -> None:
    # 354 GFLOP of matrix products a METR-LA step; layer 0 is (2 or 1)+64 wide, layer 1 is 128.
    assert metr_la(64).gflop == pytest.approx(354, rel=0.01)


def test_synthetic_graph_has_the_size_of_metr_la() -> None:
    adjacency = synthetic_adjacency(METR_LA_NODES, METR_LA_EDGES, seed=0)
    assert np.count_nonzero(adjacency) == METR_LA_EDGES
    assert (np.diag(adjacency) == 1).all()
    assert not np.array_equal(adjacency, adjacency.T)
    assert np.array_equal(adjacency, synthetic_adjacency(METR_LA_NODES, METR_LA_EDGES, seed=0))


def test_real_graph_is_found(real_data: Path) -> None:
    workload = metr_la(2, real_data)
    assert workload.name == "metr_la"
    assert np.count_nonzero(workload.adjacency()) == METR_LA_EDGES


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(SystemExit, match="the dtype is float32 or bf16"):
        step.main(["--quick", "--contestants", "manual:fp8"])


@pytest.mark.slow
def test_quick_measurement_leaves_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step.main(["--quick", "--contestants", "manual", "--json", str(tmp_path / "record.json")]) == 0
    table = capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert {"machine", "versions", "commit", "workload", "rows"} <= record.keys()
    assert record["workload"]["name"] == "tiny"
    assert [row["contestant"] for row in record["rows"]] == ["reference", "manual"]
    wanted = {"contestant", "backend", "dtype", "threads", "seconds_best", "seconds_median", "ratio_to_reference"}
    for row in record["rows"]:
        assert wanted | {"peak_mib"} <= row.keys()
        assert 0 < row["seconds_best"] <= row["seconds_median"]
        assert row["peak_mib"] > 0
        assert row["contestant"] in table
    assert record["rows"][0]["ratio_to_reference"] == 1
