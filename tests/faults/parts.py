"""Well-formed files of which one part is of another type, size or name: refused in one line, or the same answer."""

import copy
import json
import math
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml

from dcrnn_fast.checkpoints.files import torch_bytes
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.store import _digest
from tests.faults.forked import Outcome, command, scratch
from tests.faults.scene import SMALL, must
from tests.training.same_run import metrics

MISSING = object()
VALUES = (
    *(MISSING, 5, -7, 10**12, 0.5, math.nan, math.inf, True, None, "x", "", "\u00e9" * 300),
    *([], [1], [[5]], [[0, 10**9]], {}, {"a": 1}),
)
TENSORS = (torch.tensor([1.0, math.nan]), torch.zeros(1).expand(10**6), torch.zeros(3, 3), torch.zeros(()))
LISTED = 2
"""of a long list the first and the last entries stand for all"""
CHECK = ("train", *SMALL, "--check")
Read = Callable[[Any], tuple[Outcome, bytes]]
"""makes a file with one change, None for none, and reads it: the outcome, and the answer"""


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """Counts of each kind of file, by what became of its changed copies."""
    rng = random.Random(seed)
    counts = {}
    with scratch() as folder:
        for kind, measured in _kinds(scene, folder).items():
            changes, read = measured
            counts[kind] = _count(kind, list(changes), read, tries, rng)
    return counts


def _count(kind: str, changes: list[tuple[str, Any]], read: Read, tries: int, rng: random.Random) -> dict[str, int]:
    answer = read(None)[1]
    counts: Counter[str] = Counter()
    for what, change in rng.sample(changes, min(tries, len(changes))):
        outcome, got = read(change)
        verdict = _verdict(outcome, got == answer)
        counts[verdict] += 1
        if verdict not in ("one line", "same answer"):
            last = [line for line in outcome.err.splitlines() if line.strip()][-1:]
            print(f"  {kind}: {what}: {verdict}, exit {outcome.code}: {''.join(last)[:160]}", flush=True)
    order = ("one line", "same answer", "other answer", "more lines", "traceback", "hung or killed")
    return {"changed": sum(counts.values())} | {verdict: counts[verdict] for verdict in order}


def _verdict(outcome: Outcome, same: bool) -> str:
    if outcome.late or outcome.code < 0:
        return "hung or killed"
    if outcome.code == 0:
        return "same answer" if same else "other answer"
    return "one line" if outcome.one_line else "more lines" if outcome.code == 2 else "traceback"


def _kinds(scene: Path, folder: Path) -> dict[str, tuple[Iterator[tuple[str, Any]], Read]]:
    state = torch.load(scene / "run" / "checkpoints" / "best.pt", weights_only=True)
    port = torch.load(scene / "port.tar", weights_only=True)
    manifest = json.loads((scene / "store" / "manifest.json").read_text())
    configuration = to_dict(Config())
    readings, links = str(scene / "readings.csv"), str(scene / "links.csv")

    def checkpoint(name: str, *words: str) -> Read:
        def read(change: Any) -> tuple[Outcome, bytes]:
            (folder / "changed.pt").write_bytes(torch_bytes(_changed(state, change)))
            return _answer(folder, name, *words)

        return read

    def resume(change: Any) -> tuple[Outcome, bytes]:
        shutil.rmtree(folder / "r", ignore_errors=True)
        (folder / "changed.pt").write_bytes(torch_bytes(_changed(state, change)))
        flags = ("--epochs", "2", "--results", "r", "--resume", "changed.pt")
        outcome = command("train", "--data", readings, "--graph", links, *SMALL, *flags, folder=folder)
        return outcome, repr(metrics(folder / "r")).encode() if outcome.code == 0 else b""

    def converted(change: Any) -> tuple[Outcome, bytes]:
        (folder / "changed.tar").write_bytes(torch_bytes(_changed(port, change)))
        return _answer(
            folder,
            "model.pt",
            "convert",
            "changed.tar",
            "--graph",
            links,
            "--mean",
            "50",
            "--std",
            "9",
            "-o",
            "model.pt",
        )

    def store(change: Any) -> tuple[Outcome, bytes]:
        changed = _changed(manifest, change)
        changed["sha256"] = _digest(changed)
        target = folder / "store"
        if not target.exists():
            target.mkdir()
            for path in (scene / "store").iterdir():
                (target / path.name).write_bytes(path.read_bytes())
        (target / "manifest.json").write_text(json.dumps(changed))
        return command(*CHECK, "--data", "store", folder=folder), b""

    def config(change: Any) -> tuple[Outcome, bytes]:
        text = yaml.safe_dump(_changed(configuration, change), allow_unicode=True)
        (folder / "changed.yaml").write_text(text)
        words = ("--max-train-windows", "64", "--max-validation-windows", "32", "--city-nodes", "8", "--city-days", "8")
        return command("train", "--config", "changed.yaml", *words, "--check", folder=folder), b""

    def series(name: str, write: Callable[[Path, Any], None]) -> Read:
        def read(change: Any) -> tuple[Outcome, bytes]:
            target = folder / f"changed.{name}"
            target.write_bytes((scene / f"readings.{name}").read_bytes())
            if change is not None:
                write(target, change)
            return command(*CHECK, "--data", target.name, "--graph", links, folder=folder), b""

        return read

    forecast = checkpoint("f.csv", "forecast", "changed.pt", "--data", readings, "-o", "f.csv")
    evaluate = checkpoint("e/report.json", "evaluate", "changed.pt", "--data", readings, "--graph", links, "-o", "e")
    return {
        "checkpoint, forecast": (_changes(state, TENSORS), forecast),
        "checkpoint, evaluate": (_changes(state, TENSORS), evaluate),
        "checkpoint, resume": (_changes(state, TENSORS), resume),
        "convert": (_changes(port, TENSORS), converted),
        "store": (_changes(manifest), store),
        "configuration": (_changes(configuration), config),
        "series, .csv": (_text_changes(), series("csv", _change_text)),
        "series, .npz": (_npz_changes(), series("npz", _change_npz)),
        "series, .h5": (_hdf5_changes(scene / "readings.h5"), series("h5", _change_hdf5)),
        "series, .nc": (_hdf5_changes(scene / "readings.nc"), series("nc", _change_hdf5)),
    }


