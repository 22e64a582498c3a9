"""What evaluating and forecasting hold of a store does not grow with its rows."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.store import open_store, write_store
from dcrnn_fast.model.build import build_model
from tests.data.made_series import random_series, ring
from tests.evaluation.small_city import state_of

_SENSORS = 1200
_PROGRAM = """
import sys, threading, time
from dcrnn_fast.evaluate import main as evaluate
from dcrnn_fast.forecast import main as forecast

def anonymous_mib():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

def watch():
    global peak
    while True:
        peak = max(peak, anonymous_mib())
        time.sleep(0.002)

peak = before = anonymous_mib()
threading.Thread(target=watch, daemon=True).start()
checkpoint, store, folder = sys.argv[1:]
source = ["--data", store]
assert evaluate([checkpoint, *source, "--split", "all", "--max-windows", "5", "-o", folder]) == 0
assert forecast([checkpoint, *source, "-o", folder + "/forecast.csv"]) == 0
print("grew by", peak - before)
"""


@pytest.mark.slow
def test_anonymous_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Ten times the rows, 260 MB more: evaluation, baselines, digests and forecast need no more for them."""
    config = Config(
        data=DataConfig(data="long", past_steps=3, future_steps=2, scaler="observed"),
        model=ModelConfig(hidden_units=4, num_layers=1),
    )
    grown = {}
    for name, steps in (("short", 6_000), ("long", 60_000)):
        series = random_series(6_000, _SENSORS, seed=2)
        if name == "long":
            times_T = series.times_T[0] + np.arange(steps) * series.interval
            tiled = (np.tile(array, (10, 1, 1)) for array in (series.values_TNC, series.observed_TNC))
            values_TNC, observed_TNC = tiled
            rows = ((0, steps),)
            series = replace(
                series, values_TNC=values_TNC, observed_TNC=observed_TNC, times_T=times_T, segments=rows, parts=rows
            )
        write_store(tmp_path / name, series, ring(series))
        del series
        series, graph = open_store(tmp_path / name)
        assert graph is not None
        data = assemble_data(series, graph, config.data)
        torch.manual_seed(0)
        form = data.window_format
        model = build_model(config, graph, input_channels=form.input_channels, output_channels=form.output_channels)
        checkpoint = save_checkpoint(tmp_path, state_of(config, data, model), f"{name}.pt")
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(checkpoint), str(tmp_path / name), str(tmp_path / f"out_{name}")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        grown[name] = float(done.stdout.split("grew by")[1])
    assert grown["long"] - grown["short"] < 100, grown
