"""Readings of any origin as a trained model reads them: its sensors, channels, units and times, in its order.

Shape legend: T time, P past steps, F future steps, N nodes, C value channels, K channels known ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.far_readings import far_notes
from dcrnn_fast.data.left_out import silenced
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.tables_in_memory import array_of, column_names
from dcrnn_fast.data.times import count_from, regular_axis, same_interval
from dcrnn_fast.data.timestamps import Stamps, parse_times, row_of_array, whole_seconds
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.known_future import after_notes, for_all_sensors, future_rows, newest_row, series_of
from dcrnn_fast.messages import first_few


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """What a model wants of its readings.

    Attributes:
        ids: N sensors, in its order; data: the data section of its training.
        all_digits: see ``assemble_data``.
    """

    ids: tuple[str, ...]
    window_format: WindowFormat
    data: DataConfig
    scaler: Scaler
    all_digits: bool

    def series(self, readings: ArrayLike, times: ArrayLike | None, ids: Sequence[str] | None) -> SensorSeries:
        """A series of readings in memory, as ``Forecaster.forecast`` takes them; of the newest rows alone, unless there
        is a gap among all of them to tell of.

        Raises:
            UserError: no times, ids or shapes that do not fit, readings that are none.
        """
        form = self.window_format
        values = array_of(readings)
        if ids is None and (names := column_names(readings)) is not None:
            ids = self.ids if names == self.ids else names
            if ids is not self.ids and not set(ids) & set(self.ids):
                raise UserError(
                    f"the table's columns are named {first_few(ids)}, the model's sensors {first_few(self.ids)}: name "
                    "the columns so, or give ids"
                )
        index: Any = getattr(readings, "index", None)
        if times is None and getattr(getattr(index, "dtype", None), "kind", None) == "M":
            times = index
        if times is None:
            raise UserError("readings without times: give times, one a row or that of the newest row")
        if values.ndim not in (2, 3):
            raise UserError(f"readings must be (time, sensors) or (time, sensors, channels), got {values.shape}")
        if ids is None and values.shape[1] != len(self.ids):
            raise UserError(
                f"the readings are of {values.shape[1]} sensor(s), the model's are {len(self.ids)}: give all, in the "
                "order of its ids, or say with ids which sensors the columns are"
            )
        times_T, in_utc, zone = _read_times(times)
        if times_T.ndim == 0:
            times_T = count_from(np.datetime64(times_T.item(), "s"), -form.interval, len(values))[::-1]
        first = 0
        if form.past_steps < len(values) == len(times_T) and not (self.data.fill_rows or form.known_channels):
            axis = regular_axis(times_T, "the recent data", interval=form.interval)
            if len(axis.segments) == 1:  # else all rows are read, to say where the gaps are
                first = len(values) - form.past_steps
        channels = values.shape[-1] if values.ndim == 3 else 1
        as_trained = channels == len(form.channels)  # then they go by position
        series = make_series(
            values[first:],
            times_T=times_T[first:],
            ids=self.ids if ids is None else tuple(ids),
            missing=form.rule_of_readings,
            where="the recent data",
            channels=form.channels if as_trained else tuple(map(str, range(channels))),
            units=form.units if as_trained else None,
            interval=form.interval,
            in_utc=in_utc,
            name_row=lambda row: row_of_array(first + row),
            missing_value=self.data.missing_value,
            fill_rows=self.data.fill_rows,
            all_digits=self.all_digits,
        )
        return series if zone is None else replace(series, zone=zone)

    def newest(
        self,
        recent: SensorSeries | ArrayLike,
        times: ArrayLike | None,
        ids: Sequence[str] | None,
        leave_out: Sequence[str],
    ) -> tuple[SensorSeries, SensorSeries | None]:
        """The newest P rows that the model reads, fitted to it, and the rows after them, if it knows channels ahead.

        Raises:
            UserError: there are fewer, or a gap among them; as ``series``, ``fitting`` and ``up_to_newest``.
        """
        form, after = self.window_format, None
        given = recent if isinstance(recent, SensorSeries) else self.series(recent, times, ids)
        if form.known_channels:
            series, after = self.up_to_newest(given, leave_out)
        else:
            newest = given.tail(form.past_steps)  # first: other rows of a year of readings are never touched
            series = self.fitting(newest, "the recent data", spare_sensors=True, leave_out=leave_out)
        rows = series.num_steps
        start, _ = (series.parts if self.data.cross_gaps else series.segments)[-1]
        if rows < form.past_steps:
            raise UserError(
                f"the model reads the newest {form.past_steps} steps, the recent data has only {rows}: give more rows"
            )
        if rows - start < form.past_steps:
            raise UserError(
                f"the newest {form.past_steps} steps must follow each other every {form.freq}, but there is a gap "
                f"before {series.times_T[start]}: add the absent rows, empty (--fill-rows does)"
            )
        return series, after

    def fitting(
        self,
        series: SensorSeries,
        where: str,
        *,
        spare_sensors: bool,
        leave_out: Sequence[str],
        channels: tuple[int, ...] | None = None,
    ) -> SensorSeries:
        """The series with the model's sensors and channels in the model's order, without readings of ``leave_out``.

        Args:
            spare_sensors: sensors that the model does not know are left out; else they are an error.
            channels: of the model, those that are wanted; None: all.
        Raises:
            UserError: sensors, channels, units, interval or kind of times are not the model's.
        """
        known_ids = {*self.ids, *self.data.leave_out, *series.ids} if leave_out else set()
        if unknown := [sensor for sensor in leave_out if sensor not in known_ids]:
            raise UserError(
                f"leave_out: the model has no sensor {first_few(unknown)}; its sensors are {first_few(self.ids)}"
            )
        series = silenced(series, leave_out, self.ids)
        form = self.window_format
        if not same_interval(series.interval, form.interval):
            raise UserError(f"{where} has a row every {series.freq}, the model was trained on every {form.freq}")
        if series.in_utc and form.in_utc is False:
            raise UserError(
                f"{where} has times with an offset, the model was trained on times without one: give times as those "
                "of training, without an offset"
            )
        if form.in_utc and series.in_utc is False:
            raise UserError(
                f"{where} has times without an offset, the model was trained on times with one, read as UTC: add the "
                "offset, as in 2024-02-01T00:05+01:00"
            )
        if form.in_utc and series.in_utc is None:
            note = f"{where}: its times are taken for UTC, as the model was trained on times read as UTC"
            series = series.with_notes((*series.notes, note))
        if series.ids != self.ids:
            known, given = set(self.ids), set(series.ids)
            if lacking := [sensor for sensor in self.ids if sensor not in given]:
                spare = [sensor for sensor in series.ids if sensor not in known]
                raise UserError(
                    f"{where} lacks {len(lacking)} of the model's {len(known)} sensors: {first_few(lacking)}; sensors "
                    f"that the model does not know: {first_few(spare)} (--leave-out takes the model's as missing)"
                )
            known |= set(leave_out)
            if not spare_sensors and (spare := [sensor for sensor in series.ids if sensor not in known]):
                raise UserError(
                    f"{where} has {len(spare)} sensors that the model does not know: {first_few(spare)}; --leave-out "
                    "leaves them out"
                )
            series = series.take_sensors(self.ids)
        names, units = form.channels, form.units
        if channels is not None:
            names, units = (tuple(of[c] for c in channels) for of in (names, units))
        by_position = len(series.channels) == len(names) and (_unnamed(series.channels) or _unnamed(form.channels))
        if by_position and series.channels != names:
            series = replace(series, channels=names)
        if unknown := [name for name in names if name not in series.channels]:
            raise UserError(
                f"{where} lacks channel {first_few(unknown)}; it has {first_few(series.channels)}, the model reads "
                f"{first_few(names)}"
            )
        if series.channels != names:
            series = series.take_channels(tuple(series.channels.index(name) for name in names))
        for name, unit, wanted in zip(names, series.units, units, strict=True):
            if unit and wanted and unit != wanted:
                raise UserError(f"{where} has {name} in {unit}, the model was trained on {wanted}: convert it first")
        return series if series.units == units else replace(series, units=units)

    def up_to_newest(self, series: SensorSeries, leave_out: Sequence[str]) -> tuple[SensorSeries, SensorSeries]:
        """The newest P rows, of which the last has a target reading, and the rows after it; fitted to the model."""
        form, rows = self.window_format, self.window_format.window_steps
        while True:  # no more of a year of readings is touched than it takes
            fitted = self.fitting(series.tail(rows), "the recent data", spare_sensors=True, leave_out=leave_out)
            newest = newest_row(fitted, form)
            if newest is not None or rows >= series.num_steps:
                break
            rows *= 4
        if newest is None:
            raise UserError(
                f"the recent data has no reading of {', '.join(form.target_names)} in any of its {series.num_steps} "
                "rows: a model that knows channels ahead forecasts the steps after the newest one; give more rows"
            )
        later = fitted.num_steps - 1 - newest
        wanted = series.tail(form.past_steps + later)
        fitted = self.fitting(wanted, "the recent data", spare_sensors=True, leave_out=leave_out)
        return fitted.head(fitted.num_steps - later), fitted.tail(later)

    def future(
        self,
        known: SensorSeries | ArrayLike | None,
        after: SensorSeries,
        times_F: NDArray[np.datetime64],
        leave_out: Sequence[str],
    ) -> tuple[SensorSeries, tuple[str, ...]]:
        """The known channels of the steps that are forecast, from ``known``, or else from the rows after the newest."""
        form, given = self.window_format, known
        where = "the recent data" if given is None else "known"
        if given is None:
            ahead = after.take_channels(form.known_channels)
        else:
            if not isinstance(given, SensorSeries):
                index: Any = getattr(given, "index", None)
                dated = getattr(getattr(index, "dtype", None), "kind", None) == "M"
                stamps = _read_times(index) if dated else None
                given = series_of(given, stamps, times_F, self.ids, form, self.data)
            given = for_all_sensors(given, self.ids, form)
            ahead = self.fitting(given, where, spare_sensors=True, leave_out=leave_out, channels=form.known_channels)
        future, notes = future_rows(ahead, times_F, form, where)
        notes = (*after_notes(after.num_steps, times_F[0], used=known is None), *notes)
        return future, (*notes, *far_notes(future, self.scaler.take(form.known_channels)))


def _read_times(times: ArrayLike) -> Stamps:
    """Times in the shape of ``times``; numpy's cannot have an offset, so that of them it is not known."""
    array = np.asarray(times)
    if array.dtype.kind == "M":
        from_pandas = type(times).__module__.partition(".")[0] == "pandas"  # which keeps the zone
        return Stamps(whole_seconds(array), False if from_pandas else None)
    try:
        stamps = parse_times([str(time) for time in array.ravel()])
    except UserError as error:
        raise UserError(f"times must be datetime64, datetimes or ISO texts; {error}") from error
    zone = getattr(times, "tz", None)
    return Stamps(stamps.times_T.reshape(array.shape), stamps.in_utc, stamps.zone if zone is None else str(zone))


def _unnamed(channels: tuple[str, ...]) -> bool:
    """Whether these are the names that readers give to channels of a file without names: they go by position."""
    return channels in (("value",), tuple(map(str, range(len(channels)))))
