"""One pass over the windows of a split: the model and every baseline, scored on the same targets.

Shape legend: B batch, F future steps, W windows, N nodes, O target channels, K channels known ahead.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcrnn_fast.config.training import Precision
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.baselines import Baselines, LastReading, bounded, fit_baselines
from dcrnn_fast.evaluation.calibration import AbsoluteErrors, Calibration, calibration_of, calibration_windows
from dcrnn_fast.evaluation.fonts import unwritable_note
from dcrnn_fast.evaluation.hours import HoursOfChannel, HourSums
from dcrnn_fast.evaluation.interval_scores import IntervalSums
from dcrnn_fast.evaluation.intervals import Intervals, seen_notes
from dcrnn_fast.evaluation.labels import below_note, horizon_labels
from dcrnn_fast.evaluation.metrics import HorizonSums
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.report_parts import with_steps_beyond
from dcrnn_fast.evaluation.target_rows import windows_at_a_time
from dcrnn_fast.evaluation.trace import Trace, TraceRecorder
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.precision import autocast


@torch.inference_mode()
def predict(
    model: nn.Module,
    x_BPNC: Tensor,
    target_scaler: Scaler,
    *,
    precision: Precision = "fp32",
    at_least: float | None = None,
    known_BFNK: Tensor | None = None,
) -> Tensor:
    """The forecast (B, F, N, O) in original units, float32, on the model's device; the decoder reads its own output.

    The model is used as it stands: put it in evaluation mode first.

    Args:
        x_BPNC: float32, scaled, on any device.
        target_scaler: the scaler of the O target channels.
        precision: the model's arithmetic; the way back to units is float32.
        at_least: forecasts below this, in original units, are raised to it.
        known_BFNK: float32, scaled, on any device: what is known of the forecast's steps, for a model that reads it.
    """
    forecast_BFNO = target_scaler.inverse(predict_scaled(model, x_BPNC, precision, known_BFNK))
    return forecast_BFNO if at_least is None else forecast_BFNO.clamp(min=at_least)


@torch.inference_mode()
def predict_scaled(model: nn.Module, x_BPNC: Tensor, precision: Precision, known_BFNK: Tensor | None = None) -> Tensor:
    """The scaled forecast (B, F, N, O), float32, on the model's device; see ``predict``."""
    # The first of all parameters takes longer to find than small forecasts allow.
    device = model.projection.weight.device if isinstance(model, DCRNN) else next(model.parameters()).device
    x_BPNC = x_BPNC.to(device)
    with autocast(precision, device):
        scaled_BFNO = model(x_BPNC) if known_BFNK is None else model(x_BPNC, known_BFNK=known_BFNK.to(device))
    return scaled_BFNO.float()


def evaluate_model(
    model: nn.Module,
    data: ForecastData,
    split: str = "test",
    *,
    name: str = "data",
    starts_W: NDArray[np.int64] | None = None,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    at_least: float | None = None,
    held_out: bool = False,
    training: ForecastData | None = None,
    minimum_O: Sequence[float | None] | None = None,
    model_name: str = "DCRNN",
    about: Mapping[str, str | int | float] | None = None,
    progress: Callable[[int, int], None] | None = None,
    trained_steps: int | None = None,
    intervals: Intervals | None = None,
) -> Report:
    """Score ``model`` and the baselines over exactly the windows of ``split``: none padded, none repeated.

    Args:
        model: a DCRNN on its device; its training mode is restored.
        data: opened with the model's scaler.
        name: of the data, for the report; of a path, the last part.
        starts_W: other windows than the split's (their first rows), for a protocol of one's own; ``split`` then only
            names them in the report.
        batch_size: windows at a time; None: as many as keep memory small (``windows_at_a_time``).
        at_least: a bound that forecasts, also the baselines', are raised to, in original units.
        held_out: the model was not trained on this data: baselines are fitted on ``training`` (see ``fit_baselines``).
        minimum_O: the least training reading of each target channel, if ``training`` is not given.
        about: facts about the model for a reader of the report.
        progress: called after each batch with the windows that are scored, and how many there are.
        trained_steps: how many steps the model was trained to forecast, if the windows have more of them: those after
            are scored apart (``Report.beyond``).
        intervals: around the model's forecasts, to be measured beside their errors.
    Raises:
        UserError: there is no window.
    """
    if starts_W is None:
        starts_W = data.windows(split).starts_W
    if len(starts_W) == 0:
        raise UserError(f"the {split} part of {name} has no window; choose another split or give more data")
    form = data.window_format
    trained_steps = min(form.future_steps, trained_steps or form.future_steps)
    baselines = fit_baselines(data, held_out=held_out, training=training, at_least=at_least)
    notes = list(baselines.notes)
    if any(isinstance(baseline, LastReading) for baseline in baselines.methods):
        notes.append(
            f"{LastReading.name} reads a missing reading as 0, as some published tables do; last value is the last "
            "observed one"
        )
    was_training = model.training
    model.eval()
    at_a_time = windows_at_a_time(data) if batch_size is None else batch_size
    held = None if intervals is None else IntervalSums(intervals, at_least, next(model.parameters()).device)
    try:
        scores, trace, hours, below_O = _score(
            model, baselines, data, starts_W, at_a_time, precision, at_least, progress, trained_steps, held
        )
    finally:
        model.train(was_training)
    known_O = baselines.minimum_O.tolist() if minimum_O is None else minimum_O
    looks = below_note(below_O, len(starts_W) * form.future_steps * len(data.series.ids), known_O, form.target_names)
    if unwritable := unwritable_note((*data.series.ids, *form.target_names, *form.target_units, name)):
        looks.append(unwritable)
    target_times = data.target_times(starts_W)
    if intervals is not None:
        looks += seen_notes(intervals, target_times)
    positions_N2 = data.series.positions_N2 if data.graph.positions_N2 is None else data.graph.positions_N2
    report = Report(
        data=Path(name).name or name,
        split=split,
        num_windows=len(starts_W),
        times=(target_times.min(), target_times.max()),
        horizons=horizon_labels(form.interval, form.future_steps),
        ids=data.series.ids,
        channels=form.target_names,
        units=form.target_units,
        methods=dict(zip((model_name, *(baseline.name for baseline in baselines.methods)), scores, strict=True)),
        positions_N2=positions_N2,
        edges_E2=np.stack(data.graph.adjacency.nonzero(), axis=1),
        trace=trace,
        notes=(*looks, *data.notes, *notes),
        about=dict(about or {}) | {"precision": precision} | ({} if at_least is None else {"at_least": at_least}),
        strongest=baselines.strongest,
        chosen_by=baselines.chosen_by,
        in_utc=data.series.in_utc,
        intervals=held,
        hours=hours,
    )
    return with_steps_beyond(report, trained_steps)


