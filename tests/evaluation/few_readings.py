"""A few readings as data to forecast: what the tests of baselines share."""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.graph import from_matrix

MONDAY = np.datetime64("2024-01-01T00:00:00", "s")


def data_of(
    readings: np.ndarray,
    *,
    times_T: np.ndarray | None = None,
    minutes: int = 60,
    channels: tuple[str, ...] = ("value",),
    missing: str = "nan",
    **fields: object,
) -> ForecastData:
    if times_T is None:
        times_T = count_from(MONDAY, np.timedelta64(60 * minutes, "s"), len(readings))
    ids = tuple(f"s{node}" for node in range(readings.shape[1]))
    series = make_series(readings, times_T=times_T, ids=ids, missing=missing, where="test", channels=channels)
    config = DataConfig(**({"past_steps": 4, "future_steps": 2} | fields))  # type: ignore[arg-type]
    return assemble_data(series, from_matrix(np.eye(len(ids)), ids), config)
