"""One forecast from Python, a table of readings in and a table of forecasts out, beside the operator alone.

    python -m bench.forecast_overhead [--rows 12] [--rounds 60] [--profile]

METR-LA's sizes: 207 sensors, 12 + 12 steps, two layers of 64 units, one window; on its graph if DCRNN_FAST_DATA names
the folder that holds it. The compiled operator is timed inside the same calls; medians are printed.
"""

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

from bench.workload import MEAN, STD, data_folder, metr_la
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.model.build import build_model

FIRST = np.datetime64("2012-03-01T00:00", "s")


def made_forecaster(missing_input: str = "last") -> Forecaster:
    """A forecaster of METR-LA's sizes with random weights."""
    workload = metr_la(data_folder(), batch_size=1, training=False)
    adjacency = workload.adjacency()
    graph = SensorGraph(adjacency, tuple(str(700_000 + 13 * node) for node in range(workload.nodes)))
    form = WindowFormat(
        past_steps=workload.past_steps,
        future_steps=workload.future_steps,
        channels=("speed",),
        target_channels=(0,),
        units=("mph",),
        time_of_day=True,
        day_of_week=False,
        missing="zero",
        missing_input=missing_input,
        freq="5min",
    )
    config = Config(
        data=DataConfig(past_steps=workload.past_steps, future_steps=workload.future_steps),
        model=ModelConfig(hidden_units=workload.hidden_units, num_layers=workload.num_layers),
    )
    torch.manual_seed(0)
    model = build_model(config, graph, input_channels=form.input_channels, output_channels=form.output_channels)
    return Forecaster(
        model=model.eval(),
        config=config,
        graph=graph,
        window_format=form,
        scaler=Scaler((MEAN,), (STD,)),
        precision="fp32",
        about={},
        notes=(),
        training_part=TrainingPart(first=FIRST, last=FIRST + np.timedelta64(84, "D"), minimum=(1.0,)),
    )


def made_readings(forecaster: Forecaster, rows: int) -> pd.DataFrame:
    """Readings of so many rows, 2 % of them missing, as a table with a column for each sensor."""
    generator = np.random.default_rng(0)
    speed_TN = generator.normal(MEAN, STD, (rows, len(forecaster.ids))).clip(1).round(2)
    speed_TN[generator.random(speed_TN.shape) < 0.02] = 0
    times = pd.date_range("2012-03-01", periods=rows, freq="5min")
    return pd.DataFrame(speed_TN, index=times, columns=list(forecaster.ids))


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--profile", action="store_true", help="functions by their time, instead of medians")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    forecaster = made_forecaster()
    readings = made_readings(forecaster, flags.rows)
    for _ in range(5):
        forecaster.forecast(readings).to_pandas()
    if flags.profile:
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(flags.rounds):
            forecaster.forecast(readings).to_pandas()
        profile.disable()
        pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
        return
    whole, inside = [], []
    with _timed_operator() as seconds:
        for _ in range(flags.rounds):
            seconds.clear()
            begin = time.perf_counter()
            forecaster.forecast(readings).to_pandas()
            whole.append(time.perf_counter() - begin)
            inside.append(sum(seconds))
    outside = [all_of_it - of_it for all_of_it, of_it in zip(whole, inside, strict=True)]
    share = statistics.median(out / all_of_it for out, all_of_it in zip(outside, whole, strict=True))
    print(
        f"{flags.rows} rows: the call {statistics.median(whole) * 1e3:.2f} ms, in the operator "
        f"{statistics.median(inside) * 1e3:.2f} ms, outside {statistics.median(outside) * 1e3:.2f} ms: {share:.1%}"
    )


@contextmanager
def _timed_operator() -> Iterator[list[float]]:
    """A list that gets the seconds of each call of the compiled operator, while the body runs."""
    operator, seconds = torch.ops.dcrnn_fast.seq2seq_cpu, []

    def timed(*arguments: object) -> object:
        begin = time.perf_counter()
        result = operator(*arguments)
        seconds.append(time.perf_counter() - begin)
        return result

    torch.ops.dcrnn_fast.seq2seq_cpu = timed
    try:
        yield seconds
    finally:
        torch.ops.dcrnn_fast.seq2seq_cpu = operator


if __name__ == "__main__":
    main()
