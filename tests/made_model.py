"""A folder with everything that the commands read: readings, a graph, a store, a trained model, foreign weights."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dcrnn_fast import convert, evaluate, forecast, graph_command, prepare, train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.interop import save_pytorch_port

IDS = ["a", "b", "c"]
SMALL = ["--hidden-units", "4", "--num-layers", "1", "--epochs", "1", "--past-steps", "3", "--future-steps", "2"]
TRAIN = ["--data", "data.csv", "--graph", "graph.csv", *SMALL, "--threads", "1"]
MODEL = "r/checkpoints/best.pt"
CONVERT = ["port.tar", "--graph", "graph.csv", "--mean", "1", "--std", "1"]
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str], list[str]]] = {
    "forecast.csv": (forecast.main, [MODEL, "-o"], ["--leave-out", "c"]),
    "forecast.parquet": (forecast.main, [MODEL, "-o"], ["--leave-out", "c"]),
    "forecast.nc": (forecast.main, [MODEL, "-o"], ["--leave-out", "c"]),
    "report": (evaluate.main, [MODEL, "-o"], ["--split", "validation"]),
    "store": (prepare.main, ["--data", "data.csv", "--output"], ["--leave-out", "c"]),
    "model.pt": (convert.main, [*CONVERT, "-o"], ["--units", "m"]),
    "links.csv": (graph_command.main, ["--graph", "graph.csv", "-o"], ["--graph-format", "edges"]),
    "port.tar": (convert.main, ["model.pt", "--export", "-o"], []),
}
"""an output's name -> the command, its flags before the output, and some that change it"""


def make_model(folder: Path) -> Path:
    """data.csv, graph.csv, c.txt (a sensor), store, r (a run), model.pt (its best) and port.tar."""
    with contextlib.chdir(folder):
        times = pd.date_range("2024-01-01", periods=60, freq="h", name="time")
        level = 20 + np.random.default_rng(0).uniform(-9, 9, (60, 3)).round(2)
        pd.DataFrame(level, index=times, columns=IDS).to_csv("data.csv")
        pairs = [(a, b, 100.0 + 10 * len(a + b)) for a in IDS for b in IDS]
        pd.DataFrame(pairs, columns=["from", "to", "weight"]).to_csv("graph.csv", index=False)
        Path("c.txt").write_text("c\n")
        assert train.main([*TRAIN, "--results", "r"]) == 0
        assert prepare.main(["--data", "data.csv", "--graph", "graph.csv", "--output", "store"]) == 0
        shutil.copy(MODEL, "model.pt")
        save_pytorch_port(Path("port.tar"), load_checkpoint(MODEL)["model"], {"rnn_units": 4}, 1)
    return folder
