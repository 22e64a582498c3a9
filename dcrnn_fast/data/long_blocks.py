"""Long tables in pieces: rows of (time, sensor, readings) in any order, pivoted through a scratch file.

A first pass gathers times, sensors and channels; a second lays each reading at its place in a scratch file of the
system's temporary folder, from which the series is then read in the order of time. Memory holds the times and names,
and one piece of rows.

Shape legend: R rows, T time, N sensors, C channels, V columns of readings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.long_table import require_enough_rows
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.scratch import scratch
from dcrnn_fast.data.times import NameRow, Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few

_AT_ONCE = 1 << 18
"""readings of a block that is read from the scratch file: 2 MiB"""
_NO_ROW = np.float64(np.nan).view(np.uint64)
"""each reading's bits are kept flipped where this has a 1: the zeros of a file that was never written are NaN then"""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a long table, in the order of its files.

    Attributes:
        stamps: of the R rows.
        sensors, sensor_R: ids, and which of them each row is of.
        channels, channel_R: names, and which of them each row is a reading of; None: each has one of all, in V columns.
        values_RV: float64, NaN where a cell is empty.
        name_row: a row's name in messages.
    """

    stamps: Stamps
    sensors: Sequence[str]
    sensor_R: np.ndarray
    channels: Sequence[str]
    values_RV: np.ndarray
    name_row: NameRow
    channel_R: np.ndarray | None = None


Passes = Callable[[], Iterator[Rows]]
"""all rows from the first on; called once for each pass"""


@dataclass(frozen=True, eq=False)
class _Gathered:
    """What the first pass finds."""

    stamps: Stamps
    ids: dict[str, int]
    channels: dict[str, int]
    rows_N: np.ndarray
    num_readings: int
    out_of_order: int


def blocks_of_rows(
    passes: Passes,
    where: str,
    *,
    order: Sequence[str] | None = None,
    units: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
    positions: Callable[[tuple[str, ...]], np.ndarray | None] | None = None,
    marks_gaps: bool = False,
    interval: np.timedelta64 | None = None,
    notes: Callable[[], tuple[str, ...]] | None = None,
) -> Blocks:
    """The series of a long table, in pieces.

    Sensors and channels stand in the order in which they first come. Two rows of one reading are one if they say the
    same, or one of them nothing. A time without a row of some sensor is a missing reading, and marks gaps.

    Args:
        order: the sensors' ids in the order wanted; each that has rows must be among them.
        units, positions: of these channels and sensors, asked for after the first pass.
        notes: further lines of the account, asked for after both passes.
    Raises:
        UserError: no row, different readings of one time, sensor and channel (both rows are named), only some times
            with an offset, too few rows for so many times and sensors, no room for the scratch file.
    """
    found = _gather(passes, where)
    num_rows = int(found.rows_N.sum())
    ids = tuple(found.ids) if order is None else tuple(sensor for sensor in order if sensor in found.ids)
    place_of = {sensor: n for n, sensor in enumerate(ids)}
    channels = tuple(found.channels)
    shape = (len(found.stamps.times_T), len(ids), len(channels))
    require_enough_rows(num_rows, shape, f"{where}: ", "")
    bits_TNC = scratch(shape, f"{where}: its {shape[0]:,} times of {shape[1]:,} sensors").view(np.uint64)
    known = _scatter(passes, found, place_of, bits_TNC, where)
    again = found.num_readings - known

    def read() -> Iterator[np.ndarray]:
        for rows in row_pieces(shape, readings=_AT_ONCE):
            yield (bits_TNC[rows] ^ _NO_ROW).view(np.float64)

    account = [f"{where}: {num_rows:,} rows read: {counted(len(ids), 'sensor')} at {shape[0]:,} times"]
    if again:
        account.append(f"{where}: {again:,} readings came twice and said the same: each is taken once")
    if found.out_of_order:
        account.append(f"{where}: {found.out_of_order:,} rows stood before an earlier time of their sensor: sorted")
    few = [sensor for sensor, n in found.ids.items() if found.rows_N[n] * 2 < shape[0]]
    if few:
        account.append(f"{where}: at fewer than half of the times there is a row of {first_few(few)}")
    return Blocks(
        stamps=found.stamps,
        ids=ids,
        channels=channels,
        units=("",) * len(channels) if units is None else units(channels),
        where=where,
        read=read,
        marks_gaps=marks_gaps or known < int(np.prod(shape)),
        positions_N2=None if positions is None else positions(ids),
        interval=interval,
        notes=(*account, *(() if notes is None else notes())),
    )


def _gather(passes: Passes, where: str) -> _Gathered:
    times_T = np.empty(0, dtype="datetime64[s]")
    ids: dict[str, int] = {}
    channels: dict[str, int] = {}
    last_N = np.empty(0, dtype="datetime64[s]")
    first: Stamps | None = None
    zone = None
    rows_N = np.empty(0, dtype=np.int64)
    num_readings = out_of_order = 0
    for rows in passes():
        stamps = rows.stamps
        if first is None:
            first = stamps
        elif bool(first.in_utc) != bool(stamps.in_utc):
            raise UserError(
                f"{rows.name_row(0)}: its times have {'an' if stamps.in_utc else 'no'} offset, those before have "
                f"{'none' if stamps.in_utc else 'one'}: give all times an offset, or none"
            )
        zone = stamps.zone
        if (blank := np.flatnonzero(np.isnat(stamps.times_T))).size:
            raise UserError(f"{rows.name_row(int(blank[0]))} has no time")
        times_T = _different(np.concatenate([times_T, _different(stamps.times_T)]))
        for sensor in rows.sensors:
            ids.setdefault(sensor, len(ids))
        for channel in rows.channels:
            channels.setdefault(channel, len(channels))
        last_N = np.concatenate([last_N, np.full(len(ids) - len(last_N), np.datetime64("NaT", "s"))])
        sensor_R = np.array([ids[sensor] for sensor in rows.sensors], dtype=np.int64)[rows.sensor_R]
        out_of_order += _out_of_order(sensor_R, stamps.times_T, last_N)
        rows_N = np.bincount(sensor_R, minlength=len(ids)) + np.pad(rows_N, (0, len(ids) - len(rows_N)))
        num_readings += int((~np.isnan(rows.values_RV)).sum())
    if first is None or not rows_N.sum():
        raise UserError(f"{where}: holds no row of readings")
    return _Gathered(first._replace(times_T=times_T, zone=zone), ids, channels, rows_N, num_readings, out_of_order)


def _different(values_K: np.ndarray) -> np.ndarray:
    """Sorted, each once: ``np.unique`` hashes, which takes ten times as long for millions of integers."""
    sorted_K = np.sort(values_K)
    return sorted_K[np.concatenate([[True], sorted_K[1:] != sorted_K[:-1]])] if sorted_K.size else sorted_K


def _out_of_order(sensor_R: np.ndarray, times_R: np.ndarray, last_N: np.ndarray) -> int:
    """How many rows come before the time of their sensor's row before; ``last_N`` is brought up to date."""
    order_R = np.argsort(sensor_R, kind="stable")
    sorted_R, sorted_times_R = sensor_R[order_R], times_R[order_R]
    starts = np.flatnonzero(np.diff(sorted_R, prepend=-1))
    before_R = np.concatenate([sorted_times_R[:1], sorted_times_R[:-1]])
    before_R[starts] = last_N[sorted_R[starts]]
    last_N[sorted_R] = sorted_times_R  # of several rows of a sensor, the last is kept
    return int((sorted_times_R < before_R).sum())  # NaT, of a sensor's first row, is not smaller