def _answer(folder: Path, answer: str, *words: str) -> tuple[Outcome, bytes]:
    path = folder / answer
    path.unlink(missing_ok=True)
    outcome = command(*words, folder=folder)
    return outcome, path.read_bytes() if path.exists() else b""


def _changes(tree: Any, more: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(description, (path, value)) for each part of a tree of dicts and lists, and each value."""
    for path in _paths(tree):
        for value in (*VALUES, *more):
            told = "missing" if value is MISSING else repr(value).replace("\n", "")[:40]
            yield f"{'/'.join(map(str, path))} = {told}", (path, value)


def _paths(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(tree, dict):
        parts = list(tree.items())
    elif isinstance(tree, (list, tuple)):
        parts = list(enumerate(tree))
        parts = parts if len(parts) <= 2 * LISTED else parts[:LISTED] + parts[-LISTED:]
    else:
        return
    for key, part in parts:
        yield (*before, key)
        yield from _paths(part, (*before, key))


def _changed(tree: Any, change: tuple[tuple[Any, ...], Any] | None) -> Any:
    """A copy of ``tree`` with one part replaced, or left out."""
    if change is None:
        return tree
    (key, *rest), value = change
    items = dict(tree) if isinstance(tree, dict) else dict(enumerate(tree))
    if rest:
        items[key] = _changed(items[key], (tuple(rest), value))
    elif value is MISSING:
        del items[key]
    else:
        items[key] = copy.deepcopy(value)
    return items if isinstance(tree, dict) else type(tree)(items.values())


def _text_changes() -> Iterator[tuple[str, Any]]:
    cells = ("", "x", "nan", "inf", "1e400", "-", '"', "2024-01-01", "9" * 400, "\u00e9", "1,5", "1;2", "\x00")
    for row in (0, 1, 2, 300, 600):
        for column in (0, 1, 6):
            for cell in cells:
                yield f"row {row}, column {column} = {cell[:20]!r}", (row, column, cell)
        yield f"row {row} twice", (row, None, None)


def _change_text(path: Path, change: Any) -> None:
    row, column, cell = change
    lines = path.read_text().splitlines()
    if column is None:
        lines.insert(row, lines[row])
    else:
        cells = lines[row].split(",")
        cells[column] = cell
        lines[row] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


_ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    "missing": lambda array: None,
    "empty": lambda array: array[:0],
    "a scalar": lambda array: np.array(5),
    "one entry": lambda array: array[:1],
    "an axis more": lambda array: array[None],
    "transposed": lambda array: array.T,
    "text": lambda array: np.full(array.shape, "x"),
    "bytes that are no UTF-8": lambda array: np.full(array.shape, b"\xff\xfe"),
    "integers": lambda array: np.zeros(array.shape, np.int64),
    "large integers": lambda array: np.full(array.shape, 2**62),
    "NaN": lambda array: np.full(array.shape, np.nan),
    "infinite": lambda array: np.full(array.shape, np.inf),
    "complex": lambda array: np.zeros(array.shape, np.complex128),
    "booleans": lambda array: np.ones(array.shape, bool),
    "backwards": lambda array: array[::-1],
    "durations": lambda array: np.zeros(array.shape, "timedelta64[s]"),
}


def _npz_changes() -> Iterator[tuple[str, Any]]:
    for name in ("data", "ids", "times"):
        for what in _ARRAYS:
            yield f"{name}: {what}", (name, what)


def _change_npz(path: Path, change: Any) -> None:
    name, what = change
    with np.load(path) as archive:
        arrays = dict(archive)
    changed = _ARRAYS[what](arrays.pop(name))
    np.savez(path, **arrays | ({} if changed is None else {name: changed}))


def _hdf5_changes(path: Path) -> Iterator[tuple[str, Any]]:
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if isinstance(file[name], h5py.Dataset):
                for what in _ARRAYS:
                    yield f"{name}: {what}", (name, None, what)
            for attribute in file[name].attrs:
                for value in (None, 5, "x", b"\xff", np.zeros(3), 1e300, ""):
                    yield f"{name}.{attribute} = {value!r}", (name, attribute, value)


def _change_hdf5(path: Path, change: Any) -> None:
    name, attribute, value = change
    with h5py.File(path, "a") as file:
        if attribute is not None:
            del file[name].attrs[attribute]
            if value is not None:
                file[name].attrs[attribute] = np.void(value) if isinstance(value, bytes) else value
            return
        array, attributes = file[name][()], dict(file[name].attrs)
        changed = _ARRAYS[value](np.asarray(array))
        del file[name]
        if changed is None:
            return
        if changed.dtype.kind == "U":
            changed = changed.astype("S")
        elif changed.dtype.kind in "mM":
            changed = changed.astype(np.int64)
        made = file.create_dataset(name, data=changed)
        for key, kept in attributes.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                made.attrs[key] = kept


def check_scene(scene: Path) -> None:
    """Each unchanged file is accepted."""
    for name in ("csv", "npz", "h5", "nc"):
        must(command(*CHECK, "--data", f"readings.{name}", "--graph", "links.csv", folder=scene))
