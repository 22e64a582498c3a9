"""What a model with ``--known-ahead`` is told of the steps that it forecasts: by the rows after the newest reading, or
by a source of its own.

Shape legend: F future steps, R rows, N sensors, K channels known ahead.
"""

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.inputs import put_known, readable
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.sources import formats_of, read_source
from dcrnn_fast.data.tables_in_memory import array_of
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few


def read_known(path: str, form: WindowFormat, trained: Config) -> SensorSeries:
    """The series of ``--known``, in any format.

    Raises:
        UserError: the model needs none; errors of the readers.
    """
    if not form.known_channels:
        raise UserError(
            f"--known {path}: the model knows {known_ahead_words(form)} ahead, which needs no rows: leave it out"
        )
    if not os.path.exists(path):
        raise UserError(f"--known {path}: there is no such file or folder")
    kind = trained.data.data_format
    config = DataConfig(
        data=path,
        data_format=kind if os.path.isdir(path) and kind in ("channels", "continued", "scenarios") else "auto",
        freq=form.freq,
        missing=form.rule_of_readings,  # type: ignore[arg-type]
        missing_value=trained.data.missing_value,
    )
    if "netcdf" in formats_of(config):
        config = replace(config, variables=form.known_names)
    return read_source(config, trained.graph)[0]


def newest_row(series: SensorSeries, form: WindowFormat) -> int | None:
    """The last row with an observed target; None: no row has one."""
    observed_TNC = np.asarray(series.observed_TNC)[..., list(form.target_channels)]
    rows = np.flatnonzero(observed_TNC.any(axis=(1, 2)))
    return int(rows[-1]) if rows.size else None


def after_notes(rows: int, first: np.datetime64, *, used: bool) -> tuple[str, ...]:
    """A line about the rows after the newest one with a target reading, if there are some: the forecast begins there.

    Args:
        first: the first step that is forecast. used: what is known ahead is read from these rows.
    """
    if not rows:
        return ()
    what = "are taken for what is known ahead" if used else "are not used: what is known ahead is given"
    return (f"the newest {counted(rows, 'row')} without a reading of a target {what}; the forecast begins at {first}",)


def series_of(
    known: ArrayLike,
    stamps: Stamps | None,
    times_F: NDArray[np.datetime64],
    ids: tuple[str, ...],
    form: WindowFormat,
    data: DataConfig,
) -> SensorSeries:
    """A table or an array of what is known ahead, as a series of the model's sensors.

    Args:
        known: (R, N, K), sensors in the model's order; (R, K), the same at all sensors; a table (pandas) with a column
            for each known channel, the same at all sensors, or, of one channel, with a column for each sensor.
        stamps: times of its rows; None: they are the steps that are forecast.
        times_F: those steps.
        data: the training's, which says what else is missing.
    Raises:
        UserError: another shape, other columns.
    """
    names, columns = form.known_names, getattr(known, "columns", None)
    if columns is not None:
        named = [str(column) for column in columns]
        if set(names) <= set(named):
            known = np.asarray(known)[:, [named.index(name) for name in names]]
        elif len(names) == 1 and set(named) & set(ids):
            return _series(np.asarray(known)[:, :, None], tuple(named), stamps, times_F, form, data)
        else:
            raise UserError(
                f"known: the table's columns are {first_few(named)}; wanted a column for each of {', '.join(names)}"
                + (f", or one for each sensor ({first_few(ids)})" if len(names) == 1 else "")
            )
    values = array_of(known, "known")
    if values.ndim == 2 and values.shape[1] == len(names):
        values = np.broadcast_to(values[:, None], (len(values), len(ids), len(names)))
    if values.ndim != 3 or values.shape[1:] != (len(ids), len(names)):
        raise UserError(
            f"known must be (steps, {len(ids)} sensors, {len(names)} channels), or (steps, {len(names)} channels) for "
            f"all sensors alike: {', '.join(names)}; got {values.shape}"
        )
    return _series(values, ids, stamps, times_F, form, data)


def _series(
    values_RNK: NDArray[Any],
    ids: tuple[str, ...],
    stamps: Stamps | None,
    times_F: NDArray[np.datetime64],
    form: WindowFormat,
    data: DataConfig,
) -> SensorSeries:
    if stamps is None:
        if len(values_RNK) > len(times_F):
            raise UserError(
                f"known has {len(values_RNK)} rows without times, the forecast has {counted(len(times_F), 'step')}: "
                f"give those from {times_F[0]} to {times_F[-1]} alone, or a table with its times"
            )
        stamps = Stamps(times_F[: len(values_RNK)], form.in_utc)
    return make_series(
        values_RNK,
        times_T=stamps.times_T,
        ids=ids,
        missing=form.rule_of_readings,
        where="known",
        channels=form.known_names,
        units=tuple(form.units[i] for i in form.known_channels),
        interval=form.interval,
        in_utc=stamps.in_utc,
        missing_value=data.missing_value,
    )


