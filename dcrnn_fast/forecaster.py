"""``Forecaster``, which ``dcrnn_fast.load`` gives: a trained model that forecasts and is evaluated.

Shape legend: T time, P past steps, F future steps, N nodes, C value channels, O target channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import Precision
from dcrnn_fast.data.dataset import ForecastData, future_times
from dcrnn_fast.data.inputs import assemble_inputs
from dcrnn_fast.data.scaler import Scaler, unscaled
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.data_for_model import open_for_model
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.evaluator import calibrate_model, evaluate_model, predict_scaled
from dcrnn_fast.evaluation.forecast_notes import beyond_notes, readings_notes, values_notes
from dcrnn_fast.evaluation.forecasts import Forecast
from dcrnn_fast.evaluation.intervals import LEVELS, Intervals, require_levels
from dcrnn_fast.evaluation.known_future import assemble_known
from dcrnn_fast.evaluation.not_finite import report_notes
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.repeated import RepeatedForecasts
from dcrnn_fast.model.whole_forecasts import WholeForecasts
from dcrnn_fast.model_inputs import ModelInputs
from dcrnn_fast.scored_windows import as_cut_in_training, is_held_out, limited, same_source, scored_windows
from dcrnn_fast.training_data import unchanged

_NAN = np.float32(np.nan)


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained model in evaluation mode, and all that its forecasts depend on.

    Attributes:
        model: on its device; call ``forecast`` or ``evaluate`` unless you scale yourself.
        config: the training run's; graph: with the ids in the model's order.
        precision: the arithmetic of forecasts.
        about: the model's origin; notes: lines to print.
        data_digests, training_part: the checkpoint's record of its training data; None: it has none.
        trained_steps: how many steps the model was trained to forecast, if it forecasts another number; else None.
        intervals: around its forecasts; None: the checkpoint has none.
    """

    model: DCRNN | WholeForecasts
    config: Config
    graph: SensorGraph
    window_format: WindowFormat
    scaler: Scaler
    precision: Precision
    about: dict[str, str | int]
    notes: tuple[str, ...]
    data_digests: dict[str, str] | None = None
    training_part: TrainingPart | None = None
    trained_steps: int | None = None
    intervals: Intervals | None = None

    @property
    def _all_digits(self) -> bool:
        return self.config.training.loss_unit == "deviation"

    @cached_property
    def _target_scaler(self) -> Scaler:
        return self.scaler.take(self.window_format.target_channels)

    @cached_property
    def _target_places(self) -> list[int] | None:
        """The target channels among the value channels; None: they are these."""
        places = list(self.window_format.target_channels)
        return None if places == list(range(len(self.window_format.channels))) else places

    @cached_property
    def _inputs(self) -> ModelInputs:
        return ModelInputs(self.ids, self.window_format, self.config.data, self.scaler, self._all_digits)

    @cached_property
    def _repeated(self) -> RepeatedForecasts | None:
        """None: autocast, or partners, are part of each call."""
        if isinstance(self.model, DCRNN) and self.precision in ("fp32", "bf16x3"):
            return RepeatedForecasts(self.model)
        return None

    @property
    def ids(self) -> tuple[str, ...]:
        """N sensor ids, in the model's order."""
        return self.graph.ids

    def forecast(
        self,
        recent: SensorSeries | ArrayLike,
        *,
        times: ArrayLike | None = None,
        ids: Sequence[str] | None = None,
        leave_out: Sequence[str] | None = None,
        known: SensorSeries | ArrayLike | None = None,
    ) -> Forecast:
        """Forecast the F steps after the newest reading.

        A model that was trained with channels that are known ahead needs them for those steps, from the rows after the
        newest one with a target reading, or from ``known``.

        Args:
            recent: a series, or readings (T, N) or (T, N, C) in original units with at least P rows, the newest last;
                only the newest P are used, of the others the times alone if there is no gap (so an infinite reading
                among them is no error). Missing readings are NaN, or 0 if the model was trained so.
            times: of the rows of an array, or of its newest row alone; with an offset or a zone where the model was
                trained on such times. A series brings its own, and so does a table (pandas) with a ``DatetimeIndex``.
            ids: the sensors of an array's columns, in any order; left out: the model's order. A series brings its own,
                and a table its columns' names; sensors that the model does not know are left out.
            leave_out: sensors of the model whose readings are not to be used, or are not there: missing to it; None:
                those that were left out in training, which it does not know.
            known: the K channels that are known ahead (not the calendar), for the F steps: a series, found by times; an
                array (F, N, K), or (F, K) for all sensors alike, in the model's order; a table (pandas) with a column
                for each channel, or of one channel for each sensor, found by its ``DatetimeIndex`` if it has one.
        Raises:
            UserError: too few steps, a gap among the newest P, unknown or missing sensors, another interval or other
                channels than the model was trained on, times with an offset where that had none, or the reverse; what
                is known ahead is missing at some of the F steps, which are named, or no row has a target reading, after
                which they would begin.
        """
        left = self.config.data.leave_out if leave_out is None else leave_out
        form = self.window_format
        if known is not None and not form.known_channels:
            raise UserError(
                f"known: this model knows {known_ahead_words(form)} ahead, which needs no rows: leave it out"
            )
        series, after = self._inputs.newest(recent, times, ids, left)
        values_PNC, observed_PNC = np.asarray(series.values_TNC), np.asarray(series.observed_TNC)
        # As it was trained: see assemble_data.
        exact_PNC = series.readings(slice(None)) if self._all_digits else values_PNC
        x_BPNC = assemble_inputs(
            form, self.scaler, exact_PNC[None], observed_PNC[None], np.asarray(series.times_T)[None]
        )
        times_F = future_times(series.times_T[-1], form)
        future, known_notes = (None, ()) if after is None else self._inputs.future(known, after, times_F, left)
        known_BFNK = None
        if form.num_known:
            assembled = assemble_known(form, self.scaler, series, future, times_F, all_digits=self._all_digits)
            known_BFNK = torch.from_numpy(assembled)
        places = self._target_places
        past_PNO = np.where(observed_PNC, values_PNC, _NAN)
        observed_PNO = observed_PNC
        if places is not None:
            past_PNO, observed_PNO = past_PNO[..., places], observed_PNC[..., places]
        notes = readings_notes(series, observed_PNC, observed_PNO, x_BPNC, self.scaler)
        scaled_FNO = self._scaled(torch.from_numpy(x_BPNC), known_BFNK)
        with np.errstate(over="ignore"):  # ``values_notes`` tells of it
            values_FNO = unscaled(scaled_FNO, *self._target_scaler.arrays(scaled_FNO.dtype))
        if self.config.model.at_least is not None:
            values_FNO = np.maximum(values_FNO, np.float32(self.config.model.at_least))
        lower_LFNO = upper_LFNO = None
        if self.intervals is not None:
            lower_LFNO, upper_LFNO = self.intervals.bounds(values_FNO, self.config.model.at_least)
        minimum_O = None if self.training_part is None else self.training_part.minimum
        return Forecast(
            values_FNO=values_FNO,
            times_F=times_F,
            ids=self.ids,
            channels=form.target_names,
            units=form.target_units,
            past_values_PNO=past_PNO,
            past_times_P=series.times_T,
            zone=series.zone or ("UTC" if form.in_utc else None),
            positions_N2=self.graph.positions_N2 if series.positions_N2 is None else series.positions_N2,
            notes=(
                *notes,
                *known_notes,
                *values_notes(values_FNO, minimum_O, form.target_names),
                *beyond_notes(self.trained_steps, form.future_steps),
                *series.notes,
            ),
            about=self.about,
            in_utc=form.in_utc if series.in_utc is None else series.in_utc,
            levels=() if self.intervals is None else self.intervals.levels,
            lower_LFNO=lower_LFNO,
            upper_LFNO=upper_LFNO,
        )

    def _scaled(self, x_BPNC: torch.Tensor, known_BFNK: torch.Tensor | None) -> NDArray[np.float32]:
        """The scaled forecast (F, N, O) of one window."""
        if self._repeated is not None and (again := self._repeated.forecast(x_BPNC, known_BFNK)) is not None:
            return again.numpy()[0]
        scaled_BFNO = predict_scaled(self.model, x_BPNC, self.precision, known_BFNK)
        if self._repeated is not None:
            self._repeated.was_checked()
        return scaled_BFNO.cpu().numpy()[0]

    def open_data(self, data: DataConfig | None = None, graph: GraphConfig | None = None) -> ForecastData:
        """The data that the model was trained on, or other data of the same kind, with the model's graph and scaler.

        Args:
            graph: given only to check that its graph file holds the model's graph.
        Raises:
            UserError: sensors, graph, channels, units or interval are not the model's; errors of the readers.
        """
        opened = open_for_model(self._inputs, self.graph, self.config, data, graph)
        return opened if self.trained_steps is None else as_cut_in_training(opened, self.trained_steps)

    def evaluate(
        self,
        data: ForecastData | None = None,
        split: str | None = None,
        *,
        starts_W: NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        max_windows: int | None = None,
        name: str | None = None,
    ) -> Report:
        """Scores over exactly the windows of a split (or over ``starts_W``), beside the baselines.

        Args:
            data: left out: ``open_data()``.
            split: all, train, validation or test; left out: the windows that the model was not trained on
                (``scored_windows``).
            max_windows: so many of them at most, evenly spread; None: as ``max_test_windows`` of the training.
        Raises:
            UserError: the split has no window.
        """
        data = self.open_data() if data is None else data
        name = data.config.data if name is None else name
        if starts_W is not None:
            split = split or "test"
        held_out = is_held_out(data, self.data_digests)
        training, notes = unchanged(self.open_data, self.data_digests) if held_out else (None, ())
        if training is not None and same_source(data.config, training.config):
            held_out, training = False, None  # the same readings, but for sensors that are left out now
        scored = scored_windows(data, split, name, held_out=held_out, part=self.training_part, training=training)
        scored = limited(scored, self.config.data.max_test_windows if max_windows is None else max_windows)
        if starts_W is not None:
            scored = replace(scored, starts_W=starts_W, why="")
        report = evaluate_model(
            self.model,
            data,
            scored.name,
            name=name,
            starts_W=scored.starts_W,
            batch_size=batch_size,
            precision=self.precision,
            at_least=self.config.model.at_least,
            held_out=scored.held_out,
            training=training,
            minimum_O=None if self.training_part is None else self.training_part.minimum,
            about=self.about,
            trained_steps=self.trained_steps,
            intervals=self.intervals,
        )
        return replace(report, notes=(*filter(None, (scored.why,)), *report_notes(report), *report.notes, *notes))

    def calibrate(
        self,
        data: ForecastData | None = None,
        *,
        levels: Sequence[float] = LEVELS,
        batch_size: int | None = None,
        max_windows: int | None = None,
    ) -> tuple["Forecaster", tuple[str, ...]]:
        """This forecaster with prediction intervals from its errors on the validation windows, and lines about them.

        Of data that it was not trained on, only validation windows count whose times training has not seen.

        Args:
            data: left out: ``open_data()``.
            levels: shares of readings that the intervals are made to hold, ascending.
            max_windows: so many windows at most, evenly spread; None: as many as memory allows.
        Raises:
            UserError: too few windows for every level; the message says how many are needed.
        """
        chosen = require_levels(levels)
        if max_windows is not None and max_windows < 1:
            raise UserError(f"max_windows must be at least 1, got {max_windows}")
        data = self.open_data() if data is None else data
        starts_W = data.validation.starts_W
        if is_held_out(data, self.data_digests):
            unseen = scored_windows(data, None, data.config.data, held_out=True, part=self.training_part)
            starts_W = np.intersect1d(starts_W, unseen.starts_W)
        calibration = calibrate_model(
            self.model,
            data,
            starts_W,
            chosen,
            limit=max_windows,
            batch_size=batch_size,
            precision=self.precision,
            at_least=self.config.model.at_least,
        )
        if calibration.intervals is None:
            raise UserError("; ".join(calibration.notes))
        return replace(self, intervals=calibration.intervals), calibration.notes
