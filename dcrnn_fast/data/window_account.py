"""Lines for the user about the windows of a training and its targets, and doubts about them (lines with "look:").

Shape legend: N sensors, R rows of a stretch, C channels.
"""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.account import minute, named_of
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.facts import SeriesFacts, series_facts, stretches
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import is_months
from dcrnn_fast.data.windows import WindowSet, window_counts
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few

_DAY = 86_400


def facts_of(data: ForecastData) -> SeriesFacts:
    """One pass over the series; the training rows are those that a training window reads or forecasts."""
    form = data.window_format
    covered_T = window_counts(data.train.starts_W, form.window_steps, data.series.num_steps) > 0
    return series_facts(data.series, covered_T)


def window_lines(data: ForecastData) -> list[str]:
    """How many windows each part has, and which times each forecasts."""
    form, parts = data.window_format, (data.train, data.validation, data.test)
    counts = ", ".join(f"{len(part)} {part.name}" for part in parts)
    lines = [f"windows: {counts}; {form.past_steps} steps in, {form.future_steps} out"]
    for part in parts:
        if len(part):
            times = data.target_times(part.starts_W[[0, -1]])
            lines.append(f"  {part.name} targets: {minute(times[0, 0])} to {minute(times[-1, -1])}")
    return lines


def window_looks(data: ForecastData, facts: SeriesFacts) -> list[str]:
    """Doubts about the windows to train and test on."""
    series, form = data.series, data.window_format
    looks = []
    for c in form.target_channels:
        silent = [series.ids[n] for n in np.flatnonzero((facts.train_NC[:, c] == 0) & (facts.count_NC[:, c] > 0))]
        if silent:
            looks.append(
                f"look: {counted(len(silent), 'sensor')} without a reading{named_of(series, c)} in the training part: "
                f"{first_few(silent)}; nothing is learnt of their readings (--leave-out)"
            )
    if len(data.test) and not _any_target(data, data.test):
        looks.append("look: the test windows hold no observed target: nothing will be evaluated")
    seconds = 0 if is_months(form.interval) else int(form.interval.astype("timedelta64[s]").astype(np.int64))
    constant = []
    if form.time_of_day and seconds % _DAY == 0 and len(np.unique(series.times_T.astype(np.int64) % _DAY)) == 1:
        constant.append(("time of day", "--no-time-of-day"))
    if form.day_of_week and seconds and seconds % (7 * _DAY) == 0:
        constant.append(("day of week", "--no-day-of-week"))
    looks += [
        f"look: {what} is the same in every row ({series.freq} data): it tells the network nothing ({flag})"
        for what, flag in constant
    ]
    return looks


def require_validation_targets(data: ForecastData) -> None:
    """Raises UserError if no validation window holds an observed target: no epoch could be the best."""
    if len(data.validation) and not _any_target(data, data.validation):
        first, last = data.target_times(data.validation.starts_W[[0, -1]])[[0, -1], [0, -1]]
        raise UserError(
            f"the validation windows, {minute(first)} to {minute(last)}, hold no observed target; give a longer series "
            "or other fractions"
        )


def require_changing_target(data: ForecastData, asked: DataConfig) -> None:
    """Raises UserError if no targets are named and the first channel is a property of the sensors, no reading: it never
    changes at any of them, while another one does.
    """
    series = data.series
    if asked.targets or len(series.channels) < 2 or _ever_changes(series, 0):
        return
    facts = series_facts(series)
    changes_C = np.any(facts.low_NC < facts.high_NC, axis=0)
    if changes_C.any():
        others = first_few(series.channels[c] for c in np.flatnonzero(changes_C).tolist())
        raise UserError(
            f"the first channel, {series.channels[0]!r}, would be forecast, but never changes at any sensor: --targets "
            f"names what is to be forecast ({others}), --variables what is to be read"
        )


def _ever_changes(series: SensorSeries, channel: int) -> bool:
    """Whether any sensor's readings of a channel differ; no more is read than it takes to find out."""
    low_N, high_N = (np.full(series.num_sensors, bound, dtype=np.float32) for bound in (np.inf, -np.inf))
    for _, values_RNC, observed_RNC in stretches(series):
        values_RN, observed_RN = values_RNC[..., channel], observed_RNC[..., channel]
        np.minimum(low_N, np.where(observed_RN, values_RN, np.inf).min(axis=0), out=low_N)
        np.maximum(high_N, np.where(observed_RN, values_RN, -np.inf).max(axis=0), out=high_N)
        if (low_N < high_N).any():
            return True
    return False


def _any_target(data: ForecastData, part: WindowSet) -> bool:
    form = data.window_format
    targets = list(form.target_channels)
    rows = np.flatnonzero(window_counts(part.starts_W + form.past_steps, form.future_steps, data.series.num_steps))
    return any(data.series.observed_TNC[row][:, targets].any() for row in rows)
