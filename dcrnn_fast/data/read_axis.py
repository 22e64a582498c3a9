"""What all file readers share: times from texts, from start and freq, and the way into a series.

Shape legend: T time, N sensors, C channels.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dcrnn_fast.config.sections import DataConfig
from dcrnn_fast.data.series import SensorSeries, make_series
from dcrnn_fast.data.times import count_from, parse_freq, parse_time
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import first_few

_OFFSET = re.compile(r"\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})\s*$")


def make_from_file(
    readings: np.ndarray,
    times_T: np.ndarray | None,
    ids: tuple[str, ...],
    path: Path,
    data: DataConfig,
    *,
    channels: tuple[str, ...] = ("value",),
    units: tuple[str, ...] | None = None,
    positions_N2: np.ndarray | None = None,
    in_utc: bool = False,
) -> SensorSeries:
    """A series from what a file held.

    Args:
        times_T: None where the file has none; they are then counted from ``data.start`` in steps of ``data.freq``.
        in_utc: the file's times were local ones with a zone, and are UTC now: said in the notes.

    Raises:
        UserError: no times and no start and freq; times and a start; what ``make_series`` refuses.
    """
    interval = None if data.freq is None else parse_freq(data.freq)
    if times_T is None:
        if data.start is None or interval is None:
            raise UserError(f"{path.name} has no time column: give --start (time of the first row) and --freq (5min)")
        times_T = count_from(parse_time(data.start, "start"), interval, len(readings))
    elif data.start is not None:
        raise UserError(f"{path.name} has times of its own, the first {times_T[0]}: leave out --start")
    series = make_series(
        readings,
        times_T=times_T,
        ids=ids,
        missing=data.missing,
        where=path.name,
        channels=channels,
        units=units,
        interval=interval,
        positions_N2=positions_N2,
    )
    if in_utc:
        note = f"{path.name}: times with a zone were read as UTC; time of day and day of week are UTC's"
        return replace(series, notes=(*series.notes, note))
    return series


def times_of_texts(texts: Sequence[str]) -> tuple[np.ndarray, bool]:
    """``datetime64[s]`` of texts such as 2012-03-01 00:05:00, and whether they had an offset (they are UTC then).

    Raises:
        UserError: a text is no time; the row is named.
    """
    parsed = pd.to_datetime(pd.Series(list(texts), dtype="object"), errors="coerce", utc=True)
    if parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        raise UserError(f"row {row}: {texts[row]!r} is no time, or in another format than {texts[0]!r} of row 0")
    times_T = parsed.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
    return times_T, _OFFSET.search(str(texts[0])) is not None


def choose_channels(series: SensorSeries, variables: tuple[str, ...]) -> SensorSeries:
    """The channels that were asked for, by name or by number; all where none were.

    Raises:
        UserError: no such channel (those there are listed), or one twice.
    """
    if not variables:
        return series
    indices = []
    for variable in variables:
        if variable in series.channels:
            indices.append(series.channels.index(variable))
        elif variable.isdecimal() and int(variable) < len(series.channels):
            indices.append(int(variable))
        else:
            raise UserError(f"variables: no channel {variable!r}; the channels are {', '.join(series.channels)}")
    if len(set(indices)) != len(indices):
        raise UserError(f"variables: each channel once, got {first_few(variables)}")
    if indices == list(range(len(series.channels))):
        return series
    return series.take_channels(tuple(indices))
