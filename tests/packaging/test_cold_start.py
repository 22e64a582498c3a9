"""What a command must not have imported: libraries that other commands, files and formats need cost it seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cold_start import TRAIN, WRITE_READINGS, commands

ROOT = Path(__file__).resolve().parents[2]
NEVER = {
    *("torch._dynamo", "torch._inductor", "torch.onnx", "triton", "sympy", "networkx"),
    *("pandas", "pyarrow", "xarray", "h5py", "h5netcdf", "scipy.io", "scipy.spatial"),
    *("requests", "pooch", "urllib3", "IPython"),
}
"""by a command that trains on the built-in city, or reads .npz and writes .csv"""
DRAWING = {"matplotlib", "PIL", "fontTools"}
TRAINING = {"rich", "dcrnn_fast.training.fit"}
BASELINES = {"scipy.linalg", "scipy.special"}
CITY = {"dcrnn_fast.data.city", "scipy.sparse.csgraph"}
GRAPH = {"scipy", "dcrnn_fast.graph", "dcrnn_fast.config", "dcrnn_fast.data", "tyro", "yaml"}


def _imported(code: str, suspects: set[str], folder: Path) -> list[str]:
    """Which of the modules a fresh process that runs the code in ``folder`` has imported at its end."""
    code += f"\nimport json, sys\nprint(json.dumps(sorted(set(sys.modules) & {suspects!r})))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def _command(words: list[str]) -> str:
    return f"from dcrnn_fast.cli import main\nassert main({words!r}) == 0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a small model and readings, and what training it has imported."""
    folder = tmp_path_factory.mktemp("cold")
    found = _imported(_command(["train", *TRAIN, "--results", str(folder / "trained")]), NEVER, folder)
    _imported(WRITE_READINGS, set(), folder)
    return folder, found


def test_training_imports_no_compiler_and_no_reader(trained: tuple[Path, list[str]]) -> None:
    assert trained[1] == []


def test_forecast_imports_what_it_needs(trained: tuple[Path, list[str]]) -> None:
    folder, _ = trained
    suspects = NEVER | DRAWING | TRAINING | BASELINES | CITY
    assert _imported(_command(commands(folder)["forecast"]), suspects, folder) == []
    assert (folder / "forecast.csv").stat().st_size > 0


def test_evaluation_of_a_file_imports_what_it_needs(trained: tuple[Path, list[str]]) -> None:
    folder, _ = trained
    words = [*commands(folder)["evaluate"], "--data", str(folder / "readings.npz")]
    assert _imported(_command(words), NEVER | TRAINING, folder) == []


def test_the_model_alone_needs_torch_and_the_kernels(tmp_path: Path) -> None:
    suspects = NEVER | DRAWING | TRAINING | BASELINES | CITY | GRAPH
    assert _imported("from dcrnn_fast import DCRNN, DCGRUCell, explain, selfcheck", suspects, tmp_path) == []


def test_other_public_names_draw_and_read_nothing(tmp_path: Path) -> None:
    suspects = NEVER | DRAWING | TRAINING | CITY
    assert _imported("from dcrnn_fast import SensorGraph, load", suspects, tmp_path) == []
