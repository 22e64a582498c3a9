"""A folder of NetCDF files as one series: a file for each day, month or year, for each variable, or for both.

Only their axes are in memory together. A folder of scenarios is read by ``folders.py``.

Shape legend: T time.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import series_of_blocks
from dcrnn_fast.data.cf.parts import Column, Part, blocks_of, require_alike
from dcrnn_fast.data.cf.samples import layout_of
from dcrnn_fast.data.formats import Opened, Source, read_path
from dcrnn_fast.data.formats.folder_files import note_of_left, series_files
from dcrnn_fast.data.formats.folder_names import (
    FLAGS,
    are_names_of_channels,
    are_numbered,
    names_its_date,
    require_no_split,
)
from dcrnn_fast.data.formats.netcdf import opened_netcdf, part_of
from dcrnn_fast.data.formats.signatures import NETCDF_ENDINGS
from dcrnn_fast.data.times import regular_axis
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file


def read_netcdf_folder(folder: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """All files as one series: variables side by side, times behind each other; or as scenarios, if they are numbered.

    Raises:
        UserError: as ``open_netcdf_folder``, and as the folder of scenarios.
    """
    arranged = _arranged(folder, data)
    if isinstance(arranged, str):
        return read_path(folder, replace(data, data_format=arranged), graph)
    blocks, own_graph = _opened(folder, arranged, data, graph)
    return series_of_blocks(blocks, data), own_graph


def open_netcdf_folder(folder: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
    """The files as one series in pieces; None if they are scenarios, or channels named after their files.

    Raises:
        UserError: other places or units in one file, variables that only some of the files have, a time that comes
            twice, times of one variable alone, train, validation and test parts.
    """
    arranged = _arranged(folder, data)
    return None if isinstance(arranged, str) else _opened(folder, arranged, data, graph)


@dataclass(frozen=True, slots=True)
class _Arranged:
    """Groups of files: those of a column follow each other, columns lie side by side. left: files without the variables
    asked for; others: what is no series.
    """

    columns: list[Column]
    left: list[str]
    others: list[str]


def _opened(folder: Path, arranged: _Arranged, data: DataConfig, graph: GraphConfig) -> Opened:
    is_told = data.data_format in ("channels", "continued")
    notes = _account(folder, arranged.columns, arranged.left, is_told=is_told)
    notes += note_of_left(folder, arranged.others)
    return blocks_of(arranged.columns, str(folder), data, graph, notes)


def _arranged(folder: Path, data: DataConfig) -> _Arranged | Literal["scenarios", "channels"]:
    """The files by their channels and times; a word if only ``folders.py`` can read them, as this."""
    found, others = series_files(folder)
    paths = [path for path, kind in found if kind == "netcdf"]
    others += [path.name for path, kind in found if kind != "netcdf"]
    if not paths:
        raise UserError(f"{folder} holds no NetCDF file: wanted files ending in {', '.join(NETCDF_ENDINGS)}")
    is_told = data.data_format in ("channels", "continued")
    if not is_told:
        require_no_split(folder, [path.stem for path in paths], [path.name for path in paths])
    parts, left = _parts(folder, paths, replace(data, data_format="auto"))
    columns = _columns(folder, parts)
    if data.data_format == "channels" and len(columns) == 1 and len(parts) > 1:
        return "channels"
    if not is_told and len(columns) == 1 and (other := _other_kind(columns[0], folder)) is not None:
        return other
    for column in columns:
        _require_in_order(folder, column)
    for column in columns[1:]:
        _require_same_times(folder, columns[0], column)
    return _Arranged(columns, left, others)


def _parts(folder: Path, paths: list[Path], data: DataConfig) -> tuple[list[Part], list[str]]:
    """The files, all at the first one's places, and the names of those that have none of the variables asked for."""
    parts: list[Part] = []
    left: list[str] = []
    for path in paths:
        wanted = data.variables
        with opened_netcdf(path) as dataset:
            if layout_of(dataset) is not None:
                raise UserError(
                    f"{path}: its stations have times of their own (a ragged array): several such files are not joined"
                )
            there = set(map(str, dataset.data_vars))
        present = tuple(name for name in wanted if name in there or name.rpartition("_")[0] in there)
        if wanted and not present:
            left.append(path.name)
            continue
        part = part_of(path, replace(data, variables=present))
        _require_rising(path, part)
        if parts:
            with naming_file(folder):
                require_alike(parts[0], part)
            part = replace(part, fields=replace(part.fields, places=parts[0].fields.places))
        parts.append(part)
    if not parts:
        raise UserError(f"{folder}: none of its {len(paths)} files has a variable {first_few(data.variables)}")
    return parts, left


def _require_rising(path: Path, part: Part) -> None:
    times_T = part.stamps.times_T
    if (np.diff(times_T) <= np.timedelta64(0)).any():
        regular_axis(times_T, str(path))  # which says how