def _scatter(passes: Passes, found: _Gathered, place_of: dict[str, int], bits_TNC: np.ndarray, where: str) -> int:
    """Lays all readings but empty ones at their places; the number of different places."""
    flat_K = bits_TNC.reshape(-1)
    num_sensors, num_channels = bits_TNC.shape[1:]
    known = 0
    for rows in passes():
        time_R = np.searchsorted(found.stamps.times_T, rows.stamps.times_T)
        sensor_R = np.array([_place(place_of, sensor, where) for sensor in rows.sensors], dtype=np.int64)[rows.sensor_R]
        channel_V = np.array([found.channels[channel] for channel in rows.channels], dtype=np.int64)
        channel_RV = channel_V[None, :] if rows.channel_R is None else channel_V[rows.channel_R][:, None]
        cell_RV = (time_R * num_sensors + sensor_R)[:, None] * num_channels + channel_RV
        there_RV = ~np.isnan(rows.values_RV)
        cell_K = cell_RV[there_RV]
        bits_K = (rows.values_RV[there_RV] + 0.0).view(np.uint64) ^ _NO_ROW  # -0.0 becomes 0.0
        before_K = flat_K[cell_K]
        known += len(_different(cell_K[before_K == 0]))
        flat_K[cell_K] = bits_K
        wrong_K = (flat_K[cell_K] != bits_K) | ((before_K != 0) & (before_K != bits_K))
        if wrong_K.any():
            k = int(np.flatnonzero(wrong_K)[0])
            _refuse_twice(passes, found, place_of, int(cell_K[k]), num_channels)
    return known


def _place(place_of: dict[str, int], sensor: str, where: str) -> int:
    if sensor not in place_of:
        raise UserError(f"{where}: has readings of {sensor!r}, which is not among the sensors that are described")
    return place_of[sensor]


def _refuse_twice(passes: Passes, found: _Gathered, place_of: dict[str, int], wanted: int, num_channels: int) -> None:
    """Raises UserError that names the two rows of one place."""
    place, channel = divmod(wanted, num_channels)
    time, sensor = divmod(place, len(place_of))
    first: tuple[str, float] | None = None
    for rows in passes():
        names = [place_of[name] for name in rows.sensors]
        mine_R = (np.array(names)[rows.sensor_R] == sensor) & (rows.stamps.times_T == found.stamps.times_T[time])
        channels = [found.channels[name] for name in rows.channels]
        for row in np.flatnonzero(mine_R).tolist():
            of_row = channels if rows.channel_R is None else [channels[rows.channel_R[row]]]
            if channel not in of_row:
                continue
            values_V = rows.values_RV[row, [k for k, one in enumerate(of_row) if one == channel]]
            for value in values_V[~np.isnan(values_V)].tolist():
                if first is None:
                    first = rows.name_row(row), value
                if value == first[1]:
                    continue
                raise UserError(
                    f"{rows.name_row(row)} is a second reading of sensor {rows.sensors[rows.sensor_R[row]]!r} at "
                    f"{found.stamps.times_T[time]} ({value:g}), after {first[0]} ({first[1]:g}): leave one (where "
                    "local clocks were set back, give the times an offset)"
                )
    raise AssertionError("rows that differed in one pass agree in another")
