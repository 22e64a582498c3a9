"""A folder of series: channels over the same times, stretches of one series, or scenarios that share their sensors.

Times and sensors decide which of them it is, and if they leave it open the files' names; if these do too, the folder is
refused with the flag for each.

Shape legend: T time, N sensors, C channels.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig, Missing
from dcrnn_fast.data.blocks import series_of_blocks
from dcrnn_fast.data.formats import ENDINGS, Opened, Source, read_path
from dcrnn_fast.data.formats.detect import is_netcdf_folder
from dcrnn_fast.data.formats.folder_files import note_of_left, series_files
from dcrnn_fast.data.formats.folder_names import (
    are_names_of_channels,
    are_numbered,
    flags_for,
    names_its_date,
    require_no_split,
)
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import gap_notes
from dcrnn_fast.data.series_joining import join_parts, join_rests
from dcrnn_fast.data.times import regular_axis
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import first_few

Kind = Literal["channels", "continued", "scenarios"]


def open_folder(folder: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
    """Channels or stretches in pieces, if they are NetCDF files; else None.

    Raises:
        UserError: as ``open_netcdf_folder``.
    """
    if data.data_format not in ("channels", "continued") or not is_netcdf_folder(folder):
        return None
    from dcrnn_fast.data.formats.netcdf_folder import open_netcdf_folder  # xarray, for NetCDF alone

    return open_netcdf_folder(folder, data, graph)


def read_folder(folder: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """All files of the folder that are series, as one series; the graph is the first file's.

    ``data.data_format`` names the kind of folder; auto: by the files. Under ``data.missing`` auto one rule for missing
    readings holds for all files, as if they were one.

    Raises:
        UserError: no file, several kinds of them, train, validation and test parts, files that do not fit together
            (the first that does not is named), or a folder that may be one thing or another.
    """
    if (opened := open_folder(folder, data, graph)) is not None:
        return series_of_blocks(opened[0], data), opened[1]
    found, others = series_files(folder)
    if not found:
        raise UserError(f"{folder} holds no series: wanted files ending in {', '.join(ENDINGS)}, or a prepared store")
    first_of = {kind: path.name for path, kind in reversed(found)}
    if len(first_of) > 1:
        listed = ", ".join(f"{kind}: {first_of[kind]}" for kind in sorted(first_of))
        raise UserError(
            f"{folder} holds files of several kinds ({listed}): one kind is wanted; name one file, or move the others "
            "(a graph is given with --graph)"
        )
    paths = [path for path, _ in found]
    stems = [path.stem for path in paths]
    is_told = data.data_format != "auto"
    if not is_told:
        require_no_split(folder, stems, [path.name for path in paths])
    graphs: list[SensorGraph | None] = []

    def read_one(path: Path, missing: Missing) -> SensorSeries:
        series, own_graph = read_path(path, replace(data, data_format="auto", missing=missing), graph)
        graphs.append(own_graph)
        return series

    parts = _read_alike(paths, read_one, data.missing)
    names = [path.name for path in paths]
    if data.data_format in ("auto", "channels"):
        parts = _for_all_sensors(parts, names)
    left = note_of_left(folder, others)
    if not is_told and len(parts) == 1:
        return parts[0].with_notes((*parts[0].notes, *left)), graphs[0]
    kind = data.data_format if is_told else _kind_of(folder, parts, stems, names)
    join = {"channels": _channels, "continued": _continued, "scenarios": _scenarios}[kind]
    joined = join(parts, names, folder)
    joined = joined.with_notes((*joined.notes, *left))
    if not is_told:
        what = {"channels": "channels", "continued": "stretches of one series", "scenarios": "scenarios"}[kind]
        note = f"look: {folder}: {first_few(names)} are read as {what}; else: {flags_for(names)}"
        joined = joined.with_notes((note, *joined.notes))
    return joined, graphs[0]


def _read_alike(
    paths: list[Path], read: Callable[[Path, Missing], SensorSeries], missing: Missing
) -> list[SensorSeries]:
    """The files under one rule for missing readings: "nan" if any of them marks gaps."""
    parts = [read(path, missing) for path in paths]
    if missing != "auto" or len({part.missing for part in parts}) == 1:
        return parts
    marked = any(part.missing == "nan" and _marks_gaps(part) for part in parts)
    rule: Missing = "nan" if marked else "zero"
    return [part if part.missing == rule else read(path, rule) for path, part in zip(paths, parts, strict=True)]


def _for_all_sensors(parts: list[SensorSeries], names: list[str]) -> list[SensorSeries]:
    """The files, those of them with one column that is no sensor of the others as a channel that all sensors share."""
    wide = next((part for part in parts if part.num_sensors > 1), None)
    if wide is None:
        return parts

    def spread(part: SensorSeries, name: str) -> SensorSeries:
        alike = np.array_equal(part.times_T, wide.times_T) and part.in_utc == wide.in_utc
        if part.num_sensors > 1 or part.ids[0] in wide.ids or len(part.channels) > 1 or not alike:
            return part
        sensors = wide.num_sensors
        return replace(
            wide,
            values_TNC=np.repeat(np.asarray(part.values_TNC), sensors, axis=1),
            observed_TNC=np.repeat(np.asarray(part.observed_TNC), sensors, axis=1),
            rest_TNC=None if part.rest_TNC is None else np.repeat(part.rest_TNC, sensors, axis=1),
            channels=part.channels,
            units=part.units,
            notes=(f"{name}: one column, {part.ids[0]}, is the same at all {sensors} sensors", *part.notes),
        )

    return [spread(part, name) for part, name in zip(parts, names, strict=True)]


def _marks_gaps(series: SensorSeries) -> bool:
    """Whether a series that was read under "nan" by itself has gaps, or zeros that are readings."""
    observed = np.asarray(series.observed_TNC)
    return bool((~observed).any() or (np.asarray(series.values_TNC)[observed] == 0).any())


def _kind_of(folder: Path, parts: list[SensorSeries], stems: list[str], names: list[str]) -> Kind:
    first = parts[0]
    if any(set(part.ids) != set(first.ids) for part in parts):
        if len({sensor for part in parts for sensor in part.ids}) == sum(part.num_sensors for part in parts):
            _refuse_pieces(folder, parts, names)
        return "scenarios"  # which says whose sensors differ
    same_times = all(np.array_equal(part.times_T, first.times_T) for part in parts)
    own_names = [name for part in parts for name in part.channels]
    if same_times and first.num_sensors > 1 and len(set(own_names)) == len(own_names):
        return "channels"
    if any(part.channels != first.channels for part in parts):
        if same_times:
            raise UserError(f"{folder}: files over the same times have some channels in common: {flags_for(names)}")
        return "scenarios"  # which says whose channels differ
    numbered = are_numbered(stems)
    dated = all(names_its_date(stem, part.times_T[0]) for stem, part in zip(stems, parts, strict=True))
    order = sorted(range(len(parts)), key=lambda k: parts[k].times_T[0])
    follows = [bool(parts[b].times_T[0] > parts[a].times_T[-1]) for a, b in itertools.pairwise(order)]
    if all(follows):
        joins = all(
            parts[b].times_T[0] - parts[a].times_T[-1] <= 2 * _seconds(first) for a, b in itertools.pairwise(order)
        )
        return "continued" if joins or dated or not numbered else "scenarios"
    if dated:
        return "continued"  # which says where they overlap
    if numbered:
        _refuse_pieces(folder, parts, names)
        return "scenarios"
    if same_times and are_names_of_channels(stems) and first.num_sensors > 1:
        return "channels"
    if first.num_sensors == 1:
        raise UserError(
            f"{folder}: each of {first_few(names)} holds one sensor: give one table with a column for each sensor; or "
            f"else {flags_for(names)}"
        )
    alike = "the same sensors and times" if same_times else "the same sensors and times that overlap"
    raise UserError(f"{folder}: {first_few(names)} have {alike}, and may be several things: {flags_for(names)}")


def _refuse_pieces(folder: Path, parts: list[SensorSeries], names: list[str]) -> None:
    """Refuses files none of which has a reading that another one has too, as no scenarios are."""
    number_of = {sensor: n for n, sensor in enumerate(dict.fromkeys(sensor for part in parts for sensor in part.ids))}
    known = np.zeros(0, dtype=np.int64)
    for part in parts:
        rows, columns = np.nonzero(np.asarray(part.observed_TNC).any(axis=2))
        numbers_N = np.array([number_of[sensor] for sensor in part.ids])
        here = part.times_T.astype(np.int64)[rows] * len(number_of) + numbers_N[columns]
        if np.isin(here, known).any():
            return
        known = np.concatenate([known, here])
    raise UserError(
        f"{folder}: {first_few(names)} have no reading in common, and may be several things: {flags_for(names)}"
    )


def _seconds(series: SensorSeries) -> np.timedelta64:
    """The interval, months as the longest."""
    interval = series.interval
    if np.datetime_data(interval.dtype)[0] == "M":
        return np.timedelta64(int(interval.astype(int)) * 31 * 86400, "s")
    return interval


def _reordered(parts: list[SensorSeries]) -> list[SensorSeries]:
    """The parts with their sensors in the first one's order, if they have the same."""
    ids = parts[0].ids
    return [part.take_sensors(ids) if part.ids != ids and set(part.ids) == set(ids) else part for part in parts]


