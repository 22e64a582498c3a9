"""Long tables: a row for each time and sensor, with one reading or several; pivoted to (T, N, C).

Shape legend: R rows, T time, N sensors, C channels.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.formats.shared import make_from_file
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.table_columns import (
    TIME_NAMES,
    Column,
    as_numbers,
    as_texts,
    bounded_by,
    first_non_number,
    in_order_met,
)
from dcrnn_fast.data.timestamps import NameRow, Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.tables import find_column, plain_name

ID_NAMES = (
    *("sensorid", "stationid", "detectorid", "nodeid", "siteid", "id", "sensor", "station", "detector", "node", "site"),
    *("locationid", "location", "segmentid", "segment", "linkid", "link", "roadid", "meterid", "meter", "turbineid"),
    *("turbid", "turbine", "gaugeid", "gauge", "gaugeno", "buoyid", "buoy", "fips", "regionid", "region", "countyid"),
    *("county", "uniqueid", "series", "seriesid", "sensorname", "stationname", "stationcode", "sitename", "siteno"),
)
_LARGE = 10**7
"""cells of a pivoted table, beyond which nearly all of them being empty is refused"""
CHANNEL_NAMES = ("channel", "variable", "parameter", "quantity", "measure")


@dataclass(frozen=True)
class Roles:
    """The roles of a long table's columns, as indices; the others are readings."""

    sensor: int
    channel: int | None = None
    unit: int | None = None


def find_roles(columns: list[Column], stamps: Stamps | None) -> Roles | None:
    """The roles in a table (without its column of times), or None if it is wide.

    A column is the sensors' by its name and its content (texts or integers, not one for each row), or, if times repeat,
    as the only column of texts.
    """
    names = [column.name for column in columns]
    found = [k for k in (names.index(n) for n in _named(names, ID_NAMES)) if _names_things(columns[k])]
    repeats = stamps is not None and len(np.unique(stamps.times_T)) < len(stamps.times_T)
    texts = [k for k, column in enumerate(columns) if column.is_text and first_non_number(column) is not None]
    channel, unit = (find_column(names, wanted) for wanted in (CHANNEL_NAMES, ("unit", "units")))
    if channel is not None and not _names_things(columns[channel]):
        channel = None
    if unit is not None and unit not in texts and (as_texts(columns[unit]) != "").any():
        unit = None
    times = [k for k, name in enumerate(names) if plain_name(name) in TIME_NAMES]
    if not found and repeats and len(others := [k for k in texts if k not in (channel, unit, *times)]) == 1:
        found = others
    readings = [k for k in range(len(columns)) if k not in (*found[:1], channel, unit) and k not in texts]
    if not found or not readings:
        return None
    if stamps is not None and not repeats and len(stamps.times_T) > 1:
        different = len(set(as_texts(columns[found[0]]).tolist()))
        if different == len(stamps.times_T):
            raise UserError(
                f"column {columns[found[0]].name!r} has another value in each row: where it numbers the rows, take it "
                "out; where it names sensors, each has only one reading"
            )
    return Roles(found[0], channel, unit)


