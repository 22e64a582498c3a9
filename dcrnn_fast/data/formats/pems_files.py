"""The files of a folder from the Caltrans PeMS clearinghouse: their names, their first lines, the stations' metadata.

``dNN_text_station_5min_YYYY_MM_DD.txt.gz`` holds a day of district NN, ``dNN_text_station_hour_YYYY_MM.txt.gz`` a month
of hours, ``dNN_text_meta_YYYY_MM_DD.txt`` the stations as they were that day; unpacked files have no ``.gz``. They may
lie in folders by year or district.
"""

import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dcrnn_fast.data.formats.signatures import STATION_LINE, bytes_of, head_of, is_station_text
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, naming_file

READINGS_NAME = re.compile(r"d(\d\d)_text_station_(5min_(\d{4})_(\d\d)_(\d\d)|hour_(\d{4})_(\d\d))\.txt(\.gz)?")
STATIONS_NAME = re.compile(r"d\d\d_text_station_\w+\.txt(\.gz)?")
"""also of types that are not read: raw, day"""
_METADATA_NAME = re.compile(r"d(\d\d)_text_meta_(\d{4}_\d\d_\d\d)\.txt(\.gz)?")
_METADATA_HEAD = b"ID\tFwy\tDir\tDistrict\t"
_TIME = re.compile(rb"\d\d/(\d\d)/\d{4} (\d\d):(\d\d):\d\d,")
_AT_ONCE = 1 << 20
_DEPTH = 3
"""levels of folders that are looked into"""
_LONGEST_LINE = 1 << 16
"""bytes; a station of eight lanes has some 300"""
_STATION = 12
"""columns of the station itself"""
_LANE = {"5min": 5, "hour": 3}
_DELAYS = {"5min": 0, "hour": 6}
"""columns between the station's and the lanes': delays against six speeds"""


@dataclass(frozen=True, slots=True)
class Period:
    """What a file of readings covers.

    Attributes:
        district: two digits.
        first: its first time.
        rows: so many steps; step: of this length.
    """

    path: Path
    kind: str
    district: str
    first: np.datetime64
    rows: int
    step: np.timedelta64

    @property
    def name(self) -> str:
        """2024-03-01, or 2024-03."""
        return str(self.first.astype("datetime64[D]" if self.kind == "5min" else "datetime64[M]"))


class Head(NamedTuple):
    """The beginning of a file.

    Attributes:
        columns: of each line; skipped: lines before the first reading (a line of names).
        stations: ids of the first time's rows, as far as they follow each other.
    """

    columns: int
    skipped: int
    stations: tuple[int, ...]


def files_in(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """All files of a folder and of the folders in it, by name."""
    with naming_file(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir() and depth > 1 and not entry.name.startswith("."):
            yield from files_in(Path(entry.path), depth - 1)
        elif not entry.is_dir():
            yield Path(entry.path)


def periods_of(folder: Path, paths: Sequence[Path]) -> list[Period]:
    """What the files of readings cover, by time and district.

    Raises:
        UserError: there is none, 5-minute and hourly ones together, a period of a district twice.
    """
    periods = sorted(
        (found for path in paths if (found := _period_of(path)) is not None), key=lambda one: (one.first, one.district)
    )
    if not periods:
        others = [path.name for path in paths if STATIONS_NAME.fullmatch(path.name)]
        held = f"holds station files of PeMS of another type, {first_few(others)}" if others else "holds none"
        if folder.is_file():
            held = "is of another type" if others else "has neither the name nor the lines of a station file of PeMS"
        raise UserError(
            f"{folder} {held}: those of 5 minutes (d04_text_station_5min_2024_03_01.txt.gz) and of hours "
            "(d04_text_station_hour_2024_03.txt.gz) are read"
        )
    kinds = {one.kind: one for one in periods}
    if len(kinds) > 1:
        names = " and hourly ones such as ".join(kinds[kind].path.name for kind in ("5min", "hour"))
        raise UserError(f"{folder} holds 5-minute files such as {names}: give each kind a folder of its own")
    for one, other in itertools.pairwise(periods):
        if (one.first, one.district) == (other.first, other.district):
            raise UserError(f"{one.path} and {other.path} both hold {one.name} of district {one.district}: keep one")
    return periods


def _period_of(path: Path) -> Period | None:
    found = READINGS_NAME.fullmatch(path.name)
    if found is None:
        return None if STATIONS_NAME.fullmatch(path.name) else _renamed(path)
    try:
        if found[3]:
            first = np.datetime64(f"{found[3]}-{found[4]}-{found[5]}", "s")
            return _day(path, found[1], first)
        return _month(path, found[1], np.datetime64(f"{found[6]}-{found[7]}", "M"))
    except ValueError:
        raise UserError(f"{path}: its name gives no date that a calendar has") from None


def _day(path: Path, district: str, first: np.datetime64) -> Period:
    return Period(path, "5min", district, first, 288, np.timedelta64(300, "s"))


def _month(path: Path, district: str, month: np.datetime64) -> Period:
    days = int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))
    return Period(path, "hour", district, month.astype("datetime64[s]"), 24 * days, np.timedelta64(3600, "s"))