def _scenarios(parts: list[SensorSeries], names: list[str], folder: Path) -> SensorSeries:
    joined = join_parts(_reordered(parts), names, str(folder))
    return joined.with_notes((*_kept(parts), *joined.notes))


def _continued(parts: list[SensorSeries], names: list[str], folder: Path) -> SensorSeries:
    """One series, in the order of time, not of names."""
    order = sorted(range(len(parts)), key=lambda k: (parts[k].times_T[0], parts[k].times_T[-1]))
    parts, names = _reordered([parts[k] for k in order]), [names[k] for k in order]
    for before, after, name, next_name in zip(parts, parts[1:], names, names[1:], strict=False):
        if after.times_T[0] <= before.times_T[-1]:
            raise UserError(
                f"{folder}: {next_name} begins at {after.times_T[0]}, before {name} ends at {before.times_T[-1]}: as "
                "stretches of one series they must not overlap; or are they scenarios (--data-format scenarios)?"
            )
    joined = join_parts(parts, names, str(folder))
    axis = regular_axis(joined.times_T, str(folder), interval=joined.interval)
    joined = replace(joined, segments=axis.segments, parts=((0, joined.num_steps),))
    return replace(joined, notes=(*_kept(parts), *gap_notes(joined, str(folder))))


def _channels(parts: list[SensorSeries], names: list[str], folder: Path) -> SensorSeries:
    """One series with the channels of all files, named after the files if these do not name them."""
    parts = _reordered(parts)
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        if part.ids != first.ids:
            other = set(part.ids) ^ set(first.ids)
            raise UserError(
                f"{folder}: {name} has other sensors than {names[0]}: {first_few(sorted(other))} not in both"
            )
        if part.in_utc != first.in_utc or not np.array_equal(part.times_T, first.times_T):
            raise UserError(
                f"{folder}: {name} has other times than {names[0]}: {part.num_steps} rows from {part.times_T[0]}, "
                f"where that has {first.num_steps} from {first.times_T[0]}; channels must share their times"
            )
    own = [name for part in parts for name in part.channels]
    if len(set(own)) == len(own):
        channels = tuple(own)
    elif all(len(part.channels) == 1 for part in parts):
        channels = tuple(Path(name).stem for name in names)
    else:
        channels = tuple(
            f"{Path(name).stem}_{c}" for part, name in zip(parts, names, strict=True) for c in part.channels
        )
    return replace(
        first,
        values_TNC=np.concatenate([part.values_TNC for part in parts], axis=2),
        observed_TNC=np.concatenate([part.observed_TNC for part in parts], axis=2),
        rest_TNC=join_rests(parts, 2),
        channels=channels,
        units=tuple(unit for part in parts for unit in part.units),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _kept(parts: list[SensorSeries]) -> tuple[str, ...]:
    """The files' notes but those about gaps, which are counted anew."""
    gaps = re.compile(r"\d+ gap\(s\) in the time axis")
    return tuple(dict.fromkeys(note for part in parts for note in part.notes if not gaps.search(note)))