def pivot(
    columns: list[Column], roles: Roles, stamps: Stamps, path: Path, data: DataConfig, name_row: NameRow
) -> SensorSeries:
    """The series of a long table; rows in any order, sensors in the order in which they first come.

    A time without a row of some sensor is a missing reading. Latitudes and longitudes become positions.

    Raises:
        UserError: two rows of one time, sensor (and channel) that differ, a row without a sensor, columns of texts that
            differ within a sensor, units that differ within a channel; lines are named.
    """
    sensors_R = as_texts(columns[roles.sensor])
    if (blank := np.flatnonzero(sensors_R == "")).size:
        raise UserError(f"{name_row(int(blank[0]))}, column {columns[roles.sensor].name!r}: no sensor is named")
    ids, sensor_R = in_order_met(sensors_R)
    times_T, first_R, time_R = np.unique(stamps.times_T, return_index=True, return_inverse=True)
    beside = beside_a_forecast(columns, time_R)
    readings, positions_N2 = _reading_columns(columns, roles, sensor_R, len(ids), beside, name_row)
    if roles.channel is None:
        channel_R, channels = np.zeros(len(time_R), dtype=np.int64), tuple(column.name for column in readings)
    elif len(readings) == 1:
        found, channel_R = in_order_met(as_texts(columns[roles.channel]))
        channels = tuple(found)
    else:
        raise UserError(
            f"beside column {columns[roles.channel].name!r}, which names what each row is a reading of, one column of "
            f"readings is wanted, got {first_few(column.name for column in readings)}"
        )
    shape = (len(times_T), len(ids), 1 if roles.channel is None else len(channels))
    require_enough_rows(len(time_R), shape, "", f" (column {columns[roles.sensor].name!r})")
    cell_R = np.ravel_multi_index((time_R, sensor_R, channel_R), shape)
    again = _count_repeats(cell_R, readings, sensors_R, stamps, name_row)
    values_TNC = np.full((len(times_T), len(ids), len(channels)), np.nan)
    for c, column in enumerate(readings):
        numbers_R = as_numbers(column).astype(np.float64)
        there_R = ~np.isnan(numbers_R)  # an empty cell says nothing against another row's reading
        place_R = channel_R if roles.channel is not None else np.full_like(channel_R, c)
        values_TNC[time_R[there_R], sensor_R[there_R], place_R[there_R]] = numbers_R[there_R]

    def name_time(row: int) -> str:
        return name_row(int(first_R[row]))

    series = make_from_file(
        values_TNC,
        stamps._replace(times_T=times_T),
        tuple(ids),
        path,
        data,
        channels=channels,
        units=_units(columns, roles, channel_R, channels, name_row),
        positions_N2=positions_N2,
        name_row=name_time,
        marks_gaps=len(time_R) < int(np.prod(shape)),
    )
    note = f"{path.name}: a row for each reading: {len(ids)} sensor(s) by its column {columns[roles.sensor].name!r}"
    twice = f"{path.name}: {again:,} row(s) came twice and said the same: each is taken once"
    late = _count_late(time_R, sensor_R * len(channels) + channel_R)
    order = f"{path.name}: {late:,} row(s) stood before an earlier time of their sensor: sorted"
    bounds = first_few(name for name in beside if bounded_by(name) is not None)
    told = f"{path.name}: {bounds} are bounds of a forecast's intervals, no readings, and are left out"
    more = (*([twice] if again else []), *([order] if late else []), *([told] if bounds else []))
    return replace(series, notes=(*series.notes, note, *more))


def _count_late(time_R: np.ndarray, series_R: np.ndarray) -> int:
    """How many rows come before the time of the row before of the same sensor and channel."""
    order_R = np.argsort(series_R, kind="stable")
    return int(((np.diff(time_R[order_R]) < 0) & (np.diff(series_R[order_R]) == 0)).sum())


def beside_a_forecast(columns: list[Column], time_R: np.ndarray) -> tuple[str, ...]:
    """Names of the columns that stand beside a forecast's values as this package writes it: the number of the step, and
    the bounds of intervals; none of a table that is no forecast.

    Args:
        time_R: of each row, the place of its time among all times.
    """
    for column in columns:
        is_number = plain_name(column.name) == "step" and (not column.is_text or first_non_number(column) is None)
        if is_number and np.array_equal(as_numbers(column), time_R + 1):
            return (column.name, *(one.name for one in columns if bounded_by(one.name) == ""))
    return ()


def require_enough_rows(num_rows: int, shape: tuple[int, int, int], where: str, column: str) -> None:
    """Refuses a large table (T, N, C) that would be nearly empty: its sensors or times are none."""
    if int(np.prod(shape)) > max(_LARGE, 100 * num_rows):
        raise UserError(
            f"{where}{num_rows} rows are too few for {shape[1]} sensors{column} at {shape[0]} times: sensors that stay "
            "and times that they share are wanted"
        )


