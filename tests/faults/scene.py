"""What the faults happen to: a small series and its graph, a trained model, a store."""

import os
from pathlib import Path

import numpy as np

from tests.faults.forked import Outcome, command

IDS = [f"s{number}" for number in range(6)]
SMALL = (
    *("--hidden-units", "8", "--num-layers", "1", "--epochs", "1", "--threads", "1", "--device", "cpu"),
    *("--max-train-windows", "64", "--max-validation-windows", "32"),
)


def build(folder: Path) -> None:
    """Writes readings.csv and links.csv, trains a model (run/), exports it (port.tar) and prepares a store."""
    import pandas as pd

    random = np.random.default_rng(0)
    values_TN = (50 + 10 * np.sin(np.arange(600) / 40)[:, None] + random.normal(0, 1, (600, 6))).round(3)
    times_T = pd.date_range("2024-01-01", periods=600, freq="5min")
    pd.DataFrame(values_TN, index=times_T.rename("time"), columns=IDS).to_csv(folder / "readings.csv")
    links = [(a, b, round(float(random.uniform(100, 3000)), 1)) for a in IDS for b in IDS if a != b]
    pd.DataFrame(links, columns=["from", "to", "cost"]).to_csv(folder / "links.csv", index=False)
    data = ("--data", "readings.csv", "--graph", "links.csv")
    must(command("train", *data, *SMALL, "--results", "run", "--save-every-epochs", "1", folder=folder))
    must(command("prepare", *data, "--output", "store", folder=folder))
    best = os.path.join("run", "checkpoints", "best.pt")
    must(command("convert", best, "--export", "--output", "port.tar", folder=folder))


def must(outcome: Outcome) -> Outcome:
    """``outcome``, which must be success."""
    assert outcome.code == 0, outcome.err
    return outcome
