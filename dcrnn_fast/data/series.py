"""A sensor series: readings, the mask of observed ones, their times, and borders that no window may cross.

Shape legend: T time, N sensors, C channels.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcrnn_fast.data.cleaning import clean, rule_for, without_values
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.stored import Readings, from_row, take_channels, take_sensors
from dcrnn_fast.data.times import (
    NameRow,
    TimeAxis,
    count_from,
    format_freq,
    regular_axis,
    row_of_array,
    rows_on_grid,
    skips_an_hour,
    whole_seconds,
)
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.texts import unwritable

SILENT = "silent"
"""in ``leave_out``: all sensors without an observed target"""
_sound_ids: list[tuple[str, ...]] = [()]
"""the sensors that were checked last: rows of the same ones come again and again"""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SensorSeries:
    """Readings of N sensors on a regular time axis.

    Attributes:
        values_TNC: float32, original units, may be stored; a missing reading is 0, with any value in its file.
        observed_TNC: bool, may be stored; false where the reading is missing.
        rest_TNC: float32, each reading's remainder beyond ``values_TNC``, so that both together have 48 bits of it;
            None if float32 holds all readings, or the remainders are not known.
        times_T: ``datetime64[s]``, one a row.
        ids: N different texts.
        channels: C different names; units: C texts, "" if unknown.
        interval: time between rows, ``timedelta64`` in seconds or months.
        segments: half-open row ranges without a gap in time; windows stay inside unless gaps may be crossed.
        parts: half-open row ranges that no window ever crosses (the files of a scenario folder); each consists of
            complete segments.
        missing: the rule that made the mask: zero, nan or none.
        in_utc: whether the times had a zone or an offset, and are UTC now; None: not known.
        zone: the name or offset that they had, as in Europe/Berlin, +01:00, UTC; None: none, or not known.
        positions_N2: (latitude, longitude) in degrees, or None.
        notes: lines about the series to print.
    """

    values_TNC: Readings
    observed_TNC: Readings
    times_T: np.ndarray
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    interval: np.timedelta64
    segments: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int], ...]
    missing: str
    in_utc: bool | None = None
    zone: str | None = None
    positions_N2: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    rest_TNC: np.ndarray | None = None

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.times_T)

    @property
    def num_sensors(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def freq(self) -> str:
        """The interval as text, such as 5min."""
        return format_freq(self.interval)

    def readings(self, rows: np.ndarray | slice) -> np.ndarray:
        """(..., N, C) float64 of these rows, with all digits that are known."""
        readings = self.values_TNC[rows].astype(np.float64)
        return readings if self.rest_TNC is None else readings + self.rest_TNC[rows]

    def take_channels(self, indices: tuple[int, ...]) -> "SensorSeries":
        """The series with these channels only; neighbouring channels stay a view of the same memory."""
        return replace(
            self,
            values_TNC=take_channels(self.values_TNC, indices),
            observed_TNC=take_channels(self.observed_TNC, indices),
            rest_TNC=None if self.rest_TNC is None else np.asarray(take_channels(self.rest_TNC, indices)),
            channels=tuple(self.channels[i] for i in indices),
            units=tuple(self.units[i] for i in indices),
        )

    def take_sensors(self, ids: tuple[str, ...]) -> "SensorSeries":
        """The series of these sensors, in this order (a copy, unless it is stored)."""
        index_of = {sensor: i for i, sensor in enumerate(self.ids)}
        if unknown := [sensor for sensor in ids if sensor not in index_of]:
            raise UserError(f"the series has no sensor {first_few(unknown)}; it has {first_few(list(self.ids))}")
        index = np.array([index_of[sensor] for sensor in ids], dtype=np.int64)
        return replace(
            self,
            values_TNC=take_sensors(self.values_TNC, index),
            observed_TNC=take_sensors(self.observed_TNC, index),
            rest_TNC=None if self.rest_TNC is None else take_sensors(self.rest_TNC, index),
            ids=ids,
            positions_N2=None if self.positions_N2 is None else self.positions_N2[index],
        )

    def head(self, num_steps: int) -> "SensorSeries":
        """The first ``num_steps`` rows (views, or read if stored)."""

        def cut(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((a, min(b, num_steps)) for a, b in ranges if a < num_steps)

        return replace(
            self,
            values_TNC=self.values_TNC[:num_steps],
            observed_TNC=self.observed_TNC[:num_steps],
            rest_TNC=None if self.rest_TNC is None else self.rest_TNC[:num_steps],
            times_T=self.times_T[:num_steps],
            segments=cut(self.segments),
            parts=cut(self.parts),
        )

    def with_notes(self, notes: tuple[str, ...]) -> "SensorSeries":
        """The same series with other notes."""
        return replace(self, notes=notes)

    def tail(self, num_steps: int) -> "SensorSeries":
        """The last ``num_steps`` rows (views)."""
        first = self.num_steps - num_steps
        if first <= 0:
            return self

        def cut(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((max(a - first, 0), b - first) for a, b in ranges if b > first)

        return replace(
            self,
            values_TNC=from_row(self.values_TNC, first),
            observed_TNC=from_row(self.observed_TNC, first),
            rest_TNC=None if self.rest_TNC is None else self.rest_TNC[first:],
            times_T=self.times_T[first:],
            segments=cut(self.segments),
            parts=cut(self.parts),
        )


def make_series(
    readings: np.ndarray,
    *,
    times_T: np.ndarray,
    ids: tuple[str, ...],
    missing: str,
    where: str,
    channels: tuple[str, ...] = ("value",),
    units: tuple[str, ...] | None = None,
    interval: np.timedelta64 | None = None,
    positions_N2: np.ndarray | None = None,
    in_utc: bool | None = None,
    name_row: NameRow = row_of_array,
    missing_value: tuple[float, ...] = (),
    marks_gaps: bool = False,
    fill_rows: bool = False,
    all_digits: bool = True,
) -> SensorSeries:
    """A series from raw readings, whose missing ones become a mask at once.

    Args:
        readings: (T, N) or (T, N, C) numbers.
        times_T: ``datetime64``, any unit.
        missing: "zero" (zeros and NaN are missing), "nan" (NaN is missing), "none" (a NaN is an error), "auto" (see
            ``rule_for``).
        where: the file, for messages.
        interval: when it is known better than from the times.
        in_utc: see ``SensorSeries``.
        name_row: a row's name in messages.
        missing_value: more values that mean a missing reading, compared in float32.
        marks_gaps: the file declares a fill value, whether or not a reading has it.
        fill_rows: rows that the time axis lacks become rows of missing readings, and it has no gap then.
        all_digits: with ``rest_TNC``.

    Raises:
        UserError: shapes, ids or channels do not fit, readings are not numbers or too large for float32, a NaN under
            "none", a time axis that is not regular (see ``regular_axis``); with ``fill_rows``, times off the grid, or
            more absent rows than rows.
    """
    if readings.ndim == 2:
        readings = readings[:, :, None]
    if readings.ndim != 3 or 0 in readings.shape:
        raise UserError(f"{where}: readings must be (time, sensors) or (time, sensors, channels), got {readings.shape}")
    if readings.dtype.kind not in "fiub":
        raise UserError(f"{where}: readings must be numbers, got {readings.dtype}")
    if len(times_T) != len(readings):
        raise UserError(f"{where}: {len(readings)} rows of readings but {len(times_T)} times")
    outline, row_T = outline_series(
        readings.shape[1:],
        times_T=times_T,
        ids=ids,
        where=where,
        channels=channels,
        units=units,
        interval=interval,
        positions_N2=positions_N2,
        in_utc=in_utc,
        name_row=name_row,
        fill_rows=fill_rows,
    )
    if missing_value:
        readings = without_values(readings, missing_value)
    if missing == "auto":
        missing = rule_for([readings], marks_gaps=marks_gaps or bool(missing_value))
    values_TNC, observed_TNC, rest_TNC = clean(
        readings, missing=missing, where=where, ids=ids, name_row=name_row, all_digits=all_digits
    )
    if row_T is not None:
        values_TNC, observed_TNC = _spread(values_TNC, row_T), _spread(observed_TNC, row_T)
        rest_TNC = None if rest_TNC is None else _spread(rest_TNC, row_T)
    return replace(outline, values_TNC=values_TNC, observed_TNC=observed_TNC, rest_TNC=rest_TNC, missing=missing)


def outline_series(
    shape: tuple[int, ...],
    *,
    times_T: np.ndarray,
    ids: tuple[str, ...],
    where: str,
    channels: tuple[str, ...],
    units: tuple[str, ...] | None = None,
    interval: np.timedelta64 | None = None,
    positions_N2: np.ndarray | None = None,
    in_utc: bool | None = None,
    name_row: NameRow = row_of_array,
    fill_rows: bool = False,
) -> tuple[SensorSeries, np.ndarray | None]:
    """All of a series but its readings, of which it has one row of zeros, and the rule for missing ones.

    Args:
        shape: (N, C); the others: see ``make_series``.

    Returns:
        The series, and the row (T,) of it at which each of the given rows belongs; None: at its own.

    Raises:
        UserError: as ``make_series``, of all but the readings.
    """
    num_sensors, num_channels = shape
    sound = ids is _sound_ids[0] and len(ids) == num_sensors
    if not sound:
        _require_names(ids, num_sensors, "sensor id", where)
    _require_names(channels, num_channels, "channel", where)
    units = ("",) * num_channels if units is None else units
    if (odd := unwritable((*channels, *units) if sound else (*ids, *channels, *units))) is not None:
        raise UserError(f"{where}: the name or unit {odd} is no text that can be written")
    _sound_ids[0] = ids
    try:
        times_T = whole_seconds(times_T)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    axis = regular_axis(times_T, where, interval=interval, name_row=name_row)
    notes: tuple[str, ...] = ()
    row_T = None
    if fill_rows and len(axis.segments) > 1:
        row_T = rows_on_grid(times_T, axis.interval, where, name_row)
        times_T = count_from(times_T[0], axis.interval, int(row_T[-1]) + 1)
        axis = TimeAxis(axis.interval, ((0, len(times_T)),))
        notes = (f"{where}: {len(times_T) - len(row_T)} absent row(s) filled with missing readings (--fill-rows)",)
    series = SensorSeries(
        values_TNC=np.zeros((1, num_sensors, num_channels), dtype=np.float32),
        observed_TNC=np.zeros((1, num_sensors, num_channels), dtype=bool),
        times_T=times_T,
        ids=ids,
        channels=channels,
        units=units,
        interval=axis.interval,
        segments=axis.segments,
        parts=((0, len(times_T)),),
        missing="auto",
        in_utc=in_utc,
        positions_N2=positions_N2,
    )
    notes = (*notes, *gap_notes(series, where))
    return (replace(series, notes=notes) if notes else series), row_T


def join_rests(series: Sequence[SensorSeries], axis: int) -> np.ndarray | None:
    """``rest_TNC`` of several series along an axis; 0 for those that have none."""
    if all(one.rest_TNC is None for one in series):
        return None
    rests = [np.zeros(one.values_TNC.shape, np.float32) if one.rest_TNC is None else one.rest_TNC for one in series]
    return np.concatenate(rests, axis=axis)


def _spread(array_TNC: np.ndarray, row_T: np.ndarray) -> np.ndarray:
    """The rows at their places in a longer array, zeros (false) between them."""
    spread = np.zeros((int(row_T[-1]) + 1, *array_TNC.shape[1:]), dtype=array_TNC.dtype)
    spread[row_T] = array_TNC
    return spread


def gap_notes(series: SensorSeries, where: str) -> tuple[str, ...]:
    """One line about the gaps in the time axis, or nothing."""
    part_starts = {start for start, _ in series.parts}
    gaps = [start for start, _ in series.segments if start not in part_starts]
    if not gaps:
        return ()
    row = gaps[0]
    skipped = not series.in_utc and any(skips_an_hour(series.times_T, gap, series.interval) for gap in gaps)
    spring = "; one is an hour of a Sunday night, as where local clocks are set forward" if skipped else ""
    return (
        f"{where}: {len(gaps)} gap(s) in the time axis, the first between {series.times_T[row - 1]} and "
        f"{series.times_T[row]}; no window spans a gap unless --cross-gaps; --fill-rows makes absent rows missing "
        f"readings{spring}",
    )


def silent_sensors(series: SensorSeries, channels: tuple[int, ...]) -> str:
    """The sensors without an observed reading in one of these channels, in words; "" if all have one in each."""
    seen_NC = np.zeros((series.num_sensors, len(series.channels)), dtype=bool)
    for rows in row_pieces(series.observed_TNC.shape):
        seen_NC |= series.observed_TNC[rows].any(axis=0)
        if seen_NC[:, list(channels)].all():
            return ""
    return silent_in(seen_NC, series, channels)


def silent_in(seen_NC: np.ndarray, series: SensorSeries, channels: tuple[int, ...]) -> str:
    """``silent_sensors`` from what was observed at all."""
    seen_NC = seen_NC[:, list(channels)]
    if seen_NC.all():
        return ""
    k = int(np.flatnonzero(~seen_NC.all(axis=0))[0])
    silent = [series.ids[n] for n in np.flatnonzero(~seen_NC[:, k])]
    return (
        f"{len(silent)} sensor(s) have no observed reading of {series.channels[channels[k]]!r} at all: "
        f"{first_few(silent)}"
    )


def require_observed_sensors(series: SensorSeries, channels: tuple[int, ...], where: str) -> None:
    """Check that each sensor has at least one observed reading in each of these channels.

    Raises:
        UserError: it names the first few sensors that have none.
    """
    refuse_silent(silent_sensors(series, channels), where)


def refuse_silent(silent: str, where: str) -> None:
    """Raises UserError if there are silent sensors; what to do about them is in the message."""
    if silent:
        raise UserError(
            f"{where}: {silent}; leave them out (--leave-out {SILENT} takes all such, or --land-mask the land cells of "
            "a grid), or say which readings are missing (--missing)"
        )


def join_parts(series: list[SensorSeries], names: list[str], where: str) -> SensorSeries:
    """Several series on the same sensors as one, each a part that no window leaves.

    Raises:
        UserError: sensors, channels or interval differ, or only some have times with an offset; the file is named.
    """
    first = series[0]
    for other, name in zip(series[1:], names[1:], strict=True):
        if other.in_utc != first.in_utc:
            raise UserError(
                f"{where}: the times of one of {names[0]} and {name} have an offset, the other's have none: make them "
                "alike"
            )
        for what in ("ids", "channels", "interval"):
            if getattr(other, what) != getattr(first, what):
                got, wanted = getattr(other, what), getattr(first, what)
                if isinstance(got, tuple):
                    got, wanted = _first_difference(got, wanted)
                raise UserError(f"{where}: {name} has other {what} than {names[0]}: {got} where that has {wanted}")
    offsets = np.cumsum([0, *(one.num_steps for one in series)]).tolist()
    joined = replace(
        first,
        values_TNC=np.concatenate([one.values_TNC for one in series]),
        observed_TNC=np.concatenate([one.observed_TNC for one in series]),
        rest_TNC=join_rests(series, 0),
        times_T=np.concatenate([one.times_T for one in series]),
        segments=tuple(
            (a + offset, b + offset) for one, offset in zip(series, offsets[:-1], strict=True) for a, b in one.segments
        ),
        parts=tuple(itertools.pairwise(offsets)),
        notes=(),
    )
    return replace(joined, notes=gap_notes(joined, where))


def _require_names(names: tuple[str, ...], count: int, what: str, where: str) -> None:
    if len(names) != count:
        raise UserError(f"{where}: {count} {what}s wanted, got {len(names)}")
    if len(set(names)) != count:
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(f"{where}: {what} {twice!r} comes twice")
    if "" in names:
        raise UserError(
            f"{where}: {what} {names.index('') + 1} of {count} is empty; name it, or take its column out (a comma at "
            "the end of each line makes one)"
        )


def _first_difference(got: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, str]:
    if len(got) != len(wanted):
        return f"{len(got)} of them", f"{len(wanted)}"
    return next((repr(a), repr(b)) for a, b in zip(got, wanted, strict=True) if a != b)
