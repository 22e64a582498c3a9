"""What was measured while a run went: the time of each rank, the load of its processors and GPUs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from dcrnn_fast.drawing.charts import COLOURS, Line
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.columns import moment, number, read_columns, whole
from dcrnn_fast.records.cpu_monitor import CpuMonitor
from dcrnn_fast.records.gpu_monitor import GpuMonitor
from dcrnn_fast.records.timing import PARTS, TimingFile
from dcrnn_fast.records.watcher import Watcher

_BINS = 200

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the files of a run's folder hold; empty where a file is absent.

    Attributes:
        timing: rank -> part -> seconds over all epochs.
        cpu: host -> its rows; gpu: (host, number) -> its rows.
        looks: a line for each file that could not be read.
    """

    timing: dict[int, dict[str, float]] = field(default_factory=dict)
    cpu: dict[str, Rows] = field(default_factory=dict)
    gpu: dict[tuple[str, int], Rows] = field(default_factory=dict)
    looks: tuple[str, ...] = ()


def read_measured(folder: Path) -> Measured:
    """All that was measured; a file that cannot be read becomes a line of ``looks``."""
    looks: list[str] = []

    def rows_of(kind: type[Watcher], read: Callable[[Path], Rows]) -> list[tuple[Path, Rows]]:
        found = []
        for path in sorted(path for pattern in kind.files for path in folder.glob(pattern)):
            try:
                found.append((path, read(path)))
            except UserError as error:
                looks.append(f"look: {error}")
        return found

    timing = {}
    for path, rows in rows_of(TimingFile, _read_timing):
        if (rank := path.stem.removeprefix("timing_rank")).isdecimal():
            timing[int(rank)] = {part: sum(row[f"{part}_seconds"] or 0.0 for row in rows) for part in PARTS}
    cpu: dict[str, Rows] = {}
    for _, rows in rows_of(CpuMonitor, _read_cpu):
        for row in rows:
            cpu.setdefault(row["host"], []).append(row)
    gpu: dict[tuple[str, int], Rows] = {}
    for _, rows in rows_of(GpuMonitor, _read_gpu):
        for row in rows:
            gpu.setdefault((row["host"], row["gpu"]), []).append(row)
    return Measured(dict(sorted(timing.items())), dict(sorted(cpu.items())), dict(sorted(gpu.items())), tuple(looks))


def _read_timing(path: Path) -> Rows:
    return read_columns(path, {"epoch": whole}, optional={f"{part}_seconds": number for part in PARTS})


def _read_cpu(path: Path) -> Rows:
    return _readings(path, CpuMonitor.columns, {"time": moment, "host": str})


def _read_gpu(path: Path) -> Rows:
    return _readings(path, GpuMonitor.columns, {"time": moment, "host": str, "gpu": whole})


def _readings(path: Path, columns: Sequence[str], needed: Mapping[str, Callable[[str], Any]]) -> Rows:
    others = [name for name in columns if name not in needed]
    return read_columns(path, needed, optional=dict.fromkeys(others, number))


class Clock(NamedTuple):
    """The horizontal axis of all monitors: ``size`` seconds, of the name ``unit``, since ``begin``."""

    begin: datetime
    unit: str
    size: float


def clock_of(measured: Measured) -> Clock | None:
    """From the first reading of all monitors to the last; None: there is none."""
    sources = [*measured.cpu.values(), *measured.gpu.values()]
    if not sources:
        return None
    begin = min(rows[0]["time"] for rows in sources)
    seconds = (max(rows[-1]["time"] for rows in sources) - begin).total_seconds()
    units = (("hours", 3600.0, 3 * 3600), ("minutes", 60.0, 180), ("seconds", 1.0, -math.inf))
    unit, size, _ = next(one for one in units if seconds >= one[2])
    return Clock(begin, unit, size)


def lines_over_time(sources: dict[str, Rows], column: str, clock: Clock, per: float = 1.0) -> list[Line]:
    """A line for each source; of more than there are colours the lowest, the mean, the highest.

    Args:
        per: the values are divided by it.
    """
    lines = []
    for colour, (name, rows) in enumerate(sources.items()):
        times = [(row["time"] - clock.begin).total_seconds() / clock.size for row in rows]
        values = [math.nan if row[column] is None else row[column] / per for row in rows]
        if any(map(math.isfinite, values)):
            lines.append(Line(name, times, values, colour % COLOURS))
    return lines if len(lines) <= COLOURS else _summed_up(lines)


def _summed_up(lines: Sequence[Line]) -> list[Line]:
    last = max(max(line.xs) for line in lines)
    bins: list[list[float]] = [[] for _ in range(_BINS)]
    for line in lines:
        for x, y in zip(line.xs, line.ys, strict=True):
            if math.isfinite(y):
                bins[min(int(_BINS * x / last) if last > 0 else 0, _BINS - 1)].append(y)
    full = [(last * (i + 0.5) / _BINS, values) for i, values in enumerate(bins) if values]
    xs = [x for x, _ in full]
    ways: dict[str, Callable[[list[float]], float]] = {"highest": max, "mean": fmean, "lowest": min}
    return [
        Line(f"{name} of {len(lines)}", xs, [way(values) for _, values in full], colour)
        for colour, (name, way) in enumerate(ways.items())
    ]
