"""A run as its folder tells it, without the libraries that train: status, metrics, events, configuration, report."""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_yaml
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.report_json import ReportFigures, read_report
from dcrnn_fast.messages import counted, some
from dcrnn_fast.records.events import EpochRow
from dcrnn_fast.records.jsonl import EVENTS, read_events
from dcrnn_fast.records.metrics_csv import METRICS, read_metrics
from dcrnn_fast.records.names import CONFIG
from dcrnn_fast.records.status import STATUS, Status, read_status

REPORT_JSON = "report.json"
_SET_ASIDE = re.compile(r"earlier-\d+")
_DEPTH = 3
"""folders between one that is named and a run: results/JOB/TASK"""
_MOST_FOLDERS = 20_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run's folder says.

    Attributes:
        name: the folder's, with as much of its path as tells it apart from the others.
        looks: a line for each file that could not be read; its part is then as if it were absent.
    """

    folder: Path
    name: str
    status: Status | None = None
    rows: tuple[EpochRow, ...] = ()
    events: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    config: Config | None = field(default=None, repr=False)
    report: ReportFigures | None = field(default=None, repr=False)
    looks: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """finished, running, killed ...; "unknown": it was of a version that wrote no status."""
        return "unknown" if self.status is None else self.status.state

    @property
    def reason(self) -> str:
        """Why it ended, in words; "" while it goes on."""
        if self.status is None:
            return ""
        if self.status.state in ("failed", "nan"):
            return self.status.error
        if self.status.state == "stopped":
            return f"asked to by {self.status.signal}"
        if self.status.state == "killed":
            return f"{self.status.process} is gone and did not say why"
        if self.status.state == "finished":
            return "no better epoch for a while" if self._last("end").get("reason") == "stalled" else "all epochs"
        return ""

    @property
    def epochs(self) -> int | None:
        """Configured ones."""
        if self.status is not None:
            return self.status.epochs
        return None if self.config is None else self.config.training.epochs

    @property
    def best(self) -> EpochRow | None:
        """The row of the best epoch; None before there is one."""
        return next((row for row in reversed(self.rows) if row.best), None)

    @property
    def seconds(self) -> float | None:
        """Of training and validation, all parts of a run that was resumed."""
        seconds = sum(row.train_seconds + row.validation_seconds for row in self.rows)
        return seconds if self.rows and math.isfinite(seconds) else None

    @property
    def windows_per_second(self) -> float | None:
        """Over all epochs."""
        seconds = sum(row.train_seconds for row in self.rows)
        windows = sum(row.train_seconds * row.windows_per_second for row in self.rows)
        return windows / seconds if seconds > 0 and math.isfinite(windows) else None

    @property
    def start(self) -> dict[str, Any]:
        """The latest start or resumption; empty if there is none."""
        return self._last("start", "resume")

    @property
    def ranks(self) -> int | None:
        """Processes, of the latest part."""
        ranks = self.start.get("ranks")
        return ranks if isinstance(ranks, int) else None

    def _last(self, *kinds: str) -> dict[str, Any]:
        return next((event for event in reversed(self.events) if event["event"] in kinds), {})


def is_run(folder: Path) -> bool:
    """Whether a run has written there."""
    return any((folder / name).is_file() for name in (STATUS, METRICS, EVENTS))


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Everything that the folder of a run says; what cannot be read becomes a line of ``looks``."""
    looks: list[str] = []

    def read(file: str, reader: Callable[[Path], T]) -> T | None:
        if not os.path.lexists(folder / file):
            return None
        try:
            return reader(folder / file)
        except UserError as error:
            looks.append(f"look: {error}")
            return None

    rows = read(METRICS, read_metrics)
    return RunRecord(
        folder,
        name or folder.absolute().name,
        status=read(STATUS, lambda path: read_status(path.parent)),
        rows=tuple(rows or ()),
        events=tuple(read(EVENTS, read_events) or ()),
        config=read(CONFIG, load_yaml),
        report=read(REPORT_JSON, read_report),
        looks=tuple(looks),
    )


def read_runs(paths: Sequence[str]) -> tuple[list[RunRecord], list[str]]:
    """The runs of all folders, and lines about what was left out.

    Args:
        paths: folders of runs, or of folders of runs (a sweep's); a run that was set aside (earlier-1) counts only if
            it is named itself.
    Raises:
        UserError: there is no run in any of them.
    """
    found: dict[str, Path] = {}
    looks: list[str] = []
    no_folders: list[str] = []
    for path in map(Path, paths):
        if path.is_file():
            no_folders.append(str(path))
            continue
        runs = _runs_in(path, looks)
        if not runs:
            continue
        for run in runs:
            if (real := os.path.realpath(run)) in found:
                looks.append(f"look: {run} is {found[real]}, which stands in the list already: it is taken once")
            found.setdefault(real, run)
    if no_folders:
        looks.append(f"look: {counted(len(no_folders), 'file')}, no folder of a run, left out: {some(no_folders, 3)}")
    if not found:
        why = "; ".join(line.removeprefix("look: ") for line in looks)
        raise UserError(f"there is no run to show: {why}; name a folder that `--results` wrote, or one of such folders")
    folders = list(found.values())
    records = [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    return records, [*looks, *(line for record in records for line in record.looks)]


def _runs_in(path: Path, looks: list[str]) -> list[Path]:
    try:
        if is_run(path):
            return [path]
        runs = list(_below(path, _DEPTH))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        looks.append(f"look: {path} cannot be read: {getattr(error, 'strerror', None) or error}: left out")
        return []
    if not runs:
        looks.append(f"look: no run has written in {path} or below ({STATUS}, {METRICS}): left out")
    return runs


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Runs in the folders below, in the order of their names, 2 before 10; OSError if it cannot be listed."""
    inner = sorted((entry for entry in os.scandir(folder) if entry.is_dir()), key=lambda entry: natural(entry.name))
    if len(inner) > _MOST_FOLDERS:
        raise OSError(f"it holds {len(inner)} folders: name the runs")
    for entry in inner:
        if _SET_ASIDE.fullmatch(entry.name):
            continue
        if is_run(Path(entry.path)):
            yield Path(entry.path)
        elif depth > 1 and not entry.is_symlink():
            yield from _below(Path(entry.path), depth - 1)


def natural(text: str) -> list[tuple[int, str]]:
    """A key by which "run2" comes before "run10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest end of each path that no other has."""
    parts = [folder.absolute().parts for folder in folders]
    names = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]).removeprefix("//"))
    return names
