"""Files of one series side by side (channels) and behind each other (times), as one series in pieces.

Shape legend: T time, R rows, N nodes, C channels.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import MASK_OF_DATA, MASK_OF_MODEL, DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.cf.fields import Fields
from dcrnn_fast.data.cf.land import Survey, flagged_in, mask_of, still_masks
from dcrnn_fast.data.cf.places import require_grid_for_mask
from dcrnn_fast.data.cf.ranges import valid_range
from dcrnn_fast.data.cf.readings import rows_of
from dcrnn_fast.data.cleaning import rule_for, without_values
from dcrnn_fast.data.pieces import rows_at_once
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, read_land_mask
from dcrnn_fast.messages import counted


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Part:
    """One file, or one folder of zarr.

    Attributes:
        name: for messages.
        opened: the dataset, its times not decoded, after ``with_coordinates``; errors of opening name the file.
        told: names the file in errors of reading it.
    """

    name: str
    fields: Fields
    stamps: Stamps
    opened: Callable[[], AbstractContextManager[xr.Dataset]]
    told: Callable[[], AbstractContextManager[None]]


_AT_ONCE = 1 << 19
"""readings of a block, but for larger chunks of its file: 2 MiB in float32, several of which are there at a time"""
_OWN_NOTES = 3
"""so many notes on single files are told"""
Column = Sequence[Part]
"""parts with the same channels, in the order of their times"""


def blocks_of(
    columns: Sequence[Column], where: str, data: DataConfig, graph: GraphConfig, notes: tuple[str, ...] = ()
) -> tuple[Blocks, SensorGraph | None]:
    """The series of parts whose places are the same and whose columns have the same times; of a grid also its graph.

    Raises:
        UserError: a mask that does not fit, and errors of the files.
    """
    first = columns[0][0].fields
    places = first.places
    require_grid_for_mask(places, graph.land_mask)
    channels = [channel for column in columns for channel in column[0].fields.channels]
    names = tuple(channel.name for channel in channels)
    mask_YX = _mask_given(first, graph)
    outside: Counter[str] = Counter()
    said: tuple[str, ...] = ()
    if graph.land_mask == MASK_OF_DATA:
        mask_YX, said = _surveyed_mask(columns, data, names)
    with columns[0][0].told():
        ids, positions_N2, own_graph = places.nodes(graph, mask_YX)
    keep_N = None if mask_YX is None else mask_YX.reshape(-1)

    def read() -> Iterator[np.ndarray]:
        outside.clear()
        yield from _all_rows(columns, keep_N, outside)

    blocks = Blocks(
        stamps=_joined(columns[0]),
        ids=ids,
        channels=names,
        units=tuple(channel.unit for channel in channels),
        where=where,
        read=read,
        marks_gaps=any(part.fields.marks_gaps for column in columns for part in column),
        positions_N2=positions_N2,
        notes=(*notes, *(f"look: {where}: {note}" for note in dict.fromkeys((*said, *_file_notes(columns))))),
        account=lambda: tuple(f"look: {where}: {note}" for note in _outside_said(columns, outside)),
    )
    return blocks, own_graph


def _mask_given(fields: Fields, graph: GraphConfig) -> np.ndarray | None:
    if graph.land_mask in (MASK_OF_DATA, MASK_OF_MODEL):
        return fields.places.on_earth()
    return None if graph.land_mask is None else read_land_mask(graph.land_mask)


def _outside_said(columns: Sequence[Column], outside: Counter[str]) -> tuple[str, ...]:
    notes = []
    for column in columns:
        with column[0].opened() as dataset:
            for name in column[0].fields.variables:
                if outside[name]:
                    valid = valid_range(dataset[name])
                    notes.append(
                        f"{counted(outside[name], 'reading')} of {name} outside its valid range ({valid}): missing"
                    )
    return tuple(notes)


def _file_notes(columns: Sequence[Column]) -> tuple[str, ...]:
    """The files' doubts: those that all files of a column share once, of the others the first few."""
    shared: list[str] = []
    own: list[str] = []
    for column in columns:
        times = Counter(note for part in column for note in part.fields.notes)
        shared += [note for note, count in times.items() if count == len(column)]
        own += [f"{part.name}: {note}" for part in column for note in part.fields.notes if times[note] < len(column)]
    more = (f"{len(own) - _OWN_NOTES} more such notes on other files",) if len(own) > _OWN_NOTES else ()
    return (*dict.fromkeys(shared), *own[:_OWN_NOTES], *more)


def _joined(column: Column) -> Stamps:
    """The times of parts behind each other."""
    last = column[-1].stamps
    return Stamps(np.concatenate([part.stamps.times_T for part in column]), last.in_utc, last.zone)


