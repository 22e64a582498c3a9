"""Whether two runs are the same, bit for bit: weights, optimiser, metrics; all but what was measured in seconds."""

import csv
import json
from pathlib import Path

import torch

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.records.events import TIMING_COLUMNS


def metrics(results: Path) -> list[dict[str, str]]:
    with open(results / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in TIMING_COLUMNS} for row in rows]


def differing(a: object, b: object, where: str = "") -> list[str]:
    """Paths at which two states are not the same bits."""
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [where]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [where]
        return [found for key in a for found in differing(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [where]
        return [found for i in range(len(a)) for found in differing(a[i], b[i], f"{where}/{i}")]
    return [] if a == b and type(a) is type(b) else [where]


def without_times(state: dict) -> dict:
    training = dict(state["training"])
    training.pop("train_seconds")
    training["history"] = [
        {name: value for name, value in row.items() if name not in TIMING_COLUMNS} for row in training["history"]
    ]
    training_config = {**state["config"]["training"], "num_workers": 0}
    config = {**state["config"], "output": None, "training": training_config}
    return {**state, "config": config, "training": training}


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    for name in ("latest.pt", "best.pt"):
        states = [without_times(load_checkpoint(results / "checkpoints" / name)) for results in (one, other)]
        assert differing(*states) == []


def events_of(results: Path) -> list[dict]:
    """The lines of events.jsonl."""
    return [json.loads(line) for line in (results / "events.jsonl").read_text().splitlines()]
