"""Batches of an Arrow table as ``Rows`` of a long table: which column is the time, which the sensor, which a reading.

Shape legend: R rows, N sensors, V columns of readings.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.long_blocks import Rows
from dcrnn_fast.data.table import stamps_of
from dcrnn_fast.data.table_columns import Column, as_numbers, as_texts, first_non_number
from dcrnn_fast.data.timestamps import NameRow, Stamps, parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, one_line
from dcrnn_fast.reading.tables import is_number

_TIMES_KEPT = 1 << 20
"""texts of times whose meaning is remembered from batch to batch"""

ColumnOf = Callable[[str, Any], Column]


@dataclass(frozen=True)
class Layout:
    """Names of a long table's columns.

    Attributes:
        sensors: their cells, with "_" between, are the sensor's id.
        channels: the same for the quantity that a row is a reading of; none: each column of readings is a channel.
        readings: columns of numbers.
        labels: columns of texts that have one value for each sensor; they are checked, and not read.
        places: columns of latitude and longitude, with one value for each sensor.
    """

    time: str
    sensors: tuple[str, ...]
    readings: tuple[str, ...]
    channels: tuple[str, ...] = ()
    unit: str | None = None
    labels: tuple[str, ...] = ()
    places: tuple[str, str] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are looked at."""
        others = (*self.channels, *([self.unit] if self.unit else []), *self.labels, *(self.places or ()))
        return (self.time, *self.sensors, *self.readings, *others)


