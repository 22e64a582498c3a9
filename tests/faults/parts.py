"""Well-formed files of which one part is of another type, size or name: refused in one line, or the same answer."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from dcrnn_fast.checkpoints.save import torch_bytes
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from tests.checkpoints.changed_parts import changed, changes, part_at, places
from tests.data.changed_files import KINDS, read_changed, write_changed
from tests.faults.forked import Outcome, command, scratch
from tests.faults.scene import SMALL
from tests.training.same_run import metrics

ENDS = ("one line", "same answer", "other answer", "more lines", "traceback", "hung or killed")


@dataclass(frozen=True)
class Tree:
    """A file that is a tree of dicts and lists, and the command that reads it.

    Attributes:
        read: writes a tree as the file, and calls the command: what became of it, and its answer.
    """

    whole: Any
    read: Callable[[Any], tuple[Outcome, bytes]]


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """Counts of each kind of file, by what became of its changed copies; the surprising ones are printed."""
    rng = random.Random(seed)
    with scratch() as folder:
        counts = {kind: _of_trees(kind, tree, tries, rng) for kind, tree in _trees(scene, folder).items()}
        return counts | {kind: _of_files(kind, folder, tries, rng) for kind in KINDS}


def _of_trees(kind: str, tree: Tree, tries: int, rng: random.Random) -> dict[str, int]:
    answer = tree.read(tree.whole)[1]
    ends: Counter[str] = Counter()
    every = list(places(tree.whole))
    while sum(ends.values()) < tries:
        where = rng.choice(every)
        change = rng.choice(changes(part_at(tree.whole, where)))
        try:
            outcome, got = tree.read(changed(tree.whole, where, change))
        except yaml.YAMLError:  # what a text cannot hold
            continue
        end = _end_of(outcome, got == answer)
        ends[end] += 1
        if end not in ("one line", "same answer"):
            said = " | ".join(line for line in outcome.err.splitlines()[-3:] if line.strip())
            print(f"  {kind}: {'/'.join(map(str, where))} = {change}: {end}: {said[:300]}", flush=True)
    return _counts(ends)


def _of_files(kind: str, folder: Path, tries: int, rng: random.Random) -> dict[str, int]:
    """Files of series and graphs, which the readers of the commands read; an answer is checked for sense."""
    ends: Counter[str] = Counter()
    for _ in range(tries):
        path, change = write_changed(kind, folder, rng.choice)
        try:
            read_changed(kind, path)
            ends["same answer"] += 1
        except UserError as error:
            ends["one line" if "\n" not in str(error) else "more lines"] += 1
        except Exception as error:  # what is counted
            ends["traceback"] += 1
            print(f"  {kind}: {change}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return _counts(ends)


def _counts(ends: Counter[str]) -> dict[str, int]:
    return {"changed": sum(ends.values())} | {end: ends[end] for end in ENDS}


def _end_of(outcome: Outcome, same: bool) -> str:
    if outcome.late or outcome.code < 0:
        return "hung or killed"
    if outcome.code == 0:
        return "same answer" if same else "other answer"
    return "one line" if outcome.one_line else "more lines" if outcome.code == 2 else "traceback"


def _trees(scene: Path, folder: Path) -> dict[str, Tree]:
    state = torch.load(scene / "run" / "checkpoints" / "best.pt", weights_only=True)
    port = torch.load(scene / "port.tar", weights_only=True)
    data = ("--data", str(scene / "readings.csv"), "--graph", str(scene / "links.csv"))

    def forecast(tree: Any) -> tuple[Outcome, bytes]:
        (folder / "changed.pt").write_bytes(torch_bytes(tree))
        return _answer(folder, "f.csv", "forecast", "changed.pt", *data[:2], "-o", "f.csv")

    def evaluate(tree: Any) -> tuple[Outcome, bytes]:
        (folder / "changed.pt").write_bytes(torch_bytes(tree))
        outcome, report = _answer(folder, "e/report.json", "evaluate", "changed.pt", *data, "-o", "e")
        if report:
            report = json.dumps(json.loads(report)["horizons"]).encode()
        return outcome, report

    def resume(tree: Any) -> tuple[Outcome, bytes]:
        shutil.rmtree(folder / "r", ignore_errors=True)
        (folder / "changed.pt").write_bytes(torch_bytes(tree))
        flags = ("--epochs", "2", "--results", "r", "--resume", "changed.pt")
        outcome = command("train", *data, *SMALL, *flags, folder=folder)
        return outcome, repr(metrics(folder / "r")).encode() if outcome.code == 0 else b""

    def convert(tree: Any) -> tuple[Outcome, bytes]:
        (folder / "changed.tar").write_bytes(torch_bytes(tree))
        scaler = ("--mean", "50", "--std", "9")
        return _answer(folder, "model.pt", "convert", "changed.tar", *data[2:], *scaler, "-o", "model.pt")

    def configure(tree: Any) -> tuple[Outcome, bytes]:
        (folder / "changed.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True))
        words = ("--max-train-windows", "64", "--max-validation-windows", "32", "--city-nodes", "8", "--city-days", "8")
        return command("train", "--config", "changed.yaml", *words, "--check", folder=folder), b""

    return {
        "checkpoint, forecast": Tree(state, forecast),
        "checkpoint, evaluate": Tree(state, evaluate),
        "checkpoint, resume": Tree(state, resume),
        "convert": Tree(port, convert),
        "configuration": Tree(to_dict(Config()), configure),
    }


def _answer(folder: Path, answer: str, *words: str) -> tuple[Outcome, bytes]:
    path = folder / answer
    path.unlink(missing_ok=True)
    outcome = command(*words, folder=folder)
    return outcome, path.read_bytes() if path.exists() else b""
