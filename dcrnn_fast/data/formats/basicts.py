"""BasicTS folders: data.dat with desc.json; since 2025 train_data.npy, val_data.npy and test_data.npy with meta.json;
and the oldest, scaled readings in a pickle beside the scaler that undoes it.

The graph is adj_mx.pkl. The calendar among the features is no reading; where its time of day skips, the times skip too.

Shape legend: T time, N sensors, C channels, R rows.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.basicts_calendar import CALENDAR_NAMES, Calendar, calendar_times, found_calendar
from dcrnn_fast.data.formats.basicts_pickle import DATA_PICKLE, read_scaled
from dcrnn_fast.data.formats.folder_files import note_of_left
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.formats import kernel_of
from dcrnn_fast.graph.matrices import Holds
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.arrays import FileArray, open_array
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.tables import plain_name

_AT_ONCE = 1 << 21
_PARTS = ("train", "val", "test")
_READ = {"data.dat", "desc.json", "meta.json", "adj_mx.pkl"}
_READ |= {f"{name}_{what}.npy" for name in _PARTS for what in ("data", "timestamps")}
_PICKLES = re.compile(r"(data|index|scaler)(_in_?\d+_out_?\d+\w*)?\.pkl")
"""index holds the windows, which are cut here"""


@dataclass(frozen=True, eq=False)
class _Found:
    """What a folder holds.

    Attributes:
        parts: (T, N, C) arrays, one after the other: in files, or of a pickle.
        channels: of the C features; None: not told, so that the calendar is found by what it holds.
        calendar: of the rows, if it lies beside the readings.
        description: desc.json's or meta.json's; told_by: its name.
    """

    parts: Sequence[FileArray | np.ndarray]
    channels: tuple[str, ...] | None
    description: dict[str, Any]
    told_by: str
    calendar: Calendar | None = None
    notes: tuple[str, ...] = ()


def open_basicts(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The series of a folder, with its graph; times from --start, and from the description or --freq.

    Raises:
        UserError: files that are missing, truncated or do not fit the description, a pickle that is no plain one or
            that was scaled in another way, no start, a freq that the description contradicts, errors of
            ``read_pickle``.
    """
    with naming_file(path):
        names = {one.name for one in path.iterdir()}
        if "data.dat" in names:
            found = _from_memmap(path)
        elif "train_data.npy" in names:
            found = _from_split(path)
        else:
            scaled = sorted(name for name in names if DATA_PICKLE.fullmatch(name))
            if len(scaled) != 1:
                raise UserError(
                    "holds no data.dat, train_data.npy or data_in_12_out_12.pkl"
                    if not scaled
                    else f"holds several series ({first_few(scaled)}): keep one"
                )
            readings_TNC, notes = read_scaled(path / scaled[0])
            found = _Found([readings_TNC], None, {}, scaled[0], notes=notes)
        kept, channels, calendar = _readings_and_calendar(found)
        num_steps, num_sensors = sum(len(part) for part in found.parts), found.parts[0].shape[1]
        left = note_of_left(path, [name for name in names if name not in _READ and not _PICKLES.fullmatch(name)])
        ids, own_graph = _ids_and_graph(path, found.description, num_sensors, graph)
        stamps, interval, notes = calendar_times(
            calendar, num_steps, _minutes(found.description, found.told_by), found.told_by, data
        )
        dropped = (
            [] if found.channels is None else [found.channels[c] for c in set(range(len(found.channels))) - {*kept}]
        )

    def read() -> Iterator[np.ndarray]:
        for part in found.parts:
            for rows in row_pieces(part.shape, readings=_AT_ONCE):
                block = np.asarray(part[rows])[:, :, kept]
                yield block if block.dtype in (np.float32, np.float64) else block.astype(np.float64)

    if dropped or calendar is not None:
        what = first_few(sorted(dropped)) if dropped else "time of day and day of week"
        notes = (f"{path.name}: {what}: no readings; the calendar is made here (--time-of-day, --day-of-week)", *notes)
    null = _setting(found.description, "null_val")
    blocks = Blocks(
        stamps=stamps,
        ids=ids,
        channels=channels,
        units=("",) * len(channels),
        where=path.name,
        read=read,
        marks_gaps=isinstance(null, float) and math.isnan(null),
        interval=interval,
        notes=(*found.notes, *notes, *_null_note(null, found.told_by), *left),
    )
    return blocks, own_graph


def _from_memmap(path: Path) -> _Found:
    description = _description(path / "desc.json")
    shape = description.get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
        raise UserError(f"desc.json: shape must be times, sensors, features, got {shape!r:.60}")
    size, wanted = (path / "data.dat").stat().st_size, math.prod(shape) * 4
    if size != wanted:
        cause = "truncated, or of another" if size < wanted else "of another"
        raise UserError(
            f"data.dat has {size:,} bytes, {' x '.join(map(str, shape))} float32 of desc.json have {wanted:,}: {cause} "
            "data set"
        )
    readings_TNC = FileArray(path / "data.dat", np.dtype(np.float32), tuple(shape))
    names = description.get("feature_description")
    if names is not None and (not isinstance(names, list) or len(names) != shape[2]):
        raise UserError(f"desc.json: feature_description must name {shape[2]} features, got {names!r:.80}")
    return _Found([readings_TNC], None if names is None else tuple(map(str, names)), description, "desc.json")