@dataclass(eq=False)
class RowMaker:
    """Makes ``Rows`` of batches, and remembers what must stay the same from one to the next.

    Attributes:
        column_of: a ``Column`` of an Arrow array and its name.
        sensor_id, channel_name: what becomes of the names in the cells.
        drop_utc: a Z after a time means nothing.
    """

    layout: Layout
    data: DataConfig
    column_of: ColumnOf
    sensor_id: Callable[[str], str] = str
    channel_name: Callable[[str], str] = str
    drop_utc: bool = False
    unit_of: dict[str, str] = field(default_factory=dict)
    place_of: dict[str, tuple[float, float]] = field(default_factory=dict)
    _label_of: dict[tuple[str, str], str] = field(default_factory=dict)
    _known_times: dict[str, np.datetime64] = field(default_factory=dict)
    _known_zone: tuple[bool | None, str | None] = (None, None)

    def rows(self, batch: dict[str, Any], name_row: NameRow) -> Rows:
        """The rows of a batch: Arrow arrays by their names.

        Raises:
            UserError: a row without a time or a sensor, a reading that is no number, a label or place that differs
                within a sensor, a unit that differs within a channel; the row is named.
        """
        layout = self.layout
        if absent := [name for name in layout.columns if name not in batch]:
            raise UserError(f"{name_row(0)}: no column {absent[0]!r} here; the columns are {first_few(batch)}")
        stamps = self._stamps(layout.time, batch[layout.time], name_row)
        sensors, sensor_R = _names([(name, batch[name]) for name in layout.sensors], name_row, self.sensor_id)
        values_RV = np.stack([self._numbers(name, batch[name], name_row) for name in layout.readings], axis=-1)
        channels, channel_R = layout.readings, None
        if layout.channels:
            found, channel_R = _names([(name, batch[name]) for name in layout.channels], name_row, self.channel_name)
            channels = tuple(found)
        if layout.unit is not None:
            of_R = np.zeros(len(sensor_R), dtype=np.int64) if channel_R is None else channel_R
            self._check(
                layout.unit, batch[layout.unit], channels[:1] if channel_R is None else channels, of_R, name_row
            )
        for name in layout.labels:
            self._check(name, batch[name], sensors, sensor_R, name_row)
        if layout.places is not None:
            self._place(layout.places, batch, sensors, sensor_R, name_row)
        return Rows(stamps, sensors, sensor_R, channels, values_RV, name_row, channel_R)

    def positions(self, ids: tuple[str, ...]) -> np.ndarray | None:
        """(N, 2) of these sensors; None if some have no place."""
        if not all(sensor in self.place_of for sensor in ids):
            return None
        return np.array([self.place_of[sensor] for sensor in ids])

    def units(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Of these channels, "" where none is given."""
        return tuple(self.unit_of.get(channel, "") for channel in channels)

    def _stamps(self, name: str, array: Any, name_row: NameRow) -> Stamps:
        if not _is_text(array):
            stamps = stamps_of(self.column_of(name, array), name_row, self.data)
            if stamps is None:
                raise UserError(f"column {name!r} counts rows: a long table needs the times themselves")
            return stamps
        texts, text_R = _coded(array)
        if (blank := np.flatnonzero((text_R < 0) | np.isin(text_R, [k for k, x in enumerate(texts) if not x]))).size:
            raise UserError(f"{name_row(int(blank[0]))} has no time")
        if all(map(is_number, texts)):
            numbers_K = np.array(list(map(float, texts)))
            stamps = stamps_of(Column(name, numbers_K[text_R]), name_row, self.data)
            if stamps is None:
                raise UserError(f"column {name!r} counts rows: a long table needs the times themselves")
            return stamps
        if new := [text for text in texts if text not in self._known_times]:
            shown = [text.removesuffix("Z") for text in new] if self.drop_utc else new
            parsed = parse_times(shown, lambda k: name_row(int(np.flatnonzero(text_R == texts.index(new[k]))[0])))
            in_utc = self._known_zone[0]
            if in_utc is not None and in_utc != parsed.in_utc:
                raise UserError(f"{name_row(0)}: give all times an offset, or none, got {new[0]!r} and others")
            self._known_zone = parsed.in_utc, parsed.zone
            if len(self._known_times) > _TIMES_KEPT:
                self._known_times = {text: self._known_times[text] for text in texts if text in self._known_times}
            self._known_times.update(zip(new, parsed.times_T, strict=True))
        times_K = np.array([self._known_times[text] for text in texts], dtype="datetime64[s]")
        return Stamps(times_K[text_R], *self._known_zone)

    def _numbers(self, name: str, array: Any, name_row: NameRow) -> np.ndarray:
        if not _is_text(array):
            column = self.column_of(name, array)
            if column.cells.dtype.kind == "M":
                raise UserError(f"{name_row(0)}, column {name!r} holds times, no readings: take it out")
            return column.cells.astype(np.float64)
        texts, text_R = _coded(array)
        column = Column(name, np.array([*texts, ""], dtype=object))
        if (wrong := first_non_number(column)) is not None:
            row = int(np.flatnonzero(text_R == wrong)[0])
            raise UserError(f"{name_row(row)}, column {name!r}: {texts[wrong][:40]!r} is no number")
        return as_numbers(column).astype(np.float64)[text_R]  # -1, of a null, is the empty text at the end

    def _check(self, name: str, array: Any, owners: Any, owner_R: np.ndarray, name_row: NameRow) -> None:
        """One value of a column of texts for each owner; units are kept."""
        texts, text_R = _coded(array)
        texts = [*texts, ""]
        text_R = np.where(text_R < 0, len(texts) - 1, text_R)
        pairs, firsts = np.unique(owner_R * len(texts) + text_R, return_index=True)
        for pair, row in zip(pairs.tolist(), firsts.tolist(), strict=True):
            owner, text = owners[pair // len(texts)], texts[pair % len(texts)]
            known = self._label_of.setdefault((name, owner), text)
            if name == self.layout.unit:
                self.unit_of[owner] = known
            if known == text:
                continue
            if name == self.layout.unit:
                raise UserError(
                    f"{name_row(row)} has unit {text!r}, rows before it have {known!r} for {owner!r}: one unit for "
                    "each channel is wanted"
                )
            raise UserError(
                f"{name_row(row)}, column {name!r}: {text[:40]!r} is no reading: take the column out, or cells that "
                "are no numbers"
            )

    def _place(
        self, places: tuple[str, str], batch: dict[str, Any], sensors: Any, sensor_R: np.ndarray, name_row: NameRow
    ) -> None:
        degrees_R2 = np.stack([self._numbers(name, batch[name], name_row) for name in places], axis=-1)
        rows, sensor_K = np.unique(sensor_R, return_index=True)
        for sensor, row in zip(rows.tolist(), sensor_K.tolist(), strict=True):
            here = (float(degrees_R2[row, 0]), float(degrees_R2[row, 1]))
            self.place_of.setdefault(sensors[sensor], here)
        known_N2 = np.array([self.place_of[sensor] for sensor in sensors])
        moved = ~((degrees_R2 == known_N2[sensor_R]) | np.isnan(known_N2[sensor_R])).all(axis=-1)
        if moved.any():
            row = int(moved.argmax())
            raise UserError(f"{name_row(row)}: sensor {sensors[sensor_R[row]]!r} stands elsewhere than in rows before")


def _is_text(array: Any) -> bool:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _coded(array: Any) -> tuple[list[str], np.ndarray]:
    """Different texts of a column, and which of them each row has; -1 for a null."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    try:
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    except pa.ArrowException as error:
        raise UserError(f"a column of {array.type} cannot be names ({one_line(error)[:80]})") from error
    texts = as_texts(_texts_of("", encoded.dictionary)).tolist()
    return texts, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _names(
    columns: list[tuple[str, Any]], name_row: NameRow, made: Callable[[str], str]
) -> tuple[list[str], np.ndarray]:
    """Names of the rows, and which each has; of several columns with "_" between."""
    names: list[str] = [""]
    code_R: np.ndarray | None = None
    for title, array in columns:
        texts, text_R = _coded(array)
        blank = [k for k, text in enumerate(texts) if not text.strip()]
        if (empty := np.flatnonzero((text_R < 0) | np.isin(text_R, blank))).size:
            raise UserError(f"{name_row(int(empty[0]))}, column {title!r}: no sensor is named")
        if code_R is None:
            names, code_R = [text.strip() for text in texts], text_R
            continue
        pairs, code_R = np.unique(code_R * len(texts) + text_R, return_inverse=True)
        names = [f"{names[pair // len(texts)]}_{texts[pair % len(texts)].strip()}" for pair in pairs.tolist()]
    assert code_R is not None
    # Only those that a row has, in the order in which they first come.
    used, firsts, code_R = np.unique(code_R, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return [made(names[used[k]]) for k in order.tolist()], rank[code_R]


def _texts_of(name: str, dictionary: Any) -> Column:
    if pa.types.is_integer(dictionary.type) or pa.types.is_floating(dictionary.type):
        return Column(name, dictionary.to_numpy(zero_copy_only=False))
    cells = ["" if cell is None else str(cell).strip() for cell in dictionary.to_pylist()]
    return Column(name, np.array(cells, dtype=object))
