"""Shared by all file readers: times from start and freq, and the way into a series.

Shape legend: T time, N sensors, C channels.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.blocks import utc_note
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from, parse_freq
from dcrnn_fast.data.timestamps import NameRow, Stamps, parse_time, row_of_array
from dcrnn_fast.errors import UserError


def make_from_file(
    readings: np.ndarray,
    stamps: Stamps | None,
    ids: tuple[str, ...],
    path: Path,
    data: DataConfig,
    *,
    channels: tuple[str, ...] = ("value",),
    units: tuple[str, ...] | None = None,
    positions_N2: np.ndarray | None = None,
    name_row: NameRow = row_of_array,
    marks_gaps: bool = False,
) -> SensorSeries:
    """A series from a file's contents.

    Args:
        stamps: None if the file has no times; they are then counted from ``data.start`` in steps of ``data.freq``.
        name_row: a row's name in messages.
        marks_gaps: the file declares a fill value.

    Raises:
        UserError: no times and no start and freq; times and a start; errors of ``make_series``.
    """
    interval = None if data.freq is None else parse_freq(data.freq)
    stamps = stamps_of_file(stamps, len(readings), path, data)
    series = make_series(
        readings,
        times_T=stamps.times_T,
        ids=ids,
        missing=data.missing,
        where=path.name,
        channels=channels,
        units=units,
        interval=interval,
        positions_N2=positions_N2,
        in_utc=stamps.in_utc,
        name_row=name_row,
        missing_value=data.missing_value,
        marks_gaps=marks_gaps,
        fill_rows=data.fill_rows,
    )
    if stamps.in_utc:
        return replace(series, zone=stamps.zone, notes=(*series.notes, utc_note(path.name)))
    return series


def stamps_of_file(stamps: Stamps | None, num_rows: int, path: Path, data: DataConfig) -> Stamps:
    """The file's times; if it has none, times counted from ``data.start`` in steps of ``data.freq``.

    Raises:
        UserError: no times and no start and freq; times and a start.
    """
    if stamps is None:
        if data.start is None or data.freq is None:
            raise UserError(f"{path.name} has no time column: give --start (time of the first row) and --freq (5min)")
        start = parse_time(data.start, "start")
        return start._replace(times_T=count_from(start.times_T[0], parse_freq(data.freq), num_rows))
    if data.start is not None:
        raise UserError(f"{path.name} has times of its own, the first {stamps.times_T[0]}: leave out --start")
    return stamps
