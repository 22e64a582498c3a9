"""What a command must not have imported: libraries that other commands, files and formats need cost it seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.cold_start import TRAIN, commands
from tests.evaluation.small_city import make_small_city

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


PUBLIC, OTHERS = (
    "from dcrnn_fast import DCRNN, DCGRUCell, explain, selfcheck",
    "from dcrnn_fast import SensorGraph, load",
)


def _command(words: list[str]) -> str:
    return f"from dcrnn_fast.cli import main; assert main({words!r}) == 0"


_AFTER_EACH = """
import contextlib, json, sys
for name, code, suspects in json.load(sys.stdin):
    with contextlib.redirect_stdout(sys.stderr):
        exec(code, {})
    print(json.dumps([name, sorted(set(sys.modules) & set(suspects))]))
"""


def test_nothing_is_imported_that_is_not_needed(tmp_path: Path) -> None:
    """One fresh process takes one step after the other; after each, nothing is there that all so far can do without."""
    city = make_small_city(tmp_path / "trained").data.series
    rows = slice(-288, None)
    np.savez(
        tmp_path / "readings.npz", data=city.values_TNC[rows], ids=np.array(city.ids), times=city.times_T[rows],
        channels=np.array(city.channels),
    )  # fmt: skip
    words = {
        name: [word.replace("checkpoints/best.pt", "model.pt") for word in words]
        for name, words in commands(tmp_path).items()
    }
    forecasting = NEVER | DRAWING | TRAINING | CITY
    steps = [
        ("the model alone needs torch and the kernels", PUBLIC, forecasting | BASELINES | GRAPH),
        ("other public names draw and read nothing", OTHERS, forecasting | BASELINES),
        ("a forecast", _command(words["forecast"]), forecasting | BASELINES),
        ("an evaluation", _command([*words["evaluate"], "--data", str(tmp_path / "readings.npz")]), NEVER | TRAINING),
        ("a training, without a compiler or reader", _command(["train", *TRAIN, "--results", "again"]), NEVER),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _AFTER_EACH], cwd=tmp_path, check=True, capture_output=True, text=True,
        input=json.dumps([(name, code, sorted(suspects)) for name, code, suspects in steps]),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[name, []] for name, _, _ in steps]
    assert (tmp_path / "forecast.csv").stat().st_size > 0


def test_prepare_takes_no_torch(tmp_path: Path) -> None:
    """The library takes 130 MiB, of which a series of several hundred has no room where a tenth of it is the bound."""
    times_T = np.datetime64("2024-01-01T00", "s") + np.arange(100) * np.timedelta64(3600, "s")
    np.savez(tmp_path / "readings.npz", data=np.arange(1.0, 301.0).reshape(100, 3), times=times_T)
    words = ["prepare", "--data", "readings.npz", "--output", "store"]
    done = subprocess.run(
        [sys.executable, "-c", _AFTER_EACH], cwd=tmp_path, check=True, capture_output=True, text=True,
        input=json.dumps([("prepare", _command(words), [*NEVER, *DRAWING, "torch"])]),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == '["prepare", []]\n'
    assert (tmp_path / "store" / "values.npy").stat().st_size > 300 * 4
