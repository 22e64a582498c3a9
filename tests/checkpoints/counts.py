"""Counts over changed checkpoints, and over reads beside a run that saves: one line, an answer, or a fault.

``python -m tests.checkpoints.counts [CHANGES] [SECONDS]`` changes one part of a checkpoint at random so many times and
lets forecast and resume read it; then it saves a checkpoint of 70 MB again and again while two readers look, and prints
how many reads were right. Every other end is printed. The property tests make the same changes.
"""

import collections
import multiprocessing
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import dcrnn_fast
from dcrnn_fast.checkpoints.files import load_checkpoint, newest_good, read_good, save_checkpoint, torch_bytes
from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training import resume
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.run import Run, make_run
from tests.checkpoints.changed_parts import UNSAVABLE, changed, changes, part_at, places
from tests.training.rank_programs import debug_config

READERS = 2


class Trained(NamedTuple):
    """A small run, its checkpoint's state, and the forecast of it; ``file``: where changed ones are put, in turn."""

    run: Run
    state: dict[str, Any]
    file: Path
    forecast: np.ndarray


def train_one(folder: Path) -> Trained:
    """Trains an epoch in ``folder``."""
    results = folder / "results"
    few = ("--max-train-windows", "16", "--max-validation-windows", "8", "--city-nodes", "6", "--epochs", "1")
    config = debug_config("--results", str(results), *few)
    fit(config)
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    path = results / "checkpoints" / "latest.pt"
    (folder / "changed").mkdir()
    values = dcrnn_fast.load(path).forecast(run.data.series).values_FNO
    return Trained(run, load_checkpoint(path), folder / "changed" / "x.pt", values)


def forecast(trained: Trained) -> np.ndarray:
    """What ``forecast`` does with a changed checkpoint: (F, N, O)."""
    return dcrnn_fast.load(trained.file).forecast(trained.run.data.series).values_FNO


def resumed(trained: Trained) -> None:
    """What ``train --resume`` does with it."""
    run, state = trained.run, load_checkpoint(trained.file)
    resume.require_resumable(state, "x.pt")
    config = resume.saved_choices(run.config, state)
    resume.in_saved_order(run.data, config.data, state)
    resume.require_fitting(run, state, "x.pt")
    resume.differences(run, state)
    resume.restore(run, state)


def count_changes(trained: Trained, tries: int) -> int:
    """Prints how the changes ended; how many ended in neither a line nor an answer."""
    ends: dict[str, collections.Counter[str]] = {"forecast": collections.Counter(), "resume": collections.Counter()}
    everywhere = list(places(trained.state))
    for seed in range(tries):
        choose = random.Random(seed).choice
        where = choose(everywhere)
        change = choose(changes(part_at(trained.state, where)))
        try:
            trained.file.write_bytes(torch_bytes(changed(trained.state, where, change)))
        except UNSAVABLE:
            continue
        for name, read in (("forecast", forecast), ("resume", resumed)):
            ends[name][end := _end(read, trained)] += 1
            if end not in ("one line", "an answer"):
                print(f"{name}: {where} = {change}: {end}")
    for name, counts in ends.items():
        told = ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
        print(f"{name}: {sum(counts.values())} changed, {told}")
    return sum(
        count for counts in ends.values() for end, count in counts.items() if end not in ("one line", "an answer")
    )


def _end(read: Callable[[Trained], object], trained: Trained) -> str:
    try:
        found = read(trained)
    except UserError as error:
        return "one line" if "\n" not in str(error) and len(str(error)) < 1500 else "a long line"
    except Exception as error:  # what is counted
        return f"{type(error).__name__}: {str(error)[:80]}"
    return "an answer" if found is None or np.isfinite(found).all() else "NaN"


def count_reads(state: dict[str, Any], folder: Path, seconds: float) -> int:
    """Prints how many reads of a checkpoint that is being replaced were right; how many were not."""
    big = state | {"model": {"weight": torch.zeros(18_000_000)}}
    save_checkpoint(folder, big, "best.pt", "latest.pt")
    with multiprocessing.get_context("spawn").Pool(READERS) as readers:
        found = [readers.apply_async(_read, (folder, seconds)) for _ in range(READERS)]
        saves = 0
        while not all(reader.ready() for reader in found):
            save_checkpoint(folder, big, "best.pt", "latest.pt")
            saves += 1
        counts = [reader.get() for reader in found]
    reads, wrong = (sum(column) for column in zip(*counts, strict=True))
    print(f"{READERS} readers beside {saves} saves: {reads} reads, {reads - wrong} right")
    return wrong


def _read(folder: Path, seconds: float) -> tuple[int, int]:
    reads = wrong = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for found in (newest_good(folder), read_good(folder / "best.pt")):
            reads += 1
            wrong += found is None or bool(found.notes)
    return reads, wrong


def main(tries: int, seconds: float) -> int:
    """Prints all counts; the number of faults."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(StringIO()):
            trained = train_one(Path(folder))
        faults = count_changes(trained, tries)
        replaced = Path(folder, "replaced")
        replaced.mkdir()
        return faults + count_reads(trained.state, replaced, seconds)


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    sys.exit(main(int(given[0]) if given else 1000, given[1] if len(given) > 1 else 30) > 0)