def _renamed(path: Path) -> Period | None:
    """What a file with another name covers, by its first lines; None: it is no file of readings, or of other steps.

    Raises:
        UserError: it has the lines of one, and is cut short before they say what it covers.
    """
    found = STATION_LINE.match(head_of(path))
    if found is None:
        return None
    month, day, year, district = (part.decode() for part in found.groups())
    first_time = None
    with unpacked(path) as file:
        for line in file:
            time = _TIME.match(line)
            first_time = first_time or time
            if time is not None and first_time is not None and time[0] != first_time[0]:
                break
        else:
            raise UserError("has rows of one time alone: is it cut short?")
    try:
        date = np.datetime64(f"{year}-{month}-{day}", "s")
    except ValueError:
        raise UserError(f"{path}: its first line has no date that a calendar has") from None
    apart = [int(later) - int(earlier) for earlier, later in zip(first_time.groups(), time.groups(), strict=True)]
    minutes = apart[0] * 1440 + apart[1] * 60 + apart[2]
    if minutes == 5:
        return _day(path, district.zfill(2), date)
    return _month(path, district.zfill(2), date.astype("datetime64[M]")) if minutes == 60 else None


def is_packed(path: Path) -> bool:
    """Whether a file is gzip's, or should be by its name and is no text of stations either."""
    return bytes_of(path, 2) == b"\x1f\x8b" or (path.suffix == ".gz" and not is_station_text(path))


def require_no_nul(path: Path) -> None:
    """Checks that an unpacked file was written to its end: a part that was not is full of NUL characters.

    Raises:
        UserError: it was not.
    """
    with naming_file(path):
        if is_packed(path):
            return  # checked as a whole
        with path.open("rb") as file:
            while content := file.read(_AT_ONCE):
                if b"\0" in content:
                    raise UserError("holds NUL characters, as a file that was not written to its end: fetch it again")


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """A file's text, whose damage is told by its name.

    Raises:
        UserError: it cannot be read, is cut short or no gzip file.
    """
    with naming_file(path):
        try:
            with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
                yield file  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError("is cut short, or no gzip file: fetch it again") from error


def lines_in(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file of ``unpacked``.

    Raises:
        UserError: one is longer than a station's can be, as in a file of something else that was packed.
    """
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise UserError(f"a line of more than {_LONGEST_LINE} bytes: no file of PeMS")
        yield line


def head_of_readings(period: Period) -> Head:
    """The beginning of a file of readings.

    Raises:
        UserError: it cannot be read, is empty, or has other columns than files of its kind.
    """
    with unpacked(period.path) as file:
        lines = lines_in(file)
        first = next(lines, b"")
        skipped = 0
        if first[:9].lower() == b"timestamp":
            first, skipped = next(lines, b""), 1
        if not first:
            raise UserError("is empty: a day without readings is left out")
        columns = first.count(b",") + 1
        rest = columns - _STATION - _DELAYS[period.kind]
        if rest < 0 or rest % _LANE[period.kind]:
            raise UserError(
                f"line {skipped + 1} has {columns} columns, where a {period.kind} file of PeMS has "
                f"{_STATION + _DELAYS[period.kind]} and {_LANE[period.kind]} of each lane: it is of another version"
            )
        time, stations = first[:19], []
        for line in itertools.chain([first], lines):
            cells = line[:40].split(b",", 2)
            if cells[0] != time or len(cells) < 3 or not cells[1].isdigit():
                break
            stations.append(int(cells[1]))
    return Head(columns, skipped, tuple(stations))


def positions_in(paths: Sequence[Path]) -> dict[int, tuple[float, float]]:
    """(latitude, longitude) of the stations of the metadata files, the latest that has them.

    Raises:
        UserError: a file that cannot be read or lacks a column; a line is named.
    """
    dated = sorted((date, path) for path in paths if (date := _date_of_metadata(path)) is not None)
    places: dict[int, tuple[float, float]] = {}
    for _, path in dated:
        with unpacked(path) as file:
            lines = (line.decode("latin-1").rstrip("\r\n") for line in lines_in(file))
            names = next(lines, "").split("\t")
            wanted = ("ID", "Latitude", "Longitude")
            if absent := [name for name in wanted if name not in names]:
                raise UserError(f"has no column {first_few(absent)}: wanted {', '.join(wanted)}, separated by tabs")
            columns = [names.index(name) for name in wanted]
            for number, line in enumerate(lines, start=2):
                if not line.strip():
                    continue
                cells = [cell.strip() for cell in line.split("\t")]
                try:
                    sensor, *place = (cells[column] for column in columns)
                    if all(place):
                        latitude, longitude = (float(one) for one in place)
                        places[int(sensor)] = (latitude, longitude)
                    else:
                        int(sensor)
                except (IndexError, ValueError):
                    raise UserError(f"line {number} names no station with its place: {line[:60]!r}") from None
    return places


def metadata_beside(path: Path) -> list[Path]:
    """The files of metadata in the folder of a file of readings."""
    return sorted(one for one in path.parent.iterdir() if one.is_file() and _date_of_metadata(one) is not None)


def has_metadata(paths: Sequence[Path]) -> bool:
    """Whether one of the files has the stations' metadata."""
    return any(_date_of_metadata(path) is not None for path in paths)


def _date_of_metadata(path: Path) -> str | None:
    """The date in the name of a file of metadata, "" if it has another name; None: it is another file."""
    if (found := _METADATA_NAME.fullmatch(path.name)) is not None:
        return found[2]
    is_named = READINGS_NAME.fullmatch(path.name) is not None
    return "" if not is_named and head_of(path).startswith(_METADATA_HEAD) else None


def others_in(folder: Path, paths: Sequence[Path], periods: Sequence[Period]) -> list[str]:
    """Paths below a folder of the files that are neither readings nor metadata."""
    read = {period.path for period in periods}
    return [str(path.relative_to(folder)) for path in paths if path not in read and _date_of_metadata(path) is None]
