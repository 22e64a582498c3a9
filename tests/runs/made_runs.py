"""Folders of runs for tests, written by the watchers that write them while a run trains."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import Intervals
from dcrnn_fast.evaluation.labels import horizon_labels
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.records.events import Ended, EpochDone, EpochRow, Event, Failed, Started, Starting
from dcrnn_fast.records.jsonl import EventsFile
from dcrnn_fast.records.metrics_csv import MetricsFile
from dcrnn_fast.records.status import StatusFile
from tests.records.rows import row

FINISHED = Ended("finished", 3, 24, Path("latest.pt"))


def rows(*errors: float, **changes: Any) -> list[EpochRow]:
    """A row for each validation MAE."""
    best = [error < min(errors[:i], default=np.inf) for i, error in enumerate(errors)]
    return [
        row(i + 1, validation_mae=error, validation_error=error / 10, best=int(best[i]), **changes)
        for i, error in enumerate(errors)
    ]


def report(error: float, *, windows: int = 7, channels: tuple[str, ...] = ("speed",), unit: str = "mph") -> Report:
    """A report of a model with this error at the first of twelve horizons, more at each later one, and a baseline;
    with intervals of 50 and 90 %, which hold the first horizon, and the first half of them.
    """
    target = torch.full((1, 12, 2, len(channels)), 100.0)
    off_F = error * (1 + torch.arange(12) / 11).view(1, -1, 1, 1)
    methods = {}
    for name, factor in (("DCRNN", 1.0), ("last value", 2.0)):
        sums = HorizonSums(12, 2, len(channels))
        sums.add(target - factor * off_F, target, torch.ones_like(target, dtype=torch.bool))
        methods[name] = sums
    half_width_LFNO = np.full((2, 12, 2, len(channels)), 1.5 * error, dtype=np.float32)
    half_width_LFNO[0] /= 1.5
    held = IntervalSums(Intervals((0.5, 0.9), half_width_LFNO, windows=40))
    held.add(target - off_F, target, torch.ones_like(target, dtype=torch.bool))
    return Report(
        data="made",
        split="test",
        num_windows=windows,
        times=(np.datetime64("2024-01-01T00:05:00"), np.datetime64("2024-01-01T01:00:00")),
        horizons=horizon_labels(np.timedelta64(300, "s"), 12),
        ids=("a", "b"),
        channels=channels,
        units=(unit,) * len(channels),
        methods=methods,
        strongest="last value",
        chosen_by="validation",
        intervals=held,
    )


def make_run(
    folder: Path,
    *errors: float,
    end: Event | None = FINISHED,
    config: Config | None = None,
    test: Report | None = None,
    before: tuple[Event, ...] = (),
    **changes: Any,
) -> Path:
    """The folder of a run whose epochs had these validation MAEs.

    Args:
        end: the last event; None: it goes on.
        before: events before the last one; changes: of the rows.
    """
    folder.mkdir(parents=True)
    config = replace(config or Config(), output=OutputConfig(results=str(folder)))
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    started = Started(False, 0, 0, (), 2, 40, 20, (("speed", "mph"),))
    told: list[Event] = [Starting(), started, *(EpochDone(one) for one in rows(*errors, **changes)), *before]
    for watcher in (StatusFile(config), MetricsFile(config), EventsFile(config)):
        for event in told if end is None else (*told, end):
            watcher.see(event)
    if test is not None:
        test.save(folder)
    return folder


FAILED = Failed("out of <memory> & more")


def add_measurements(folder: Path, *, ranks: int = 4, hosts: tuple[str, ...] = ("n1", "n2"), gpus: int = 2) -> None:
    """Timing of each rank, and the readings of two minutes of the monitors of each host, as runs leave them."""
    for rank in range(ranks):
        lines = ["epoch,step,steps,data_seconds,forward_seconds,backward_seconds,communication_seconds,"]
        lines[0] += "optimizer_seconds,other_seconds"
        lines += [f"{epoch},{8 * epoch},8,{0.2 + 0.1 * rank},1.0,2.0,{0.9 - 0.1 * rank},0.25," for epoch in (1, 2)]
        (folder / f"timing_rank{rank}.csv").write_text("\n".join(lines) + "\n")
    for host in hosts:
        ending = "" if host == hosts[0] else f"_{host}"
        cpu = ["time,host,cpu_percent,memory_used_mib,process_cpu_percent,process_rss_mib,processes"]
        gpu = ["time,host,gpu,utilisation_percent,memory_used_mib,memory_total_mib,temperature_c,power_w"]
        for second in range(120):
            time = f"2026-11-29T01:0{second // 60}:{second % 60:02d}.125+00:00"
            cpu.append(f"{time},{host},{50 + 40 * np.sin(second / 9):.1f},9000,{80 + second % 7},{2000 + second},5")
            for number in range(gpus):
                load = 70 + 25 * np.sin(second / 5 + number)
                gpu.append(f"{time},{host},{number},{load:.0f},{30000 + 90 * second},81559,{40 + second / 4:.0f},")
        (folder / f"cpu_monitor{ending}.csv").write_text("\n".join(cpu) + "\n")
        (folder / f"gpu_monitor{ending}.csv").write_text("\n".join(gpu) + "\n2026-11-29T0")
