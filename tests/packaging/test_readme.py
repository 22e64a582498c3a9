"""The README's commands and its Python do what it says, on a small series, with a small model."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.checkout import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["--hidden-units", "4", "--num-layers", "1", "--epochs", "1"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _block(section: str, language: str) -> str:
    text = README.split(f"## {section}\n")[1].split("\n## ")[0]
    match = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert match, f"no {language} block in {section}"
    return match.group(1)


def _run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _write_speeds(folder: Path) -> int:
    """speeds.csv, newest.csv and distances.csv; the number of sensors."""
    steps, sensors = 700, 5
    times = pd.date_range("2024-01-01", periods=steps, freq="5min", name="time")
    waves_TN = 50 + 10 * np.sin(np.arange(steps)[:, None] / 50 + np.arange(sensors))
    speeds = pd.DataFrame(waves_TN + np.random.normal(size=waves_TN.shape), times, [f"s{i}" for i in range(sensors)])
    speeds.to_csv(folder / "speeds.csv")
    speeds.tail(12).to_csv(folder / "newest.csv")
    pairs = [f"s{i},s{j},{abs(i - j)}" for i in range(sensors) for j in range(sensors)]
    (folder / "distances.csv").write_text("\n".join(["from,to,cost", *pairs]))
    return sensors


def test_your_own_data_in_five_lines(tmp_path: Path) -> None:
    sensors = _write_speeds(tmp_path)
    lines = _block("Your own data", "sh").splitlines()
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "dcrnn-fast"
        small = SMALL if words[1] == "train" else []
        _run(tmp_path, "-m", "dcrnn_fast.cli", *words[1:], *small)
    forecast = pd.read_csv(tmp_path / "forecast.csv")
    assert len(forecast) == 12 * sensors
    assert (tmp_path / "forecast.html").is_file()

    shown = _run(tmp_path, "-c", _block("From Python", "python"))
    assert "last value" in shown


def test_a_forecast_that_is_used(tmp_path: Path) -> None:
    _write_speeds(tmp_path)
    for month in (2, 3):
        later = pd.read_csv(tmp_path / "speeds.csv", index_col=0, parse_dates=True)
        later.index += pd.Timedelta(days=31 * (month - 1))
        later.to_csv(tmp_path / f"month{month}.csv")
    train = _block("Your own data", "sh").splitlines()[1]
    for line in (train, *_block("A forecast that is used", "sh").splitlines()):
        words = shlex.split(line, comments=True)
        if "--watch" not in words:  # which goes on until it is stopped
            _run(tmp_path, "-m", "dcrnn_fast.cli", *words[1:], *(SMALL if words[1] == "train" else []))
    assert (tmp_path / "model.onnx").is_file()
