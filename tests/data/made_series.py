"""Small series for the tests of this folder."""

import numpy as np

from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.graph import SensorGraph

START = np.datetime64("2024-03-04T00:00:00", "s")
TOY_CSV = "time,a,b\n" + "".join(
    f"2024-01-01 {step // 12:02d}:{step % 12 * 5:02d},{step % 7 + 1},{step % 5 + 1}\n" for step in range(60)
)
FIVE_MINUTES = np.timedelta64(300, "s")


def random_series(
    num_steps: int = 100, num_sensors: int = 3, num_channels: int = 1, *, seed: int = 0, gaps: tuple[int, ...] = ()
) -> SensorSeries:
    """Readings in 1..70 with a tenth of them 0 (missing); an hour is lost before each row of ``gaps``."""
    rng = np.random.default_rng(seed)
    readings_TNC = rng.uniform(1, 70, (num_steps, num_sensors, num_channels))
    readings_TNC = np.round(8 * readings_TNC) / 8  # float32 holds all their digits
    readings_TNC[rng.random(readings_TNC.shape) < 0.1] = 0
    times_T = count_from(START, FIVE_MINUTES, num_steps)
    for row in gaps:
        times_T[row:] += np.timedelta64(3600, "s")
    return make_series(
        readings_TNC,
        times_T=times_T,
        ids=tuple(f"s{n}" for n in range(num_sensors)),
        missing="zero",
        where="test",
        channels=tuple(f"c{c}" for c in range(num_channels)),
        interval=FIVE_MINUTES,
    )


def ring(series: SensorSeries) -> SensorGraph:
    """Each sensor feeds the next one."""
    return SensorGraph(np.roll(np.eye(series.num_sensors), 1, axis=1), series.ids)
