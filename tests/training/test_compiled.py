"""``--compile``: the same training to rounding, checkpoints without a wrapper's names; a failure is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.errors import UserError
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.training.fit import fit
from tests.checkout import ROOT
from tests.training.rank_programs import debug_config

SHORT = (
    *("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20"),
    *("--past-steps", "2", "--future-steps", "2", "--epochs", "2", "--batch-size", "16", "--device", "cpu"),
    *("--known-ahead", "calendar"),
)


def test_what_cannot_be_compiled_is_refused_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = DCRNN.forward

    def breaking(self: DCRNN, x_BPNC: Tensor, *others: Tensor | None) -> Tensor:
        torch._dynamo.graph_break()
        return forward(self, x_BPNC, *others)

    monkeypatch.setattr(DCRNN, "forward", breaking)
    results = tmp_path / "results"
    with pytest.raises(
        UserError, match=r"^--compile: torch cannot compile the model \(.*\): leave --compile out$"
    ) as no:
        fit(debug_config(*SHORT, "--backend", "manual", "--compile", "--results", str(results)))
    assert "\n" not in str(no.value)
    assert not results.exists()


@pytest.mark.slow
def test_without_a_compiler_the_run_is_refused_before_it_has_a_folder(tmp_path: Path) -> None:
    (tmp_path / "no programs").mkdir()
    environment = os.environ | {
        "PATH": str(tmp_path / "no programs"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    environment.pop("CXX", None)
    results = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "dcrnn_fast.train", "--config", "debug", "--epochs", "1", "--threads", "1",
         "--backend", "manual", "--compile", "--results", str(results)],
        cwd=ROOT, env=environment, timeout=500, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dcrnn-fast train: error: --compile: torch cannot compile the model (")
    assert "compiler" in done.stderr
    assert "TORCHDYNAMO" not in done.stderr
    assert not results.exists()


@pytest.mark.parametrize(
    "backend",
    [pytest.param("manual", marks=pytest.mark.slow), pytest.param("specification", marks=pytest.mark.prove)],
)
def test_compiled_and_eager_train_alike(tmp_path: Path, backend: str) -> None:
    flags = (*SHORT, "--backend", backend, "--results")
    eager = fit(debug_config(*flags, str(tmp_path / "eager")))
    # In a process of its own: what torch's compiler imports and starts stays there.
    subprocess.run(
        [sys.executable, "-m", "dcrnn_fast.train", "--config", "debug", "--threads", "1", "--compile",
         *flags, str(tmp_path / "compiled")],
        cwd=ROOT, check=True, timeout=500, capture_output=True,
    )  # fmt: skip
    state = load_checkpoint(tmp_path / "compiled" / "checkpoints" / "latest.pt")
    assert list(state["model"]) == list(eager.model.state_dict())
    for ours, theirs in zip(state["training"]["history"], eager.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert ours["validation_mae"] == pytest.approx(theirs["validation_mae"], rel=1e-5)
    # And goes on without the compiler.
    again = fit(debug_config(*flags, str(tmp_path / "compiled"), "--epochs", "3", "--resume", "auto"))
    assert again.epochs == 3