def _named(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    plain = {plain_name(name): name for name in reversed(names)}
    return [plain[name] for name in wanted if name in plain]


def _names_things(column: Column) -> bool:
    """Whether cells can be names of sensors: texts, or integers."""
    if column.cells.dtype.kind == "M":
        return False
    if column.is_text and first_non_number(column) is not None:
        return True
    numbers = as_numbers(column)
    return bool((numbers == np.floor(numbers)).all())


def _reading_columns(
    columns: list[Column],
    roles: Roles,
    sensor_R: np.ndarray,
    num_sensors: int,
    beside: tuple[str, ...],
    name_row: NameRow,
) -> tuple[list[Column], np.ndarray | None]:
    """Columns with readings, and (N, 2) positions if the table has them."""
    readings, positions = [], {}
    for k, column in enumerate(columns):
        if k in (roles.sensor, roles.channel, roles.unit) or column.name in beside:
            continue
        row = first_non_number(column) if column.is_text else None
        name = plain_name(column.name)
        is_position = name in (*LATITUDE_NAMES, *LONGITUDE_NAMES)
        constant = (row is not None or is_position) and _one_for_each(column, sensor_R)
        if column.cells.dtype.kind == "M" or (row is not None and not constant):
            line = name_row(0 if row is None else row)
            raise UserError(
                f"{line}, column {column.name!r}: {str(column.cells[row or 0])[:40]!r} is no reading: take the column "
                "out, or cells that are no numbers"
            )
        if row is not None:
            continue  # another name of the sensor
        if constant and is_position:
            degrees_N = np.zeros(num_sensors)
            degrees_N[sensor_R] = as_numbers(column)
            positions["latitude" if name in LATITUDE_NAMES else "longitude"] = degrees_N
        else:
            readings.append(column)
    if not readings:
        raise UserError(f"no column of readings beside {columns[roles.sensor].name!r}")
    if len(positions) < 2:
        return readings, None
    return readings, np.stack([positions["latitude"], positions["longitude"]], axis=-1)


def _one_for_each(column: Column, sensor_R: np.ndarray) -> bool:
    """Whether a column has one value for each sensor."""
    cells = column.cells
    value_R = in_order_met(cells)[1] if column.is_text else np.unique(cells, return_inverse=True)[1]
    pairs = np.unique(sensor_R * (int(value_R.max()) + 1) + value_R)
    return len(pairs) == len(np.unique(sensor_R))


def _count_repeats(
    cell_R: np.ndarray, readings: list[Column], sensors_R: np.ndarray, stamps: Stamps, name_row: NameRow
) -> int:
    """The number of rows that repeat another one; two with different readings are a UserError naming both."""
    for column in readings:
        numbers_R = as_numbers(column).astype(np.float64)
        order_R = np.argsort(cell_R, kind="stable")
        order_R = order_R[~np.isnan(numbers_R[order_R])]
        same_cell = np.diff(cell_R[order_R]) == 0
        different = np.flatnonzero(same_cell & (np.diff(numbers_R[order_R]) != 0))
        if different.size:
            k = different[order_R[different + 1].argmin()]
            first, second = int(order_R[k]), int(order_R[k + 1])
            raise UserError(
                f"{name_row(second)} is a second reading of sensor {sensors_R[second]!r} at {stamps.times_T[second]}, "
                f"after {name_row(first)}: leave one (of several forecasts, give one; where local clocks were set "
                "back, give the times an offset)"
            )
    return len(cell_R) - len(np.unique(cell_R))


def _units(
    columns: list[Column], roles: Roles, channel_R: np.ndarray, channels: tuple[str, ...], name_row: NameRow
) -> tuple[str, ...] | None:
    if roles.unit is None:
        return None
    units_R = as_texts(columns[roles.unit])
    if roles.channel is None and len(channels) > 1:
        return None
    units = []
    for c in range(len(channels)):
        rows = np.flatnonzero(channel_R == c)
        units.append(str(units_R[rows[0]]))
        if (other := rows[units_R[rows] != units_R[rows[0]]]).size:
            raise UserError(
                f"{name_row(int(other[0]))} has unit {units_R[other[0]]!r}, {name_row(int(rows[0]))} has "
                f"{units_R[rows[0]]!r}: one unit for each channel is wanted"
            )
    return tuple(units)