def for_all_sensors(series: SensorSeries, ids: tuple[str, ...], form: WindowFormat) -> SensorSeries:
    """A table with a column for each known channel, as the series of all sensors; any other series as it is.

    Raises:
        UserError: it has columns for some of the channels alone.
    """
    names, given = form.known_names, set(series.ids)
    if len(series.channels) > 1 or not set(names) & given or set(ids) & given:
        return series
    if lacking := [name for name in names if name not in given]:
        raise UserError(f"known: has a column for {first_few(series.ids)}, and none for {first_few(lacking)}")
    series = series.take_sensors(names)

    def spread(array_TK1: Any) -> NDArray[Any]:
        return np.repeat(np.asarray(array_TK1).transpose(0, 2, 1), len(ids), axis=1)

    return replace(
        series,
        values_TNC=spread(series.values_TNC),
        observed_TNC=spread(series.observed_TNC),
        rest_TNC=None if series.rest_TNC is None else spread(series.rest_TNC),
        ids=ids,
        channels=names,
        units=("",) * len(names),
        positions_N2=None,
    )


def future_rows(
    known: SensorSeries, times_F: NDArray[np.datetime64], form: WindowFormat, where: str
) -> tuple[SensorSeries, tuple[str, ...]]:
    """The rows of ``known`` that a forecast of these steps needs, and lines about values that are missing in them.

    Args:
        known: the known channels alone, in the format's order.
        where: the source of these rows, for the message.
    Raises:
        UserError: a row is missing, or a channel has no value in one; the times and channels are named.
    """
    found_F = np.isin(times_F, known.times_T)
    observed_FK = np.zeros((len(times_F), len(form.known_channels)), dtype=bool)
    rows = np.searchsorted(known.times_T, times_F[found_F])
    observed_RNK = np.asarray(known.observed_TNC[rows])
    observed_FK[found_F] = observed_RNK.any(axis=1)
    # Where zeros count as missing, a row of zeros is a row that is there.
    there_FK = np.repeat(found_F[:, None], observed_FK.shape[1], axis=1) if form.missing == "zero" else observed_FK
    if not there_FK.all():
        raise UserError(_lacking(there_FK, times_F, form, where))
    future = replace(
        known,
        values_TNC=np.asarray(known.values_TNC[rows]),
        observed_TNC=observed_RNK,
        rest_TNC=None if known.rest_TNC is None else known.rest_TNC[rows],
        times_T=times_F,
        segments=((0, len(rows)),),
        parts=((0, len(rows)),),
        notes=(),
    )
    return future, _gap_notes(observed_RNK, form)


def _lacking(there_FK: NDArray[np.bool_], times_F: NDArray[np.datetime64], form: WindowFormat, where: str) -> str:
    """Which channels are missing at which times, channels with the same times together."""
    lacking: dict[bytes, list[str]] = {}
    for k, name in enumerate(form.known_names):
        if not there_FK[:, k].all():
            lacking.setdefault(there_FK[:, k].tobytes(), []).append(name)
    said = []
    for key, names in lacking.items():
        absent_F = ~np.frombuffer(key, dtype=bool)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], absent_F, [False])).astype(np.int8)))
        spans = [
            f"{times_F[a]}" if b == a + 1 else f"{times_F[a]} to {times_F[b - 1]} ({b - a} rows)"
            for a, b in edges.reshape(-1, 2).tolist()
        ]
        said.append(f"{', '.join(names)} at {', '.join(spans)}")
    rows = f"{counted(len(times_F), 'row')} from {times_F[0]} to {times_F[-1]}"
    return (
        f"{where}: the model knows {', '.join(form.known_names)} ahead, and its forecast needs the {rows}; missing: "
        f"{'; '.join(said)}: add them to the readings, targets empty, or give them with --known"
    )


def _gap_notes(observed_RNK: NDArray[np.bool_], form: WindowFormat) -> tuple[str, ...]:
    cells = observed_RNK.shape[0] * observed_RNK.shape[1]
    counts = {name: int((~observed_RNK[..., k]).sum()) for k, name in enumerate(form.known_names)}
    zeros = " (zeros are missing to this model)" if form.missing == "zero" else ""
    return tuple(
        f"{name}: {count} of {cells} values that are known ahead are missing{zeros}, and are read as in training "
        f"(--missing-input {form.missing_input})"
        for name, count in counts.items()
        if count
    )


def assemble_known(
    form: WindowFormat,
    scaler: Scaler,
    past: SensorSeries,
    future: SensorSeries | None,
    times_F: NDArray[np.datetime64],
    *,
    all_digits: bool,
) -> NDArray[np.float32]:
    """known_BFNK of one window, as ``ForecastData.gather`` makes it.

    Args:
        past: the newest P rows, all channels; a missing value of the future may be the last one observed there.
        future: the known channels of the F steps; None: the calendar alone.
        all_digits: see ``assemble_data``.
    """
    known_BFNK = np.empty((1, len(times_F), past.num_sensors, form.num_known), dtype=np.float32)
    if future is None:
        put_known(known_BFNK, np.empty((*known_BFNK.shape[:3], 0), dtype=np.float32), times_F[None], form)
        return known_BFNK
    both = [past.take_channels(form.known_channels), future]
    values_SNK = np.concatenate([one.readings(slice(None)) if all_digits else one.values_TNC for one in both])
    observed_SNK = np.concatenate([one.observed_TNC for one in both])
    # Over the complete window: what stands for a gap may be the last observed value from before the forecast.
    scaled_BSNK = readable(values_SNK[None], observed_SNK[None], scaler.take(form.known_channels), form.missing_input)
    put_known(known_BFNK, scaled_BSNK[:, form.past_steps :], times_F[None], form)
    return known_BFNK
