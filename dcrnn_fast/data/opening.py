"""From a source and a graph to ``ForecastData``: sensors matched, windows split, scaler fitted."""

from dataclasses import replace

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.known import is_published
from dcrnn_fast.data.left_out import ids_to_leave_out
from dcrnn_fast.data.matched import silent_by_id, with_graph
from dcrnn_fast.data.scale_notes import scale_notes
from dcrnn_fast.data.scaler import Scaler, fit_scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.silent_sensors import require_observed_sensors, silent_sensors
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.data.window_format import window_format_of
from dcrnn_fast.data.windows import split_windows
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph


def open_data(
    data: DataConfig, graph: GraphConfig, *, scaler: Scaler | None = None, all_digits: bool = True
) -> ForecastData:
    """Read series and graph, match them, cut and split the windows, fit the scaler.

    Args:
        scaler: use this one instead of fitting (a trained model's).
        all_digits: see ``assemble_data``.

    Raises:
        UserError: anything that the readers, the graph or the split refuse; no graph; without a scaler, a sensor
            without a reading.
    """
    data = replace(data, leave_out=ids_to_leave_out(data.leave_out))
    series, own_graph = read_source(data, graph)
    data = silent_by_id(data, series)
    series, matched = with_graph(series, own_graph, data, graph)
    if matched is None:
        doubt = next((note for note in series.notes if note.startswith("look:") and "give --graph " in note), None)
        why = "brings no graph along: give one with --graph" if doubt is None else doubt.removeprefix("look: ")
        raise UserError(f"{data.data}{' ' if doubt is None else ': '}{why}")
    if matched.positions_N2 is None and series.positions_N2 is not None:
        matched = matched.with_positions(series.positions_N2)
    return assemble_data(series, matched, data, scaler=scaler, all_digits=all_digits)


def resolved(config: DataConfig, series: SensorSeries, *, published: bool) -> DataConfig:
    """``config`` with ``auto`` replaced by its meaning for this series.

    The published model read a missing reading as raw 0, and counted it so in mean and deviation: right for speeds near
    60 mph, wrong by forty deviations for temperatures in kelvin. So that is the default for the published data alone.
    """
    return replace(
        config,
        missing=series.missing,  # type: ignore[arg-type]
        missing_input=("zero" if published else "last") if config.missing_input == "auto" else config.missing_input,
        scaler=("published" if published else "observed") if config.scaler == "auto" else config.scaler,
    )


def assemble_data(
    series: SensorSeries,
    graph: SensorGraph,
    config: DataConfig,
    *,
    scaler: Scaler | None = None,
    all_digits: bool = True,
) -> ForecastData:
    """``open_data`` for a series and a graph that are in memory, the graph's nodes in the series' order.

    Args:
        all_digits: readings are scaled in float64, with the digits that float32 has no room for, so that the network
            reads the same bits in any unit: training magnifies a difference in the last one. The published recipe, and
            runs of older versions, scale the float32 readings in float32.
    """
    published = is_published(config, series)
    all_digits = all_digits and not published
    if not all_digits:
        series = replace(series, rest_TNC=None)
    config = resolved(config, series, published=published)
    window_format = window_format_of(series, config)
    notes = series.notes
    if scaler is None:
        require_observed_sensors(series, window_format.target_channels, config.data)
    elif silent := silent_sensors(series, window_format.target_channels):
        notes = (*notes, f"{silent}; they are scored nowhere")
    split = split_windows(series, config, to_train=scaler is None)
    if len(split.test) < split.whole_test:
        few = f"{len(split.test)} of {split.whole_test} test windows, evenly spread, are scored (--max-test-windows)"
        notes = (*notes, few)
    if scaler is None:
        scaler = fit_scaler(series, split.whole_train_W, config.past_steps, config.scaler)
        notes = (*notes, *scale_notes(series, split.whole_train_W, config.past_steps, scaler, config.scaler))
    elif scaler.num_channels != len(series.channels):
        raise UserError(
            f"the model's scaler has {scaler.num_channels} channel(s), the series has {len(series.channels)} "
            f"({', '.join(series.channels)}): choose the model's with --variables"
        )
    elif scaler.num_sensors not in (None, series.num_sensors):
        raise UserError(f"the scaler is of {scaler.num_sensors} sensor(s), the series has {series.num_sensors}")
    return ForecastData(
        series=series,
        graph=graph,
        window_format=window_format,
        scaler=scaler,
        train=split.train,
        validation=split.validation,
        test=split.test,
        config=config,
        published=published,
        all_digits=all_digits,
        notes=notes,
    )