def _score(
    model: nn.Module,
    baselines: Baselines,
    data: ForecastData,
    starts_W: NDArray[np.int64],
    batch_size: int,
    precision: Precision,
    at_least: float | None,
    progress: Callable[[int, int], None] | None,
    trained_steps: int,
    held: IntervalSums | None,
) -> tuple[list[HorizonSums], Trace | None, tuple[HoursOfChannel, ...], list[int]]:
    """Sums of the model and of each baseline, the stretch of forecasts that the report shows, errors by the hour, and
    how many forecasts of each target channel are below 0; ``held`` gets the model's forecasts too.
    """
    form = data.window_format
    shape_FNO = (form.future_steps, data.series.num_sensors, form.output_channels)
    device = next(model.parameters()).device
    target_scaler = data.scaler.take(form.target_channels)
    model_sums = HorizonSums(*shape_FNO, device=device)
    baseline_sums = [HorizonSums(*shape_FNO) for _ in baselines.methods]
    hours = HourSums(data, trained_steps)
    recorder = TraceRecorder(data, starts_W, baselines.strongest, steps=trained_steps)
    below_O = torch.zeros(form.output_channels, dtype=torch.int64, device=device)
    for first in range(0, len(starts_W), batch_size):
        starts_B = starts_W[first : first + batch_size]
        batch = data.gather(starts_B)
        prediction_BFNO = predict(
            model, batch.x_BPNC, target_scaler, precision=precision, at_least=at_least, known_BFNK=batch.known_BFNK
        )
        below_O += (prediction_BFNO < 0).sum((0, 1, 2))
        y_BFNO, observed_BFNO = batch.y_BFNO.to(device), batch.observed_BFNO.to(device)
        model_sums.add(prediction_BFNO, y_BFNO, observed_BFNO)
        hours.add(starts_B, prediction_BFNO, y_BFNO, observed_BFNO)
        if held is not None:
            held.add(prediction_BFNO, y_BFNO, observed_BFNO)
        recorder.add(starts_B, prediction_BFNO)
        for baseline, sums in zip(baselines.methods, baseline_sums, strict=True):
            forecast_BFNO = bounded(baseline.predict(starts_B), at_least)
            forecast = torch.from_numpy(np.ascontiguousarray(forecast_BFNO))
            sums.add(forecast, batch.y_BFNO, batch.observed_BFNO)
            if baseline.name == baselines.strongest:
                hours.add(starts_B, forecast, batch.y_BFNO, batch.observed_BFNO, baseline=True)
            recorder.add_baseline(baseline.name, starts_B, forecast_BFNO)
        if progress is not None:
            progress(first + len(starts_B), len(starts_W))
    model_sums.sums_SFNO = model_sums.sums_SFNO.cpu()
    if held is not None:
        held.sums_LSFNO = held.sums_LSFNO.cpu()
    return [model_sums, *baseline_sums], recorder.trace(), hours.hours(), below_O.tolist()


@torch.inference_mode()
def calibrate_model(
    model: nn.Module,
    data: ForecastData,
    starts_W: NDArray[np.int64],
    levels: Sequence[float],
    *,
    limit: int | None = None,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    at_least: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Intervals from the errors of ``model``, as it stands, on these windows.

    Args:
        starts_W: first rows of windows that the model was not trained on.
        limit: so many of them at most, evenly spread; None: as many as memory allows (``calibration_windows``).
        batch_size, precision, at_least, progress: as of ``evaluate_model``.
    Raises:
        UserError: there is no window.
    """
    if len(starts_W) == 0:
        raise UserError("there is no validation window to take prediction intervals from: give more data")
    form, chosen_W = data.window_format, calibration_windows(data, starts_W, limit)
    target_scaler = data.scaler.take(form.target_channels)
    errors = AbsoluteErrors(len(chosen_W), form.future_steps, data.graph.num_nodes, form.output_channels)
    at_a_time = windows_at_a_time(data) if batch_size is None else batch_size
    for first in range(0, len(chosen_W), at_a_time):
        batch = data.gather(chosen_W[first : first + at_a_time])
        forecast_BFNO = predict(
            model, batch.x_BPNC, target_scaler, precision=precision, at_least=at_least, known_BFNK=batch.known_BFNK
        )
        device = forecast_BFNO.device
        places_B = np.arange(first, first + len(batch))
        errors.add(places_B, forecast_BFNO, batch.y_BFNO.to(device), batch.observed_BFNO.to(device))
        if progress is not None:
            progress(first + len(batch), len(chosen_W))
    return calibration_of(errors, data, chosen_W, len(starts_W), levels)
