"""What the faults happen to: a small series and its graph as files of each kind, a trained model, a store."""

import os
from pathlib import Path

import numpy as np

from tests.faults.forked import Outcome, command

IDS = [f"s{number}" for number in range(6)]
SMALL = (
    *("--hidden-units", "8", "--num-layers", "1", "--epochs", "1", "--threads", "1", "--device", "cpu"),
    *("--max-train-windows", "64", "--max-validation-windows", "32"),
)


def build(folder: Path) -> None:
    """Writes readings (readings.csv, .h5, .nc, .npz), links (links.csv), trains a model (run/) and prepares a store."""
    import pandas as pd
    import xarray as xr

    random = np.random.default_rng(0)
    values_TN = (50 + 10 * np.sin(np.arange(600) / 40)[:, None] + random.normal(0, 1, (600, 6))).round(3)
    times_T = pd.date_range("2024-01-01", periods=600, freq="5min")
    frame = pd.DataFrame(values_TN, index=times_T.rename("time"), columns=IDS)
    frame.to_csv(folder / "readings.csv")
    frame.to_hdf(folder / "readings.h5", key="df", mode="w")
    array = xr.DataArray(values_TN, {"time": times_T, "sensor": IDS}, ("time", "sensor"), name="speed")
    array.to_netcdf(folder / "readings.nc", engine="h5netcdf")
    np.savez(folder / "readings.npz", data=values_TN, ids=np.array(IDS), times=times_T.to_numpy("datetime64[s]"))
    links = [(a, b, round(float(random.uniform(100, 3000)), 1)) for a in IDS for b in IDS if a != b]
    pd.DataFrame(links, columns=["from", "to", "cost"]).to_csv(folder / "links.csv", index=False)
    data = ("--data", "readings.csv", "--graph", "links.csv")
    must(command("train", *data, *SMALL, "--results", "run", folder=folder))
    must(command("prepare", *data, "--output", "store", folder=folder))
    best = os.path.join("run", "checkpoints", "best.pt")
    must(command("convert", best, "--export", "--output", "port.tar", folder=folder))


def must(outcome: Outcome) -> Outcome:
    """``outcome``, which must be success."""
    assert outcome.code == 0, outcome.err
    return outcome