def _surveyed_mask(
    columns: Sequence[Column], data: DataConfig, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``--land-mask auto``: the mask, and its account."""
    fields = columns[0][0].fields
    cells = fields.places.num_cells
    survey = Survey(np.zeros((cells, len(names)), dtype=bool), np.zeros(cells, dtype=bool))
    missing: str = data.missing
    if missing == "auto":
        marks_gaps = bool(data.missing_value) or any(part.fields.marks_gaps for column in columns for part in column)
        missing = "nan" if marks_gaps else rule_for(_all_rows(columns, None, None), marks_gaps=False)
    for readings_RNC in _all_rows(columns, None, None, survey):
        readings = without_values(readings_RNC, data.missing_value) if data.missing_value else readings_RNC
        survey.add(np.isnan(readings) | (readings == 0) if missing == "zero" else np.isnan(readings))
    still: dict[str, np.ndarray] = {}
    notes: tuple[str, ...] = ()
    for column in columns:
        with column[0].opened() as dataset, column[0].told():
            found, more = still_masks(dataset, column[0].fields)
        still, notes = still | found, (*notes, *more)
    wanted = [names.index(target) for target in data.targets if target in names] or [0]
    mask_YX, account = mask_of(fields, survey, still, wanted)
    return mask_YX, (f"land mask: {account}", *notes)


def _all_rows(
    columns: Sequence[Column],
    keep_N: np.ndarray | None,
    outside: Counter[str] | None,
    survey: Survey | None = None,
) -> Iterator[np.ndarray]:
    """(R, N, C), in order: no block goes from one file to the next. One file of each column is open at a time.

    Args:
        keep_N: the cells that are nodes; None: all.
        survey: gets the cells that flags call land.
    """
    dtype = np.result_type(*(part.fields.dtype for column in columns for part in column))
    places = columns[0][0].fields.places
    readers = [_Reader(column) for column in columns]
    with ExitStack() as stack:
        for reader in readers:
            stack.callback(reader.close)
        for start, stop in _stretches(columns):
            parts = [reader.part_at(start) for reader in readers]
            shape = (1, places.num_cells, sum(len(part.fields.channels) for part in parts))
            chunk = max(part.fields.time_chunk for part in parts)
            # A chunk is read, and unpacked, whole: pieces that end where chunks do read each of them once.
            count = max(rows_at_once(shape, _AT_ONCE), min(chunk, rows_at_once(shape)))
            count = count // chunk * chunk or count
            for a in range(start, stop, count):
                b = min(a + count, stop)
                found = [reader.rows(a, b, outside, survey) for reader in readers]
                block = found[0] if len(found) == 1 else np.concatenate(found, axis=2)
                if keep_N is not None:
                    block = block[:, keep_N]
                yield block.astype(dtype, copy=False)


def _stretches(columns: Sequence[Column]) -> Iterator[tuple[int, int]]:
    """The rows from one file's border, of any column, to the next."""
    borders = {0}
    for column in columns:
        borders |= set(np.cumsum([part.fields.num_steps for part in column]).tolist())
    ordered = sorted(borders)
    yield from itertools.pairwise(ordered)


class _Reader:
    """The rows of a column, counted from its first file's; the file that was read last stays open."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._starts = np.cumsum([0, *(part.fields.num_steps for part in column)])
        self._open = ExitStack()
        self._at: int | None = None
        self._dataset: xr.Dataset | None = None

    def _index(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def part_at(self, row: int) -> Part:
        """The file that holds a row."""
        return self._column[self._index(row)]

    def rows(self, start: int, stop: int, outside: Counter[str] | None, survey: Survey | None) -> np.ndarray:
        """(R, N, C) of rows of one file."""
        at = self._index(start)
        part = self._column[at]
        if at != self._at or self._dataset is None:
            self.close()
            self._dataset, self._at = self._open.enter_context(part.opened()), at
        rows = slice(start - int(self._starts[at]), stop - int(self._starts[at]))
        with part.told():
            if survey is not None:
                for name, land_N in flagged_in(self._dataset, part.fields, rows).items():
                    survey.flagged_N |= land_N
                    survey.by_flags += [] if name in survey.by_flags else [name]
            return rows_of(self._dataset, part.fields, rows, outside)

    def close(self) -> None:
        """Closes the file that is open."""
        self._open.close()
        self._open, self._dataset, self._at = ExitStack(), None, None


def require_alike(one: Part, other: Part) -> None:
    """Checks that a file continues another, or goes beside it: the same places, and units of the same channels.

    Raises:
        UserError: they differ, with both names.
    """
    if (difference := one.fields.places.difference(other.fields.places)) is not None:
        if one.fields.places.ids is None:
            raise UserError(f"{other.name} has another grid than {one.name}: {difference}")
        raise UserError(
            f"{other.name} has other stations than {one.name}: {difference}; join them first into one file (xarray: "
            "concat along the dimension of stations), or leave one out"
        )
    units = {channel.name: channel.unit for channel in one.fields.channels}
    for channel in other.fields.channels:
        if units.get(channel.name, channel.unit) != channel.unit:
            raise UserError(
                f"{other.name} has {channel.name} in {channel.unit or 'no unit'}, {one.name} in "
                f"{units[channel.name] or 'no unit'}: convert one of them"
            )
    if one.stamps.in_utc != other.stamps.in_utc:
        raise UserError(
            f"the times of one of {one.name} and {other.name} have an offset, the other's have none: make them alike"
        )
