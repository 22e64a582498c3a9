"""``bench.gpu`` without a GPU: it says so; and the program itself, small, on the CPU."""

import json
from pathlib import Path

import pytest

from bench import gpu


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


def test_a_wrong_contestant_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import contestants

    right = contestants._operator

    def wrong(model, terms, x_BPNC, contestant):
        return right(model, terms, x_BPNC, contestant) * (1.001 if contestant.backend == "manual" else 1)

    monkeypatch.setattr(contestants, "_operator", wrong)
    monkeypatch.setattr(gpu, "TRUTH", contestants.Contestant("specification", "float64"))
    with pytest.raises(SystemExit, match="manual is wrong, so no speed is reported"):
        gpu.main(["--device", "cpu", "--rounds", "1"])
