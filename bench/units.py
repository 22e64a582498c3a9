"""Does the unit of the readings matter? Two trainings in six other units, with default flags.

    python -m bench.units [EPOCHS]

A line for each, after conversion back: the largest difference of the forecasts of all test windows, in deviations of
the readings and relative to the largest forecast, and the mean absolute difference. Another unit rounds other last bits
of the readings, and training magnifies them from step to step, as it does any rounding: the last line of each training
is the yardstick, the same unit with the last float32 bit of half of the readings turned.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.training.fit import fit

UNITS = {
    "x 1e-6": (1e-6, 0.0), "x 1e6": (1e6, 0.0), "x 1e-3": (1e-3, 0.0),
    "+ 273.15": (1.0, 273.15), "x 0.5556 + 255.37": (0.5556, 255.37), "x 0.01 - 40": (0.01, -40.0),
}  # fmt: skip


def made_of(folder: Path, kind: str) -> tuple[np.ndarray, str, np.ndarray]:
    """Readings (T, N) with gaps as NaN, the graph's file, the times."""
    if kind == "city":
        data = open_data(DataConfig(city_nodes=12, city_days=7), GraphConfig())
        readings_TN = np.where(data.series.observed_TNC, data.series.values_TNC, np.nan)[..., 0].astype(np.float64)
        adjacency, times_T = data.graph.adjacency.toarray(), data.series.times_T
    else:
        rng = np.random.default_rng(3)
        readings_TN = 12 + 8 * np.sin(np.arange(1200) / 144 * 2 * np.pi)[:, None] + rng.normal(0, 0.5, (1200, 6))
        readings_TN[rng.random(readings_TN.shape) < 0.25] = np.nan
        adjacency = np.eye(6) + 0.5 * np.roll(np.eye(6), 1, axis=1)
        times_T = np.datetime64("2024-01-01T00:00:00") + np.arange(1200) * np.timedelta64(300, "s")
    np.save(folder / "graph.npy", adjacency)
    return readings_TN, str(folder / "graph.npy"), times_T


def forecasts(folder: Path, readings_TN: np.ndarray, graph: str, times_T: np.ndarray, epochs: int) -> np.ndarray:
    """Of all test windows, in the unit of the readings."""
    np.savez(folder / "readings.npz", data=readings_TN[..., None], times=times_T)
    config = Config(
        graph=GraphConfig(graph=graph, match="position"),
        data=DataConfig(data=str(folder / "readings.npz")),
        model=ModelConfig(hidden_units=16, num_layers=1),
        training=TrainingConfig(epochs=epochs, threads=1),
        output=OutputConfig(results=str(folder / "results")),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        result = fit(config)
    with torch.no_grad():
        scaled = result.model(result.data.gather(result.data.test.starts_W).x_BPNC)
    forecast: np.ndarray = result.data.scaler.inverse(scaled.double()).numpy()
    return forecast


def main(epochs: int) -> None:
    for kind in ("temperatures", "city"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            readings_TN, *rest = made_of(folder, kind)
            own = forecasts(folder, readings_TN, *rest, epochs)
            for unit, (factor, offset) in {**UNITS, "last bits": (1.0, 0.0)}.items():
                given = readings_TN * factor + offset
                if unit == "last bits":
                    given = given.astype(np.float32)
                    given[::2] = np.nextafter(given[::2], np.float32(np.inf))
                apart = np.abs((forecasts(folder, given, *rest, epochs) - offset) / factor - own)
                print(
                    f"{kind:13} {unit:18} at most {apart.max() / np.nanstd(readings_TN):.1e} deviations, "
                    f"{apart.max() / np.abs(own).max():.1e} of the largest forecast; in the mean "
                    f"{apart.mean() / np.nanstd(readings_TN):.1e} deviations",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
