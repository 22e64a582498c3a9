"""A source that grows while it is watched: whether it changed, and its newest rows without reading all of a table."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import formats_of, read_source
from dcrnn_fast.errors import UserError
from dcrnn_fast.reading.tables import ends_with_a_line, read_rows, table_form

State = tuple[tuple[str, int, int, int], ...]
"""of each file: its name, number, size and time of change; () if nothing is there"""
_HEAD = 1 << 20
"""bytes in which the header of a table must end for its tail to be read alone"""
_GROWTH = 8
_PIECE = 1 << 20
"""bytes of a long table whose times are looked at at once"""
_MARK = 256
_LINES = (".csv", ".tsv", ".txt", ".dyna")
"""endings of files that programs append lines to"""


def state_of(path: Path) -> State:
    """What tells that a file, or a file in a folder, was written, replaced or removed; no clock is compared."""
    files = [path]
    if path.is_dir():
        files += sorted(one for one in path.rglob("*") if not one.is_dir())
    state = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:  # gone meanwhile
            continue
        state.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(state)


class _Seen(NamedTuple):
    """Of a long table's rows before a byte: the newest time, and the last bytes, by which they are known again."""

    end: int
    newest: np.datetime64
    mark: bytes


class GrowingSource:
    """A source of readings that other programs append to, or replace.

    Args:
        data: as ``read_source`` takes it.
        rows: that a forecast reads.
    """

    def __init__(self, data: DataConfig, graph: GraphConfig, rows: int) -> None:
        self.path, self._data, self._graph, self._rows = Path(data.data), data, graph, rows
        # Rows without times are numbered from the first one.
        self._is_table = formats_of(data) == {"csv"} and not self.path.is_dir() and data.start is None
        self._enough = 1 << 14
        self._seen: list[_Seen] = []
        self._found = self.state()

    def state(self) -> State:
        """``state_of`` the source."""
        return state_of(self.path)

    def newest(self, use: Callable[[SensorSeries], None]) -> bool:
        """Hands the newest rows to ``use``, of a CSV file those at its end, read alone if that is enough.

        Rows of a long table may come in any order: of its end those times are handed on of which no row stands before.
        A last line that has no end yet is left out, for its last number may be cut: of a file, and in a folder of the
        last file by name and of those that changed since this was made; others may have been written so.

        Returns:
            Whether all of the file was regarded.
        Raises:
            UserError, OSError: of the reader, or of ``use``, for the whole source.
        """
        if not self._is_table:
            if not (cut := self._without_end()):
                use(self._read(self.path))
                return True
            with tempfile.TemporaryDirectory(prefix="dcrnn_fast-tail-") as folder:
                copy = Path(folder, self.path.name)
                _copy_whole_lines(self.path, copy, cut)
                use(self._read(copy))
            return False
        with tempfile.TemporaryDirectory(prefix="dcrnn_fast-tail-") as folder:
            copy, size = Path(folder, self.path.name), self._enough
            while (tail := _copy_tail(self.path, copy, size)) is not None:
                start, complete = tail
                try:
                    series = self._read(copy)
                    enough = max(size * (self._rows + 2) // series.num_steps, 1 << 10) * 3 // 2
                    if series.num_steps > self._rows:
                        series = self._without_times_before(series, start, copy)
                    if series.num_steps >= self._rows:
                        use(series)
                        self._enough = enough
                        return complete
                except UserError:  # what is wrong is told of the whole file
                    pass
                size *= _GROWTH
            complete = ends_with_a_line(self.path)
            if complete:
                use(self._read(self.path))
            else:
                _copy_lines(self.path, copy)
                use(self._read(copy))
        return complete

    def _without_times_before(self, series: SensorSeries, start: int, copy: Path) -> SensorSeries:
        """The end of a table, from byte ``start`` on, without the times of which a long one has rows before it."""
        names, *rows = (row.cells for row in read_rows(copy))
        if set(series.ids) <= set(names):  # wide: each row is complete
            return series
        each = series.num_sensors * (1 if set(series.channels) <= set(names) else len(series.channels))
        if len(rows) > (series.num_steps - 1) * each:  # all are there, but for some of the first time
            return series.tail(series.num_steps - 1)
        newest = self._newest_before(start, copy)
        return series.tail(int(np.count_nonzero(series.times_T > newest)))

    def _newest_before(self, start: int, copy: Path) -> np.datetime64:
        """The newest time of a long table's rows before this byte; of a file that grows each piece is read once.

        Raises:
            UserError: there is none, or a piece of the table cannot be read alone.
        """
        with open(self.path, "rb") as stream:
            header = _header(stream)
            seen = next((one for one in reversed(self._seen) if one.end <= start), None)
            if seen is None or _mark(stream, seen.end) != seen.mark:
                self._seen.clear()
                seen = None
            end, newest = (len(header), np.datetime64("NaT")) if seen is None else (seen.end, seen.newest)
            while end < start:
                stream.seek(end)
                lines = stream.read(min(_PIECE, start - end))
                lines = lines[: lines.rfind(b"\n") + 1]
                if not lines:
                    raise UserError(f"{self.path}: a line has more than {_PIECE} bytes")
                copy.write_bytes(header + lines)
                newest = np.fmax(newest, self._read(copy).times_T[-1])
                end += len(lines)
                if end < start and (not self._seen or self._seen[-1].end < end):
                    self._seen.append(_Seen(end, newest, _mark(stream, end)))
        return newest

    def _without_end(self) -> list[Path]:
        """The files whose last line is left out."""
        files = [one for one in self.state() if Path(one[0]).suffix.lower() in _LINES and not Path(one[0]).is_dir()]
        grown = [Path(one[0]) for one in files if one not in self._found or one == files[-1]]
        return [file for file in grown if not ends_with_a_line(file)]

    def _read(self, path: Path) -> SensorSeries:
        """The series of the source, or of a copy of its end; lines about a copy name the source."""
        data = replace(self._data, data=str(path), data_format="csv" if self._is_table else self._data.data_format)
        try:
            series, _ = read_source(data, self._graph)
        except UserError as error:
            raise UserError(str(error).replace(str(path), str(self.path))) from error
        return series.with_notes(tuple(note.replace(str(path), str(self.path)) for note in series.notes))


def _copy_tail(path: Path, copy: Path, size: int) -> tuple[int, bool] | None:
    """Copies the header and the complete ones of the lines in the last ``size`` bytes.

    Returns:
        Where the first of these lines begins, and whether the file ends with a complete line; None: it has no more than
        that, or is no UTF-8.
    """
    if not table_form(path)[0].startswith("utf-8"):
        return None
    with open(path, "rb") as stream:
        length = stream.seek(0, os.SEEK_END)
        header = _header(stream)
        if length - size <= len(header):
            return None
        stream.seek(length - size)
        stream.readline()  # the end of a line
        start = stream.tell()
        lines = stream.read()
    end = lines.rfind(b"\n") + 1
    copy.write_bytes(header + lines[:end])
    return start, end == len(lines)


def _header(stream: BinaryIO) -> bytes:
    """The first line that is not empty, with those before it."""
    stream.seek(0)
    header = b""
    while not header.strip() and len(header) < _HEAD and (line := stream.readline(_HEAD)):
        header += line
    return header


def _mark(stream: BinaryIO, end: int) -> bytes:
    """The bytes before byte ``end``."""
    stream.seek(max(end - _MARK, 0))
    return stream.read(min(_MARK, end))


def _copy_whole_lines(path: Path, copy: Path, cut: list[Path]) -> None:
    """A file without its last line, or a folder of links to files, but for those in ``cut``, which are copied so."""
    if not path.is_dir():
        _copy_lines(path, copy)
        return
    shutil.copytree(path, copy, copy_function=lambda source, link: os.symlink(os.path.abspath(source), link))
    for file in cut:
        place = copy / file.relative_to(path)
        place.unlink()
        _copy_lines(file, place)


def _copy_lines(path: Path, copy: Path) -> None:
    """Copies all but a last line without an end."""
    shutil.copyfile(path, copy)
    with open(copy, "r+b") as stream:
        end = place = stream.seek(0, os.SEEK_END)
        while place:
            place = max(place - _HEAD, 0)
            stream.seek(place)
            if (found := stream.read(end - place).rfind(b"\n")) >= 0:
                place += found + 1
                break
            end = place
        stream.truncate(place)
