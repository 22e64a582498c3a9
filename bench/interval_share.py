"""What prediction intervals add to ``evaluate``: the same windows with them and without, in turns.

    python -m bench.interval_share [--windows 256] [--rounds 5] [--threads 2]

METR-LA's sizes: 207 sensors, 12 + 12 steps, two layers of 64 units, float32; random weights and readings; intervals of
50, 80 and 90 %. The least time of each counts. Beside them, how much of it was spent in adding up what the intervals
hold, and the errors of each hour.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from bench.forecast_overhead import made_forecaster, made_readings
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.evaluation.evaluator import evaluate_model
from dcrnn_fast.evaluation.hours import HourSums
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import LEVELS, Intervals


def main() -> None:
    """Prints the least times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    forecaster = made_forecaster()
    readings = made_readings(forecaster, 6 * flags.windows)
    series = make_series(
        readings.to_numpy(),
        times_T=readings.index.to_numpy(),
        ids=forecaster.ids,
        missing="zero",
        where="the readings",
        channels=forecaster.window_format.channels,
        units=forecaster.window_format.units,
    )
    data = assemble_data(series, forecaster.graph, DataConfig(), scaler=forecaster.scaler)
    starts_W = np.arange(flags.windows)
    shape_FNO = (forecaster.window_format.future_steps, len(forecaster.ids), 1)
    half_FNO = np.random.default_rng(0).uniform(1, 20, shape_FNO).astype(np.float32)
    intervals = Intervals(LEVELS, np.stack([half_FNO * level for level in LEVELS]), flags.windows)
    best, inside = {"without": np.inf, "with": np.inf}, dict.fromkeys(("intervals", "hours"), np.inf)
    with _seconds_in(IntervalSums) as in_intervals, _seconds_in(HourSums) as in_hours:
        for _ in range(flags.rounds):
            for name, given in (("without", None), ("with", intervals)):
                in_intervals.clear()
                in_hours.clear()
                begin = time.perf_counter()
                evaluate_model(forecaster.model, data, starts_W=starts_W, intervals=given)
                best[name] = min(best[name], time.perf_counter() - begin)
            inside["intervals"] = min(inside["intervals"], sum(in_intervals))
            inside["hours"] = min(inside["hours"], sum(in_hours))
    print(
        f"{flags.windows} windows: {best['without']:.3f} s without intervals, {best['with']:.3f} s with them "
        f"({best['with'] / best['without'] - 1:+.1%}); "
        + ", ".join(f"{seconds / best['with']:.2%} in the sums of {name}" for name, seconds in inside.items())
    )


@contextmanager
def _seconds_in(owner: type) -> Iterator[list[float]]:
    """A list that gets the seconds of each ``add`` of a class, while the body runs."""
    add, seconds = owner.add, []

    def timed(*arguments: object, **options: object) -> None:
        begin = time.perf_counter()
        add(*arguments, **options)
        seconds.append(time.perf_counter() - begin)

    owner.add = timed
    try:
        yield seconds
    finally:
        owner.add = add


if __name__ == "__main__":
    main()
