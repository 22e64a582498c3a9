"""A trial: real steps of a configuration on made-up readings, and from their times the time of a step of any size.

Time grows with the rounds in which the threads take the windows, times the steps of a window; a step of two sensors
says what does not grow.

Shape legend: P past and F future steps, N nodes, T rows.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from dcrnn_fast.config.data import CALENDAR
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.batches import GlobalBatch
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.messages import sized
from dcrnn_fast.model.build import chosen_backend
from dcrnn_fast.model.flops import forward_flops
from dcrnn_fast.planning.choice import COMPUTED_AGAIN, Choice, windows_a_round
from dcrnn_fast.planning.even_graph import even_graph
from dcrnn_fast.planning.source import made_up_readings
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.system import MIB, available_mib
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.step import EagerStep

BUDGET_SECONDS = 5.0
_A_STEP_SECONDS = 0.4
"""a round of windows takes no longer, if it can"""
_A_SHARE = 0.15
"""of the budget for one trial"""
_MOST_TRIALS = 12
"""a small configuration needs no more"""
_MADE_UP = 30
"""bytes of a made-up reading while its series is made: float64, float32, mask and their copies"""
_GUESSED_RATE = 40e9
"""operations per second and thread, to choose the size of the first trial"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of an optimiser step: ``fixed``, and ``each`` for a round of windows and one of their P + F steps.

    Attributes:
        forecast_each: the same of a forecast. save: with which it was timed. round_: windows of a round.
    """

    fixed: float
    each: float
    forecast_each: float
    save: str
    round_: int

    def step_seconds(self, choice: Choice, steps: int) -> float:
        """A step of one process; another way of saving than the timed one at the usual ratio."""
        rounds = choice.accumulate * -(-choice.batch_size // self.round_)
        ratio = _cost(choice.save) / _cost(self.save)
        return self.fixed + self.each * rounds * _work(steps) * ratio

    def forecast_seconds(self, windows: int, steps: int) -> float:
        """Forecasts of so many windows."""
        return self.forecast_each * windows / self.round_ * _work(steps)


def _cost(save: str) -> float:
    return 1.0 if save == "all" else COMPUTED_AGAIN


def trial_run(config: Config, graph: SensorGraph, channels: int, windows: int) -> Run:
    """A run of ``config`` on made-up readings of these sensors, with so many windows to train on at least.

    Raises:
        UserError: not even the readings fit in this machine's memory.
    """
    rows = config.data.past_steps + config.data.future_steps + 2 * windows + 20
    needed, available = rows * graph.num_nodes * channels * _MADE_UP, available_mib() * MIB
    if needed > available:
        raise UserError(
            f"out of memory ({sized(available)} available): {config.data.past_steps} + {config.data.future_steps} "
            f"steps of {graph.num_nodes} sensors and {channels} channel(s) cannot be tried here: their readings take "
            f"{sized(needed)}, {sized(needed - available)} more"
        )
    data = replace(
        config.data,
        data="trial",
        split="published",
        train_fraction=0.7,
        test_fraction=0.0,
        max_train_windows=None,
        max_validation_windows=None,
        variables=(),
        targets=(),
        missing="auto",
        missing_value=(),
        known_ahead=(),
    )
    output_channels = max(len(config.data.targets), 1)
    names = tuple(f"channel{channel}" for channel in range(channels))
    series = make_series(
        made_up_readings(rows, graph.num_nodes, channels),
        times_T=count_from(np.datetime64("2024-01-01", "s"), np.timedelta64(300, "s"), rows),
        ids=graph.ids,
        missing="zero",
        where="trial",
        channels=names,
        units=("",) * channels,
    )
    known = names[output_channels : output_channels + len(config.data.known_names)]
    if config.data.calendar_ahead:
        known = (*known, CALENDAR)
    data = replace(data, targets=names[:output_channels], known_ahead=known)
    made: ForecastData = assemble_data(series, graph, data)
    training = replace(config.training, batch_size=windows, accumulate=1, global_batch_size=None, compile=False)
    return make_run(replace(config, data=data, training=training), made, Ranks())


def timed(config: Config, graph: SensorGraph, channels: int, batch_size: int, budget: float = BUDGET_SECONDS) -> Timing:
    """Times steps of ``config`` with up to ``batch_size`` windows, for about ``budget`` seconds.

    Steps of a window are left out if a round of windows would take too long.
    """
    began = time.perf_counter()
    threads = torch.get_num_threads()
    round_ = windows_a_round(graph.num_nodes, threads)
    small = min(batch_size, round_)
    run = trial_run(config, graph, channels, min(batch_size, 64 * round_))
    form = run.data.window_format
    guessed = forward_flops(run.model, form.past_steps).training * small / _GUESSED_RATE / threads
    if (share := _A_STEP_SECONDS / guessed) < 1:
        past, future = (max(min(2, steps), int(share * steps)) for steps in (form.past_steps, form.future_steps))
        shorter = replace(config.data, past_steps=past, future_steps=future)
        run = trial_run(replace(config, data=shorter), graph, channels, min(batch_size, 64 * round_))
        form = run.data.window_format
    # A tile for each thread: threads that share one wait for each other hundreds of times.
    enough = windows_a_round(2, threads)
    fixed = _seconds(trial_run(config, even_graph(2, 4), channels, enough), enough, 4)
    _seconds(run, small, 1)  # the first step loads and allocates
    # Several short trials: on a machine with other work the quickest says the most.
    rounds = max(int(_A_SHARE * budget / _seconds(run, small, 1)), 1)
    windows = min(rounds * round_, batch_size)
    seconds = _seconds(run, windows, 2)
    for _ in range(_MOST_TRIALS):
        if time.perf_counter() - began + 1.3 * seconds > budget:
            break
        seconds = min(seconds, _seconds(run, windows, 1))
    work = -(-windows // round_) * _work(form.window_steps)
    forecast = _forecast_seconds(run, windows) / work
    return Timing(fixed, max(seconds - fixed, 0.0) / work, forecast, run.model.save, round_)


def _work(steps: int) -> float:
    """Steps of a window by their cost: before the first one there is no state, which leaves about a quarter of it."""
    return steps - 0.75


def first_step(config: Config) -> None:
    """A step of ``config`` on two sensors.

    Raises:
        UserError: the backend that was asked for cannot run here.
    """
    run = trial_run(config, even_graph(2, 4), 1, 1)
    chosen_backend(run.model)
    _seconds(run, 1, 1)


def _seconds(run: Run, windows: int, repeats: int) -> float:
    """The quickest of several steps of a batch of so many windows."""
    stepper, stop = EagerStep(run), StopRequest()
    batch = GlobalBatch(np.arange(windows, dtype=np.int64) % len(run.data.train), 0, windows)
    run.model.train()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        stepper.take(batch, 0, 1e-4, stop)
        took.append(time.perf_counter() - began)
    return min(took)


@torch.no_grad()
def _forecast_seconds(run: Run, windows: int) -> float:
    run.model.eval()
    batch = run.gather(run.data.train.starts_W[np.arange(windows) % len(run.data.train)])
    began = time.perf_counter()
    run.predict(batch)
    return time.perf_counter() - began
