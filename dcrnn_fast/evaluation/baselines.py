"""Forecasts that a model must beat: the last value, means by time, a vector autoregression, seasonal persistence.

Shape legend: B windows, F future steps, W windows, N nodes, O target channels.

Each baseline is fitted on the rows that training windows touch, as the model is, but on no test target, and forecasts a
window from the readings up to the window's newest row, so that all are scored over the same windows and the same
targets. Each forecasts everything: where it lacks a reading, it takes the sensor's mean or last value.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.times import is_months
from dcrnn_fast.data.windows import evenly
from dcrnn_fast.evaluation.autoregression import VAR_LAGS, VAR_MAX_SERIES, VectorAutoregression
from dcrnn_fast.evaluation.seasonal import SeasonalPersistence, seasons
from dcrnn_fast.evaluation.slots import DAY, Climatology, SlotMean
from dcrnn_fast.evaluation.target_rows import FittedOnRows, Floats, TargetRows, windows_at_a_time

_CHOSEN_ON = 1000
"""windows that the strongest baseline is chosen on: evenly spread, enough to rank them"""


class Baseline(Protocol):
    """A forecast without a network."""

    @property
    def name(self) -> str:
        """Its name in tables and legends."""

    def on(self, rows: TargetRows) -> "Baseline":
        """The same, fitted as it is, for windows of other rows."""

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        """Forecasts (B, F, N, O), original units, of the windows whose first rows are ``starts_B``."""


@dataclass(frozen=True)
class Baselines:
    """The baselines of one report.

    Attributes:
        methods: last value first.
        strongest: the name of the one with the least error over the windows that ``chosen_by`` names; None: not known.
        minimum_O: the least observed training reading of each target channel; NaN if it is not known.
        notes: a line for each one that is left out or knows less than its name promises.
    """

    methods: tuple[Baseline, ...]
    strongest: str | None
    chosen_by: str
    minimum_O: Floats
    notes: tuple[str, ...]


def fit_baselines(
    data: ForecastData,
    *,
    held_out: bool = False,
    training: ForecastData | None = None,
    at_least: float | None = None,
) -> Baselines:
    """Fit every baseline that makes sense for this data, and find the strongest.

    Of the seasonal ones (the same time yesterday, last week, last year; climatology) only the one stays that is best on
    the validation windows.

    Args:
        held_out: the model was not trained on this data; then the baselines are fitted on ``training``, and if that is
            not at hand those that need fitting are left out.
        at_least: the bound of the model's forecasts; the baselines' get it too.
    """
    form = data.window_format
    if held_out and training is None:
        rows = TargetRows(data, held_out=True)
        span = rows.times_T[-1] - rows.times_T[0]
        methods = [*_last(rows, data), *_persistent(rows, form.interval, span)[:1]]
        note = "the data that the model was trained on is not at hand: no baseline that must be fitted, none is chosen"
        return Baselines(tuple(methods), None, "", rows.minimum_O, (note,))
    fitted_on = data if training is None or not held_out else training
    rows = TargetRows(fitted_on)
    notes: list[str] = []
    methods = [*_last(rows, data), *_fitted(rows, form.interval, notes)]
    seasonal = _persistent(rows, form.interval, rows.training_span)
    if not is_months(form.interval) and form.interval <= DAY and rows.training_span > 366 * DAY:
        seasonal.append(Climatology(rows, form.interval))
    chosen_by, starts_W = _choosing_windows(fitted_on)
    at_a_time = windows_at_a_time(fitted_on)
    errors = {
        baseline.name: _error(baseline, rows, starts_W, at_a_time, at_least)
        for baseline in (*methods, *seasonal)
        if not isinstance(baseline, LastReading)
    }
    if len(seasonal) > 1:
        seasonal.sort(key=lambda baseline: errors[baseline.name])
        others = " and ".join(baseline.name for baseline in seasonal[1:])
        notes.append(f"{seasonal[0].name} is better by {chosen_by} than {others}, which the tables leave out")
    methods += seasonal[:1]
    known = [baseline.name for baseline in methods if np.isfinite(errors.get(baseline.name, np.inf))]
    if held_out:
        methods = [baseline.on(TargetRows(data, rows, held_out=True)) for baseline in methods]
    strongest = min(known, key=errors.__getitem__) if known else None
    return Baselines(tuple(methods), strongest, chosen_by, rows.minimum_O, tuple(notes))


def _last(rows: TargetRows, data: ForecastData) -> list[Baseline]:
    """The last value, and beside it the raw one if zeros stand for missing readings."""
    if rows.any_missing and data.series.missing == "zero":
        return [LastValue(rows), LastReading(rows)]
    return [LastValue(rows)]


def _fitted(rows: TargetRows, interval: np.timedelta64, notes: list[str]) -> list[Baseline]:
    """The means by time and the autoregression; their gaps are added to ``notes``."""
    slots = SlotMean(rows, interval)
    found: list[Baseline] = [slots]
    if slots.unseen:
        notes.append(
            f"{slots.name}: training saw {len(slots.mean_GNO) - slots.unseen} of its {len(slots.mean_GNO)} slots; the "
            "others take the mean of their time of day, failing that the sensor's mean"
        )
    if rows.num_series > VAR_MAX_SERIES:
        notes.append(
            f"VAR({VAR_LAGS}) is left out: {rows.num_series} series are too many for a dense regression "
            f"(limit {VAR_MAX_SERIES})"
        )
    else:
        found.append(VectorAutoregression(rows))
    return found


def _persistent(rows: TargetRows, interval: np.timedelta64, span: np.timedelta64) -> list[Baseline]:
    return [SeasonalPersistence(rows, name, season) for name, season in seasons(interval, span)]


def _choosing_windows(data: ForecastData) -> tuple[str, NDArray[np.int64]]:
    """The windows that the strongest baseline is chosen on: evenly spread ones of the validation part."""
    windows = data.validation if len(data.validation) else data.train
    chosen_by = "validation" if len(data.validation) else "the training windows (there are no validation windows)"
    starts_W = windows.starts_W
    return chosen_by, evenly(starts_W, _CHOSEN_ON)


def _error(
    baseline: Baseline, rows: TargetRows, starts_W: NDArray[np.int64], at_a_time: int, at_least: float | None
) -> float:
    """Mean absolute error over all horizons in the targets' own deviations, added up over the targets."""
    sums_O, counts_O = np.zeros(len(rows.std_O)), np.zeros(len(rows.std_O))
    for first in range(0, len(starts_W), at_a_time):
        starts_B = starts_W[first : first + at_a_time]
        forecast_BFNO = bounded(baseline.predict(starts_B), at_least)
        values, observed = rows.rows(rows.target_rows(starts_B).ravel())
        values_BFNO, observed_BFNO = values.reshape(forecast_BFNO.shape), observed.reshape(forecast_BFNO.shape)
        sums_O += np.abs(forecast_BFNO - values_BFNO).sum(axis=(0, 1, 2), where=observed_BFNO)
        counts_O += observed_BFNO.sum(axis=(0, 1, 2))
    seen_O = counts_O > 0
    return float((sums_O / np.maximum(counts_O, 1) / rows.std_O)[seen_O].sum()) if seen_O.any() else np.inf


def bounded(forecast_BFNO: Floats, at_least: float | None) -> Floats:
    """The forecast with values below ``at_least`` raised to it."""
    return forecast_BFNO if at_least is None else np.maximum(forecast_BFNO, at_least)


class LastValue(FittedOnRows):
    """Repeats the newest observed value of the window; the sensor's training mean if the window has none."""

    name = "last value"

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        return _repeat(self._rows.newest(starts_B), self._rows.future_steps)


class LastReading(FittedOnRows):
    """Repeats the newest reading as the file has it, a missing one as 0.

    Published comparisons on data whose zeros are missing readings often mean this one. It is weaker than ``LastValue``:
    both are shown on such data, so that neither is taken for the other.
    """

    name = "raw last value"

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        values_BNO, _ = self._rows.rows(starts_B + self._rows.past_steps - 1)
        return _repeat(values_BNO, self._rows.future_steps)


def _repeat(newest_BNO: Floats, future_steps: int) -> Floats:
    return np.broadcast_to(newest_BNO[:, None], (len(newest_BNO), future_steps, *newest_BNO.shape[1:]))
