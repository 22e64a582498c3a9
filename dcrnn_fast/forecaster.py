"""``dcrnn_fast.load``: a trained model with everything it needs to forecast and to be evaluated.

Shape legend: T time, P past steps, F future steps, N nodes, C value channels, O target channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dcrnn_fast.checkpoints.find import find_checkpoint
from dcrnn_fast.checkpoints.state import INTERVALS, average_notes, forecast_weights
from dcrnn_fast.command import command_line
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import Backend, Precision
from dcrnn_fast.data.dataset import ForecastData, future_times
from dcrnn_fast.data.inputs import assemble_inputs
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.saved_form import saved_form
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_for_model
from dcrnn_fast.data.training_part import TrainingPart
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.device import choose_device
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.coverage import NEAR, coverage_notes, far_notes, newest_notes
from dcrnn_fast.evaluation.evaluator import calibrate_model, evaluate_model, predict_scaled
from dcrnn_fast.evaluation.forecasts import Forecast
from dcrnn_fast.evaluation.intervals import LEVELS, Intervals, require_levels
from dcrnn_fast.evaluation.known_future import (
    assemble_known,
)
from dcrnn_fast.evaluation.labels import below_note
from dcrnn_fast.evaluation.not_finite import forecast_notes, report_notes
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.graph import SensorGraph, match_graph, read_graph
from dcrnn_fast.messages import first_few
from dcrnn_fast.model.build import build_model, precision_notes
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.whole_forecasts import WholeForecasts
from dcrnn_fast.model_inputs import ModelInputs
from dcrnn_fast.scored_windows import as_cut_in_training, is_held_out, limited, scored_windows
from dcrnn_fast.training_data import require_training_data, unchanged

_SAME_WEIGHT = 1e-6
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
    def _inputs(self) -> ModelInputs:
        return ModelInputs(self.ids, self.window_format, self.config.data, self.scaler, self._all_digits)

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
        series = recent if isinstance(recent, SensorSeries) else self._inputs.series(recent, times, ids)
        left = self.config.data.leave_out if leave_out is None else leave_out
        form = self.window_format
        if known is not None and not form.known_channels:
            raise UserError(
                f"known: this model knows {known_ahead_words(form)} ahead, which needs no rows: leave it out"
            )
        after = None
        if form.known_channels:
            series, after = self._inputs.up_to_newest(series, left)
        else:
            recent = series.tail(form.past_steps)  # first: other rows of a year of readings are never touched
            series = self._inputs.fitting(recent, "the recent data", spare_sensors=True, leave_out=left)
        rows = series.num_steps
        start, _ = (series.parts if self.config.data.cross_gaps else series.segments)[-1]
        if rows < form.past_steps:
            raise UserError(
                f"the model reads the newest {form.past_steps} steps, the recent data has only {rows}: give more rows"
            )
        if rows - start < form.past_steps:
            raise UserError(
                f"the newest {form.past_steps} steps must follow each other every {form.freq}, but there is a gap "
                f"before {series.times_T[start]}: add the absent rows, empty (--fill-rows does)"
            )
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
        targets = list(form.target_channels)
        scaled_BFNO = predict_scaled(self.model, torch.from_numpy(x_BPNC), self.precision, known_BFNK)
        with np.errstate(over="ignore"):  # ``forecast_notes`` tells of it
            values_FNO = self._target_scaler.inverse(scaled_BFNO.cpu().numpy()[0])
        if self.config.model.at_least is not None:
            values_FNO = np.maximum(values_FNO, np.float32(self.config.model.at_least))
        lower_LFNO = upper_LFNO = None
        if self.intervals is not None:
            lower_LFNO, upper_LFNO = self.intervals.bounds(values_FNO, self.config.model.at_least)
        past_PNO = values_PNC.copy()
        np.copyto(past_PNO, _NAN, where=~observed_PNC)
        if not (every := targets == list(range(len(form.channels)))):
            past_PNO = past_PNO[..., targets]
        positions_N2 = self.graph.positions_N2 if series.positions_N2 is None else series.positions_N2
        return Forecast(
            values_FNO=values_FNO,
            times_F=times_F,
            ids=self.ids,
            channels=form.target_names,
            units=form.target_units,
            past_values_PNO=past_PNO,
            past_times_P=series.times_T,
            zone=series.zone or ("UTC" if form.in_utc else None),
            positions_N2=positions_N2,
            notes=(
                *coverage_notes(observed_PNC, self.ids),
                *(far_notes(series, self.scaler) if np.abs(x_BPNC).max() > NEAR else ()),
                *newest_notes(observed_PNC if every else observed_PNC[..., targets], series.times_T),
                *known_notes,
                *forecast_notes(values_FNO),
                *self._below_notes(values_FNO),
                *self._beyond_notes(),
                *series.notes,
            ),
            about=self.about,
            in_utc=form.in_utc if series.in_utc is None else series.in_utc,
            levels=() if self.intervals is None else self.intervals.levels,
            lower_LFNO=lower_LFNO,
            upper_LFNO=upper_LFNO,
        )

    def open_data(self, data: DataConfig | None = None, graph: GraphConfig | None = None) -> ForecastData:
        """The data that the model was trained on, or other data of the same kind, with the model's graph and scaler.

        Args:
            graph: given only to check that its graph file holds the model's graph.
        Raises:
            UserError: sensors, graph, channels, units or interval are not the model's; errors of the readers.
        """
        config = replace(self.config.data if data is None else data, max_test_windows=None)  # ``evaluate`` limits them
        if data is None:
            require_training_data(config)
        series, own_graph = read_for_model(config, self.config.graph, self.ids)
        left = set(config.leave_out) - set(self.ids)
        if graph is not None:
            own_graph = read_graph(graph, ids=series.ids, leave_out=left)
        elif self.config.graph.graph is not None:
            own_graph = None  # the model was trained with another graph than the one that the data brings along
        match = (graph or self.config.graph).match
        if own_graph is not None:
            kept = [sensor for sensor in series.ids if sensor not in left]
            matched = match_graph(own_graph, series.ids if match == "position" else kept, match).take(kept)
            self._require_same_graph(matched, config.data)
        series = self._inputs.fitting(series, config.data, spare_sensors=False, leave_out=config.leave_out)
        if data is not None:
            series = series.with_notes((*series.notes, *far_notes(series, self.scaler)))
        opened = assemble_data(series, self.graph, config, scaler=self.scaler, all_digits=self._all_digits)
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
        if training is not None and _same_source(data.config, training.config):
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

    def _beyond_notes(self) -> tuple[str, ...]:
        trained, steps = self.trained_steps, self.window_format.future_steps
        if trained is None or steps <= trained:
            return ()
        return (f"look: steps {trained + 1} to {steps} are beyond the {trained} that the model was trained on",)

    def _below_notes(self, values_FNO: NDArray[np.float32]) -> tuple[str, ...]:
        if self.training_part is None:
            return ()
        below_O = (values_FNO < 0).sum(axis=(0, 1)).tolist()
        of = values_FNO.shape[0] * values_FNO.shape[1]
        return tuple(below_note(below_O, of, self.training_part.minimum, self.window_format.target_names))

    def _require_same_graph(self, graph: SensorGraph, where: str) -> None:
        if set(graph.ids) != set(self.ids):
            different = sorted(set(graph.ids) ^ set(self.ids))
            raise UserError(f"{where} is of another graph than the model: {first_few(different)} are not in both")
        difference = abs(graph.take(self.ids).adjacency - self.graph.adjacency).tocoo()
        if difference.nnz and difference.max() > _SAME_WEIGHT:
            worst = int(difference.data.argmax())
            edge = f"{self.ids[difference.row[worst]]!r} to {self.ids[difference.col[worst]]!r}"
            raise UserError(
                f"{where} is of another graph than the model: same sensors, but the weight from {edge} differs by "
                f"{difference.data[worst]:.3g}"
            )


def load(
    path: str | Path,
    *,
    device: str = "auto",
    backend: Backend | None = None,
    precision: Precision | None = None,
    at_least: float | None = None,
    future_steps: int | None = None,
) -> Forecaster:
    """A forecaster from a checkpoint, or from a folder (its best checkpoint, as ``find_checkpoint`` says).

    Needs nothing but the checkpoint: graph, ids, scaler and configuration are in it.

    Args:
        device: auto: the GPU where there is one, else the CPU.
        backend, precision, at_least: left out: as in training.
        future_steps: F, if it is to be another than in training: the decoder goes on reading its own forecasts.
    Raises:
        UserError: no checkpoint there, damaged and no other good one beside it, or of another shape than it says; no
            such device.
    """
    found = find_checkpoint(path)
    state = found.state
    config, graph, window_format, scaler, training_part = saved_form(state, str(found.path))
    if backend is not None:
        config = replace(config, model=replace(config.model, backend=backend))
    if precision is not None:
        config = replace(config, training=replace(config.training, precision=precision))
    if at_least is not None:
        config = replace(config, model=replace(config.model, at_least=at_least))
    trained_steps, intervals = None, _intervals(state.get(INTERVALS), window_format, graph, found.path)
    if future_steps not in (None, window_format.future_steps):
        trained_steps = window_format.future_steps
        config = replace(config, data=replace(config.data, future_steps=future_steps))
        intervals = None if intervals is None else intervals.of_steps(future_steps)
        window_format = replace(window_format, future_steps=future_steps)
    model = _model(config, graph, window_format, forecast_weights(state), found.path)
    training = state["training"] or {}
    about: dict[str, str | int] = {"checkpoint": str(found.path), "version": str(state["version"])}
    about |= {name: int(training[name]) for name in ("epoch", "step") if name in training}
    return Forecaster(
        model=model.to(choose_device(device)).eval(),
        config=config,
        graph=graph,
        window_format=window_format,
        scaler=scaler,
        precision=config.training.precision,
        about=about | {"backend": config.model.backend},
        notes=(*found.notes, *average_notes(state), *precision_notes(config)),
        data_digests=training.get("data"),
        training_part=training_part,
        trained_steps=trained_steps,
        intervals=intervals,
    )


def _intervals(state: Any, form: WindowFormat, graph: SensorGraph, path: Path) -> Intervals | None:
    if state is None:
        return None
    try:
        return Intervals.from_state(state, (form.future_steps, graph.num_nodes, form.output_channels))
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from error


def without_intervals(forecaster: Forecaster) -> str:
    """A line that says how a model without prediction intervals gets them."""
    how = command_line("evaluate", forecaster.about["checkpoint"], "--calibrate")
    return f"the checkpoint has no prediction intervals; from its validation windows: {how}"


def _model(
    config: Config, graph: SensorGraph, window_format: WindowFormat, weights: dict[str, Any], path: Path
) -> DCRNN:
    try:
        return build_model(
            config,
            graph,
            input_channels=window_format.input_channels,
            output_channels=window_format.output_channels,
            known_channels=window_format.num_known,
            weights=weights,
        )
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from error


def _same_source(data: DataConfig, training: DataConfig) -> bool:
    """Whether both read the same, but for the sensors left out."""
    return replace(data, leave_out=()) == replace(training, leave_out=())