def _from_split(path: Path) -> _Found:
    description = _description(path / "meta.json")
    parts: list[FileArray] = []
    stamps: list[np.ndarray] = []
    for name in _PARTS:
        array = _array(path / f"{name}_data.npy")
        if len(array.shape) not in (2, 3) or 0 in array.shape or array.dtype.kind not in "fiu":
            raise UserError(f"{name}_data.npy: wanted numbers (time, sensors), got {array.dtype} {array.shape}")
        parts.append(array if len(array.shape) == 3 else array.with_shape((*array.shape, 1)))
        if parts[-1].shape[1:] != parts[0].shape[1:]:
            raise UserError(
                f"{name}_data.npy is of {array.shape[1:]} sensors, train_data.npy of {parts[0].shape[1:]}: parts of "
                "another data set"
            )
        if os.path.lexists(path / f"{name}_timestamps.npy"):
            stamps.append(_array(path / f"{name}_timestamps.npy")[:])
            if stamps[-1].ndim != 2 or len(stamps[-1]) != len(array):
                raise UserError(
                    f"{name}_timestamps.npy has shape {stamps[-1].shape}, {name}_data.npy {len(array)} rows: one row "
                    "for each is wanted"
                )
    total, told = sum(map(len, parts)), description.get("num_time_steps")
    if isinstance(told, int) and told != total:
        raise UserError(
            f"its three parts have {total:,} rows, meta.json says {told:,}: a part is truncated, or another's"
        )
    names = description.get("timestamps_description")
    calendar = None
    if len(stamps) == len(parts) and isinstance(names, list) and len(names) == stamps[0].shape[1]:
        calendar = Calendar.of(np.concatenate(stamps), tuple(map(str, names)))
    count = parts[0].shape[2]
    domain = description.get("domain")
    channels = (
        (domain if isinstance(domain, str) and domain else "value",) if count == 1 else tuple(map(str, range(count)))
    )
    features = description.get("feature_description")
    if isinstance(features, list) and len(features) == count:
        channels = tuple(map(str, features))
    return _Found(parts, channels, description, "meta.json", calendar)


def _array(path: Path) -> FileArray:
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"no file {path.name}: the parts train, val and test make one series together")
    with naming_file(path):
        return open_array(path)


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"no file {path.name}, which describes the readings")
    with naming_file(path), damage_told("not readable JSON, or truncated"):
        loaded = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(loaded, dict):
        raise UserError(f"{path.name}: wanted an object, got {type(loaded).__name__}")
    return loaded


def _minutes(description: dict[str, Any], told_by: str) -> float | None:
    minutes = description.get("frequency (minutes)")
    if minutes is None:
        return None
    if not isinstance(minutes, (int, float)) or not 0 < minutes < 10**6 or minutes * 60 % 1:
        raise UserError(f"{told_by}: frequency (minutes) must be a positive number, got {minutes!r:.40}")
    return float(minutes)


def _setting(description: dict[str, Any], name: str) -> Any:
    settings = description.get("regular_settings")
    if not isinstance(settings, dict):
        return None
    return next((value for key, value in settings.items() if key.casefold() == name), None)


def _null_note(null: Any, told_by: str) -> tuple[str, ...]:
    if not isinstance(null, (int, float)) or math.isnan(null) or null == 0:
        return ()
    return (f"look: {told_by} says that {null:g} is no reading: give --missing-value {null:g}",)


def _readings_and_calendar(found: _Found) -> tuple[list[int], tuple[str, ...], Calendar | None]:
    """The features that are readings, their names, and the calendar."""
    if found.channels is None:
        first_sensor_TC, last_sensor_TC = (_of_sensor(found, sensor) for sensor in (0, -1))
        names = found_calendar(first_sensor_TC, last_sensor_TC)
    else:
        names = tuple(CALENDAR_NAMES.get(plain_name(name)) for name in found.channels)
    kept = [c for c, name in enumerate(names) if name is None]
    if not kept:
        raise UserError("holds a calendar, and no readings")
    columns = [c for c, name in enumerate(names) if name is not None]
    calendar = found.calendar
    if columns:
        of_first_TC = _of_sensor(found, 0)[:, columns].astype(np.float64)
        calendar = Calendar.of(of_first_TC, tuple(str(names[c]) for c in columns))
    if found.channels is not None:
        return kept, tuple(found.channels[c] for c in kept), calendar
    return kept, ("value",) if len(kept) == 1 else tuple(str(c) for c in kept), calendar


def _of_sensor(found: _Found, sensor: int) -> np.ndarray:
    parts = (part.of_sensor(sensor) if isinstance(part, FileArray) else part[:, sensor] for part in found.parts)
    return np.concatenate(list(parts))


def _ids_and_graph(
    path: Path, description: dict[str, Any], num_sensors: int, graph: GraphConfig
) -> tuple[tuple[str, ...], SensorGraph | None]:
    """Ids of the graph, or of meta.json, or numbers; and the graph, if it is wanted."""
    told = description.get("variable_names")
    ids: Sequence[str] = [str(n) for n in range(num_sensors)]
    if isinstance(told, list) and len(told) == num_sensors:
        ids = list(map(str, told))
    pickle_path = path / "adj_mx.pkl"
    if not os.path.lexists(pickle_path):
        return tuple(ids), None
    holds: Holds = "either" if graph.graph is None else "weights"
    own_graph = read_pickle(pickle_path, ids=ids, holds=holds, kernel=kernel_of(graph))
    if own_graph.num_nodes != num_sensors:
        raise UserError(f"adj_mx.pkl is of {own_graph.num_nodes} sensors, the readings are of {num_sensors}")
    return own_graph.ids, own_graph if graph.graph is None else None
