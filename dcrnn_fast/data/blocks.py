"""A series that its files give some rows at a time, so that one that is larger than memory is never there whole.

Shape legend: T time, R rows of a block, N sensors, C channels.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.cleaning import Cleaned, clean, rule_for, without_values
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import outline_series
from dcrnn_fast.data.times import parse_freq
from dcrnn_fast.data.timestamps import Stamps, parse_time, row_of_array
from dcrnn_fast.errors import UserError

_AT_ONCE = 1 << 18
"""readings that are cleaned at a time: some 6 MiB with their copies"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A series that its files give some rows at a time.

    Attributes:
        stamps: of all T rows, ascending.
        ids: N different texts; channels: C different names; units: C texts, "" if unknown.
        where: the file or folder, for messages.
        read: (R, N, C) float32 or float64, NaN where missing, in order, T rows in all, any R from 1 on; can be called
            again; closes what it opened.
        marks_gaps: missing readings are NaN in the files, or are named by them: zeros are readings.
        positions_N2: (latitude, longitude) in degrees, or None.
        interval: when it is known better than from the times.
        notes: the account: what is there, what is left out and why.
        account: more of it, which is only known when ``read`` has ended.
        thorough: the same source, after all of its files were gone through for their sensors; for a ``read`` that may
            raise ``MoreSensorsError``.
    """

    stamps: Stamps
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    where: str
    read: Callable[[], Iterator[np.ndarray]]
    marks_gaps: bool = True
    positions_N2: np.ndarray | None = None
    interval: np.timedelta64 | None = None
    notes: tuple[str, ...] = ()
    account: Callable[[], tuple[str, ...]] = tuple
    thorough: Callable[[], "Blocks"] | None = None


class MoreSensorsError(Exception):
    """The files hold sensors that a look at their beginnings did not show."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Outline:
    """A series of which only the readings are still in its files.

    Attributes:
        series: has one row of zeros for its readings; its rule for missing ones is settled.
        row_T: the row of the series at which each of the files' belongs; None: at its own.
    """

    series: SensorSeries
    row_T: np.ndarray | None
    blocks: Blocks
    missing_value: tuple[float, ...]

    def cleaned(self) -> Iterator[Cleaned]:
        """All rows of the series in order, some at a time.

        Raises:
            UserError: as ``make_series``, and errors of the files.
        """
        start = written = 0
        for readings_RNC in _pieces(self.blocks, self.missing_value):
            piece = clean(
                readings_RNC,
                missing=self.series.missing,
                where=self.blocks.where,
                ids=self.blocks.ids,
                name_row=row_of_array,
                first_row=start,
            )
            stop = start + len(readings_RNC)
            if self.row_T is None:
                yield piece
            else:
                for row, one in _runs(self.row_T[start:stop], piece):
                    yield from _absent_rows(row - written, readings_RNC.shape[1:])
                    yield one
                    written = row + len(one.values_RNC)
            start = stop

    def rows_of(self, series: SensorSeries) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values and mask of all rows, some at a time, for some of the sensors and channels: those of ``series``."""
        whole = self.series
        index_of = {sensor: n for n, sensor in enumerate(whole.ids)}
        sensors_N = np.array([index_of[sensor] for sensor in series.ids], dtype=np.int64)
        channels_C = [whole.channels.index(channel) for channel in series.channels]
        for piece in self.cleaned():
            values_RNC, observed_RNC = piece.values_RNC, piece.observed_RNC
            if series.channels != whole.channels:
                values_RNC, observed_RNC = values_RNC[:, :, channels_C], observed_RNC[:, :, channels_C]
            if series.ids != whole.ids:
                values_RNC, observed_RNC = values_RNC[:, sensors_N], observed_RNC[:, sensors_N]
            yield values_RNC, observed_RNC


def without_readings(series: SensorSeries) -> SensorSeries:
    """A series whose readings are not there, only their shape."""
    shape = (series.num_steps, series.num_sensors, len(series.channels))
    return replace(
        series,
        values_TNC=np.broadcast_to(np.float32(0), shape),
        observed_TNC=np.broadcast_to(np.bool_(False), shape),
        rest_TNC=None,
    )


def outline_of_blocks(blocks: Blocks, data: DataConfig) -> Outline:
    """The series without its readings. They are gone through if the rule for missing ones has to be found.

    Raises:
        UserError: as ``make_series``, of all but the readings; times and a start.
    """
    if data.start is not None and parse_time(data.start, "start").times_T[0] != blocks.stamps.times_T[0]:
        raise UserError(f"{blocks.where} has times of its own, the first {blocks.stamps.times_T[0]}: leave out --start")
    interval = blocks.interval if data.freq is None else parse_freq(data.freq)
    series, row_T = outline_series(
        (len(blocks.ids), len(blocks.channels)),
        times_T=blocks.stamps.times_T,
        ids=blocks.ids,
        where=blocks.where,
        channels=blocks.channels,
        units=blocks.units,
        interval=interval,
        positions_N2=blocks.positions_N2,
        in_utc=blocks.stamps.in_utc,
        fill_rows=data.fill_rows,
    )
    missing: str = data.missing
    if missing == "auto":
        missing = rule_of_blocks([blocks], data)
    zone_notes: tuple[str, ...] = ()
    if blocks.stamps.in_utc:
        zone_notes = (utc_note(blocks.where),)
    notes = (*blocks.notes, *series.notes, *zone_notes)
    series = replace(series, missing=missing, zone=blocks.stamps.zone, notes=notes)
    return Outline(series=series, row_T=row_T, blocks=blocks, missing_value=data.missing_value)


def rule_of_blocks(parts: Sequence[Blocks], data: DataConfig) -> str:
    """The rule for missing readings that holds for all of these, as if they were one (see ``rule_for``)."""
    marks_gaps = bool(data.missing_value) or any(part.marks_gaps for part in parts)
    pieces = (piece for part in parts for piece in _pieces(part, data.missing_value))
    return rule_for(pieces, marks_gaps=marks_gaps)


def series_of_blocks(blocks: Blocks, data: DataConfig) -> SensorSeries:
    """The whole series in memory, whose readings are allocated once.

    Raises:
        UserError: as ``make_series``, and errors of the files.
    """
    try:
        return _series_of(outline_of_blocks(blocks, data))
    except MoreSensorsError:
        if blocks.thorough is None:
            raise
    return _series_of(outline_of_blocks(blocks.thorough(), data))


def _series_of(outline: Outline) -> SensorSeries:
    series, blocks = outline.series, outline.blocks
    shape = (series.num_steps, len(series.ids), len(series.channels))
    values_TNC, observed_TNC = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    rest_TNC = None
    start = 0
    for piece in outline.cleaned():
        rows = slice(start, start + len(piece.values_RNC))
        values_TNC[rows], observed_TNC[rows] = piece.values_RNC, piece.observed_RNC
        if piece.rest_RNC is not None:
            rest_TNC = np.zeros(shape, dtype=np.float32) if rest_TNC is None else rest_TNC
            rest_TNC[rows] = piece.rest_RNC
        start = rows.stop
    notes = (*series.notes, *blocks.account())
    return replace(series, values_TNC=values_TNC, observed_TNC=observed_TNC, rest_TNC=rest_TNC, notes=notes)


def utc_note(where: str) -> str:
    """Says that times with an offset or a zone are UTC now."""
    return f"{where}: times with a zone were read as UTC; time of day and day of week are UTC's"


def _pieces(blocks: Blocks, missing_value: tuple[float, ...]) -> Iterator[np.ndarray]:
    """The blocks, large ones cut, with NaN for the values that mean a missing reading."""
    wanted = (len(blocks.stamps.times_T), len(blocks.ids), len(blocks.channels))
    found = 0
    for block in blocks.read():
        if block.shape[1:] != wanted[1:] or block.dtype not in (np.float32, np.float64):
            raise ValueError(f"blocks of float32 or float64 (R, {wanted[1]}, {wanted[2]}) wanted, got {block.shape}")
        for rows in row_pieces(block.shape, readings=_AT_ONCE):
            yield without_values(block[rows], missing_value) if missing_value else block[rows]
        found += len(block)
    if found != wanted[0]:
        raise ValueError(f"{wanted[0]} rows wanted of {blocks.where}, got {found}")


def _runs(row_R: np.ndarray, piece: Cleaned) -> Iterator[tuple[int, Cleaned]]:
    """The stretches of a piece without an absent row between, and the row at which each begins."""
    borders = [0, *(np.flatnonzero(np.diff(row_R) != 1) + 1).tolist(), len(row_R)]
    for start, stop in itertools.pairwise(borders):
        values_RNC, observed_RNC, rest_RNC = piece
        rest_RNC = None if rest_RNC is None else rest_RNC[start:stop]
        yield int(row_R[start]), Cleaned(values_RNC[start:stop], observed_RNC[start:stop], rest_RNC)


def _absent_rows(count: int, shape: tuple[int, ...]) -> Iterator[Cleaned]:
    for rows in row_pieces((count, *shape), readings=_AT_ONCE):
        absent = (rows.stop - rows.start, *shape)
        yield Cleaned(np.zeros(absent, dtype=np.float32), np.zeros(absent, dtype=bool), None)
