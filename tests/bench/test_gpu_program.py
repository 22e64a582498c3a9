"""``bench.gpu`` without a GPU: it says so; and the program itself, small, on the CPU."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from bench import contestants, gpu
from bench.contestants import Contestant

pytestmark = pytest.mark.gpu_kernels


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main([]) == 1
    assert "no CUDA device: GPU rows skipped" in capsys.readouterr().err


def test_the_program_verifies_times_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--rounds", "2", "--json", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert [row["contestant"] for row in found["rows"]] == [
        "reference", "plain", "manual", "plain:bf16", "manual:bf16",
    ]  # fmt: skip
    assert "not of a GPU" in found["device"]
    assert "triton: " in found["left_out"]["triton"]
    assert "not here: cuda" in capsys.readouterr().out


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Contestant, Tensor], Tensor]) -> None:
    """Puts ``fault`` behind the forward of every operator, and the truth out of its way."""
    right = contestants._operator

    def planted(model: Any, terms: Any, x_BPNC: Tensor, contestant: Contestant) -> Tensor:
        return fault(contestant, right(model, terms, x_BPNC, contestant))

    monkeypatch.setattr(contestants, "_operator", planted)
    monkeypatch.setattr(gpu, "TRUTH", Contestant("specification", "float64"))


def run(tmp_path: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    code = gpu.main(["--device", "cpu", "--rounds", "2", "--json", str(tmp_path / "r.json"), *flags])
    return code, json.loads((tmp_path / "r.json").read_text())


def test_a_wrong_contestant_gets_no_speed_and_the_others_do(monkeypatch, tmp_path: Path, capsys) -> None:
    plant(monkeypatch, lambda one, y: y * (1.001 if one == Contestant("manual") else 1))
    code, found = run(tmp_path)
    assert code == 1
    assert [row["contestant"] for row in found["rows"]] == ["reference", "plain", "plain:bf16", "manual:bf16"]
    assert re.fullmatch(r"error of the prediction 1\.\de-03, budget .*", found["wrong"]["manual"])
    assert "WRONG, so no speed: manual: error of the prediction" in capsys.readouterr().out


COMPILER = BackendCompilerFailed("inductor", ValueError("no ptxas"), None)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), COMPILER])
def test_a_contestant_that_raises_is_left_out(error: Exception, monkeypatch, tmp_path: Path) -> None:
    def fault(contestant: Contestant, y: Tensor) -> Tensor:
        if contestant.backend == "manual":
            raise error
        return y

    plant(monkeypatch, fault)
    code, found = run(tmp_path)
    assert code == 1
    assert [row["contestant"] for row in found["rows"]] == ["reference", "plain", "plain:bf16"]
    assert found["left_out"]["manual"].startswith(f"{type(error).__name__}: ")


def test_one_that_raises_later_is_left_out_then(monkeypatch, tmp_path: Path) -> None:
    calls: list[Contestant] = []

    def fault(contestant: Contestant, y: Tensor) -> Tensor:
        calls.append(contestant)
        if contestant == Contestant("manual") and calls.count(contestant) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return y

    plant(monkeypatch, fault)
    code, found = run(tmp_path)
    assert code == 1
    assert found["left_out"]["manual"] == "OutOfMemoryError: CUDA out of memory"
    assert [row["contestant"] for row in found["rows"]] == ["reference", "plain", "plain:bf16", "manual:bf16"]


def test_whose_budget_is_missing_is_left_out(monkeypatch, tmp_path: Path, capsys) -> None:
    """Without the reference nobody in float32 has a budget, nor anybody a ratio; the clean model has its own."""

    def fault(self: Any, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(contestants.ReferenceDCRNN, "forward", fault)
    code, found = run(tmp_path)
    assert code == 0
    assert found["left_out"]["manual"] == "its budget is by the error of reference, which is not here"
    assert {row["ratio_to_reference"] for row in found["rows"]} == {None}
    assert "–" in capsys.readouterr().out


def test_a_replay_is_held_to_its_contestants_budget_and_a_capture_may_fail(monkeypatch) -> None:
    """As on a GPU, where the graph replays what was run."""
    rows = gpu.Rows(gpu.QUICK["metr-la"], "cpu", ["manual"])
    step = gpu.Step(Contestant("manual"), gpu.QUICK["metr-la"])
    monkeypatch.setattr(gpu, "warm_up", lambda run, device: run())
    monkeypatch.setattr(gpu, "capture", lambda run, device: SimpleNamespace(replay=run))
    rows._admit_captured(step)
    assert rows.rows[-1].name == "manual graph"
    forward = step.forward
    monkeypatch.setattr(step, "forward", lambda x: forward(x) * 1.001)
    rows._admit_captured(step)
    assert "error of the prediction 1.0e-03" in rows.wrong["manual graph"]
    assert [row.name for row in rows.rows].count("manual graph") == 1

    def refused(run: object, device: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(gpu, "capture", refused)
    rows._admit_captured(step)
    assert "not permitted" in rows.left_out["manual graph"]


def test_peak_memory_is_what_a_contestant_adds(monkeypatch) -> None:
    kept, peak = 3 * 2**20, 10 * 2**20
    fakes = {
        "synchronize": lambda: None, "reset_peak_memory_stats": lambda: None, "memory_allocated": lambda: kept,
        "max_memory_allocated": lambda: peak,
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    assert gpu._peak_mib(lambda: None, "cuda") - gpu._allocated_mib("cuda") == 7