def _columns(folder: Path, parts: list[Part]) -> list[Column]:
    """The files with the same channels, in the order of their times; each channel in one column alone."""
    columns: dict[frozenset[str], list[Part]] = {}
    for part in parts:
        names = frozenset(channel.name for channel in part.fields.channels)
        first = columns.setdefault(names, [])
        if first:  # in the first file's order, whatever this one's is
            order = [channel.name for channel in first[0].fields.channels]
            channels = tuple(sorted(part.fields.channels, key=lambda channel: order.index(channel.name)))
            part = replace(part, fields=replace(part.fields, channels=channels))
        first.append(part)
    for (one, with_one), (other, with_other) in itertools.combinations(columns.items(), 2):
        if one & other:
            few, many = (one, other) if len(one) < len(other) else (other, one)
            lacking, having = (with_one, with_other) if few is one else (with_other, with_one)
            raise UserError(
                f"{folder}: {lacking[0].name} has no variable {first_few(sorted(many - few))}, which {having[0].name} "
                "has: name those that all files have with --variables, or move the files that lack some"
            )
    return [sorted(column, key=lambda part: part.stamps.times_T[0]) for column in columns.values()]


def _other_kind(column: Column, folder: Path) -> Literal["scenarios", "channels"] | None:
    """What files with the same variables are by their times and names, if not stretches of one series.

    Raises:
        UserError: they may be one thing or another.
    """
    stems = [Path(part.name).stem for part in column]
    dated = all(names_its_date(stem, part.stamps.times_T[0]) for stem, part in zip(stems, column, strict=True))
    if dated or len(column) == 1:
        return None
    follows = all(b.stamps.times_T[0] > a.stamps.times_T[-1] for a, b in itertools.pairwise(column))
    if are_numbered(stems):
        return None if follows and _joins(column) else "scenarios"
    if follows or all(part.fields.num_steps == 1 for part in column):
        return None
    first = column[0]
    same_times = all(np.array_equal(part.stamps.times_T, first.stamps.times_T) for part in column)
    if same_times and are_names_of_channels(stems) and first.fields.places.num_cells > 1:
        return "channels"
    raise UserError(
        f"{folder}: {first_few(part.name for part in column)} have the same variables and times that overlap, and may "
        f"be several things: {FLAGS}"
    )


def _joins(column: Column) -> bool:
    """Whether no gap between files is longer than an absent row."""
    steps = np.diff(np.concatenate([part.stamps.times_T for part in column])).astype(np.int64)
    gaps = [b.stamps.times_T[0] - a.stamps.times_T[-1] for a, b in itertools.pairwise(column)]
    return bool(max(gaps).astype(np.int64) <= 2 * np.median(steps))


def _require_in_order(folder: Path, column: Column) -> None:
    for before, after in itertools.pairwise(column):
        first, last = after.stamps.times_T[0], before.stamps.times_T[-1]
        if first > last:
            continue
        if (before.stamps.times_T[0], last) == (first, after.stamps.times_T[-1]):
            raise UserError(f"{folder}: {before.name} and {after.name} both hold {first}: move one of them away")
        raise UserError(
            f"{folder}: {after.name} begins at {first}, before {before.name} ends at {last}: as stretches of one "
            "series they must not overlap; or are they scenarios (--data-format scenarios)?"
        )


def _require_same_times(folder: Path, one: Column, other: Column) -> None:
    """Checks that two groups of variables have the same times."""
    times, others = (np.concatenate([part.stamps.times_T for part in column]) for column in (one, other))
    if np.array_equal(times, others):
        return
    names = [first_few(channel.name for channel in column[0].fields.channels) for column in (one, other)]
    alone = np.setxor1d(times, others)
    where = one if np.isin(alone[0], times) else other
    file = next(part.name for part in where if part.stamps.times_T[0] <= alone[0] <= part.stamps.times_T[-1])
    raise UserError(
        f"{folder}: {names[0]} and {names[1]} have other times: {counted(len(alone), 'time')} in one of them alone, "
        f"the first {alone[0]} in {file}; channels must share their times"
    )


def _account(folder: Path, columns: list[Column], left: list[str], *, is_told: bool) -> tuple[str, ...]:
    """What was read, as what, and what was not."""
    parts = [part for column in columns for part in column]
    first, last = columns[0][0].stamps.times_T[0], columns[0][-1].stamps.times_T[-1]
    rows = sum(part.fields.num_steps for part in columns[0])
    notes = [f"{folder}: {counted(len(parts), 'NetCDF file')}, {counted(rows, 'row')} from {first} to {last}"]
    if left:
        notes.append(
            f"look: {folder}: {counted(len(left), 'file')} without these variables not read: {first_few(left)}"
        )
    if len(parts) > 1 and not is_told:
        kinds = [
            *(["channels"] if len(columns) > 1 else []),
            *(["stretches of one series"] if any(len(column) > 1 for column in columns) else []),
        ]
        names = first_few(part.name for part in parts)
        notes.insert(0, f"look: {folder}: {names} are read as {' and '.join(kinds)}; else: {FLAGS}")
    return tuple(notes)
