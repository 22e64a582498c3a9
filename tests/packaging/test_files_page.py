"""docs/files.md names the keys, columns and kinds that are in the files of a real run, and no others."""

import csv
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

from dcrnn_fast import forecast, prepare, train
from dcrnn_fast.records.cpu_monitor import CpuMonitor
from dcrnn_fast.records.gpu_monitor import GpuMonitor
from dcrnn_fast.records.status import OVER
from dcrnn_fast.records.timing import COLUMNS as TIMING
from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
SMALL = ("--city-nodes", "8", "--city-days", "3")
FORECAST_COORDINATES = {"time", "station", "forecast_reference_time", "latitude", "longitude"}


def rows(heading: str) -> dict[str, set[str]]:
    """Of the table under a heading: each name in the first column -> the names in the second."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    found = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, second = line.strip("| ").split(" | ")[:2]
            found |= {name: set(re.findall(r"`([\w.]+)`", second)) for name in re.findall(r"`([\w.]+)`", first)}
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained, resumed and asked for a forecast; beside it a store."""
    folder = tmp_path_factory.mktemp("files") / "run"
    flags = [*SMALL, "--max-train-windows", "64", "--max-validation-windows", "32", "--results", str(folder)]
    flags += ["--ema-decay", "0.9"]  # for the one key that not every checkpoint has
    assert train.main(["--config", "debug", "--epochs", "1", *flags]) == 0
    assert train.main(["--config", "debug", "--epochs", "2", "--resume", "auto", *flags]) == 0
    for ending in ("csv", "nc"):
        assert forecast.main([str(folder / "checkpoints" / "best.pt"), "-o", str(folder / f"forecast.{ending}")]) == 0
    assert prepare.main([*SMALL, "--data", "city", "--output", str(folder / "store")]) == 0
    return folder


def header(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8") as stream:
        return next(csv.reader(stream))


def test_checkpoint(run: Path) -> None:
    state: dict[str, Any] = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    assert rows("Checkpoint").keys() == state.keys()
    assert rows("intervals").keys() == state["intervals"].keys()
    for part in ("graph", "window_format", "training"):
        assert rows(part).keys() == state[part].keys()
    for part in ("best", "loss_scale", "part", "random"):
        assert rows("training")[part] - {"None"} == state["training"][part].keys()
    assert rows("Checkpoint")["scaler"] == state["scaler"].keys()


def test_manifest_of_a_checkpoint_folder(run: Path) -> None:
    manifest = json.loads((run / "checkpoints" / "manifest.json").read_text())
    assert manifest.keys() == {path.name for path in (run / "checkpoints").glob("*.pt")}
    assert all(len(digest) == 64 for digests in manifest.values() for digest in digests)


def test_every_file_has_its_place_on_the_page(run: Path) -> None:
    """A name, or a pattern such as `epoch_0010.pt` for `epoch_NNNN.pt`."""
    patterns = [re.sub(r"N+", "*", name) for name in rows("A run's folder")]
    left = {path.name for place in (run, run / "checkpoints") for path in place.iterdir() if path.is_file()}
    left -= {"forecast.csv", "forecast.nc"}  # asked for by name, beside the run's
    assert {name for name in left if not any(fnmatch(name, pattern) for pattern in patterns)} == set()


def test_status(run: Path) -> None:
    status = json.loads((run / "status.json").read_text())
    assert rows("status.json").keys() == status.keys()
    assert rows("status.json")["process"] == status["process"].keys()
    assert rows("status.json")["state"] >= {"starting", "running", *OVER}


def test_events(run: Path) -> None:
    kinds = rows("events.jsonl")
    seen = set()
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        seen.add(event["event"])
        wanted = rows("metrics.csv").keys() if event["event"] == "epoch" else kinds[event["event"]]
        assert event.keys() == {"time", "event", *wanted}
    assert seen == kinds.keys() - {"bad_step", "overflow", "straggler"}


def test_metrics_and_reports(run: Path) -> None:
    assert set(header(run / "metrics.csv")) == rows("metrics.csv").keys()
    assert header(run / "timing_rank0.csv") == sorted(rows("timing_rankN.csv"), key=TIMING.index)
    monitors = rows("Monitors")
    for kind in (GpuMonitor, CpuMonitor):
        assert monitors[f"{kind.stem}.csv"] == set(kind.columns)
    assert (report := rows("Report")).keys() <= {path.name for path in run.iterdir()}
    for name in ("horizons.csv", "sensors.csv"):
        levels = {f"{figure}_{level}" for figure in ("coverage", "width", "score") for level in (50, 80, 90)}
        assert set(header(run / name)) == report[name] - {"coverage_LL", "width_LL", "score_LL"} | levels
    written = json.loads((run / "report.json").read_text())
    (channel,) = written["channels"]
    parts = {"channels", "methods", *channel["methods"]["DCRNN"], "intervals", *channel["intervals"][0]}
    # A training forecasts no step beyond its own.
    assert parts | (written.keys() & {"hours", "series"}) == report["report.json"] - {"beyond"}


def test_store(run: Path) -> None:
    assert rows("Prepared store").keys() == {path.name for path in (run / "store").iterdir()}
    manifest = json.loads((run / "store" / "manifest.json").read_text())
    assert rows("manifest.json").keys() == manifest.keys()
    assert rows("manifest.json")["files"] == manifest["files"]["values.npy"].keys()


def test_forecast(run: Path) -> None:
    bounds = {f"{bound}_{level}" for bound in ("lower", "upper") for level in (50, 80, 90)}
    assert set(header(run / "forecast.csv")) == rows("Forecast").keys() - {"lower_LL", "upper_LL"} | bounds
    with xr.open_dataset(run / "forecast.nc", engine="h5netcdf") as dataset:
        assert set(map(str, dataset.coords)) == FORECAST_COORDINATES
        assert all(f"`{name}`" in PAGE for name in FORECAST_COORDINATES)
        assert dataset["speed"].dims == ("time", "station")
        assert set(dataset) == {"speed", *(f"speed_{bound}" for bound in bounds)}
