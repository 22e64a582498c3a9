"""What a run leaves behind beside its checkpoints: config.yaml, metrics.csv, events.jsonl, and the report after it."""

import csv
import io
import json
import math
import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_atomically
from dcrnn_fast.training.progress import Row

METRICS = "metrics.csv"
EVENTS = "events.jsonl"
CONFIG = "config.yaml"
REPORT = (
    *("report.txt", "report.json", "horizons.csv", "sensors.csv"),
    *("horizons*.png", "worst_and_best*.png", "forecasts*.png", "map*.png"),
)
"""patterns of what ``dcrnn-fast train`` and ``evaluate`` write (a picture of one of several channels adds its name)"""
TIMING_COLUMNS = ("train_seconds", "validation_seconds", "windows_per_second")
COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "label_probability",
    "train_loss",
    "gradient_norm",
    "skipped_steps",
    "validation_mae",
    "validation_error",
    "validation_rmse",
    "validation_mape",
    "best",
    *TIMING_COLUMNS,
)


def write_config(folder: Path, config: Config) -> None:
    _write_text(folder / CONFIG, to_yaml(config))


def write_metrics(folder: Path, history: Sequence[Row]) -> None:
    """Writes metrics.csv anew from the history that checkpoints hold: no epoch twice, whatever was lost or repeated.

    Of several targets each has a column of its own MAE, at the end.
    """
    more = list(dict.fromkeys(name for row in history for name in row if name not in COLUMNS))
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *more), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    _write_text(folder / METRICS, text.getvalue())


class Events:
    """events.jsonl: one JSON object a line, appended at once, with the time and the kind of event."""

    def __init__(self, folder: Path | None) -> None:
        """``folder`` None: nothing is written (all ranks but the first)."""
        self._path = None if folder is None else folder / EVENTS
        if self._path is not None and self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._append("\n")  # a run that was killed in mid-line

    def add(self, event: str, **facts: object) -> None:
        """Raises UserError when the file cannot be written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        facts = {name: None if _is_not_finite(value) else value for name, value in facts.items()}
        self._append(json.dumps({"time": now, "event": event, **facts}, allow_nan=False) + "\n")

    def _append(self, text: str) -> None:
        if self._path is None:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror or error}; free space and resume") from error


def set_aside(folder: Path, patterns: Sequence[str], spared: Collection[Path] = ()) -> Path | None:
    """Moves what an earlier run left in ``folder`` into ``folder/earlier-N``; None when there is nothing.

    ``spared``, resolved, stay: what this run reads.

    A new run must neither destroy another's checkpoints nor find them when it looks for its own.
    """
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    found = [path for path in found if path.resolve() not in spared]
    if not found:
        return None
    number = 1
    while (target := folder / f"earlier-{number}").exists():
        number += 1
    target.mkdir()
    for path in found:
        os.replace(path, target / path.name)
    return target


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _write_text(path: Path, text: str) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(text.encode())

    write_atomically(path, write)
