"""A series from raw readings: names, shapes and times are checked, and missing readings become a mask.

Shape legend: T time, N sensors, C channels.
"""

from dataclasses import replace

import numpy as np

from dcrnn_fast.data.cleaning import clean, rule_for, without_values
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import TimeAxis, count_from, regular_axis, rows_on_grid, skips_an_hour
from dcrnn_fast.data.timestamps import NameRow, row_of_array, whole_seconds
from dcrnn_fast.errors import UserError
from dcrnn_fast.reading.texts import unwritable

_sound_ids: list[tuple[str, ...]] = [()]
"""the sensors that were checked last: rows of the same ones come again and again"""


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


def _spread(array_TNC: np.ndarray, row_T: np.ndarray) -> np.ndarray:
    """The rows at their places in a longer array, zeros (false) between them."""
    spread = np.zeros((int(row_T[-1]) + 1, *array_TNC.shape[1:]), dtype=array_TNC.dtype)
    spread[row_T] = array_TNC
    return spread


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
