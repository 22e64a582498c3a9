"""Tells the format of a single file by its first bytes, whatever its name says.

Functions that take a path alone are the ``detects`` of lines of ``FORMATS``, as those of ``detect.py`` are: they import
no library of a format and raise nothing.
"""

import csv
import os
import re
import zlib
from pathlib import Path

NETCDF_ENDINGS = (".nc", ".nc4", ".cdf")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PYTABLES = (b"PYTABLES_FORMAT_VERSION", b"pandas_type")
_NETCDF = (b"_NCProperties", b"_Netcdf4", b"_nc3_strict", b"DIMENSION_SCALE", b"DIMENSION_LIST")
_HEAD = 4096
"""bytes that are looked at"""
_LONG_HEAD = 1 << 16
"""bytes in which an HDF5 file has its first attributes, and a .tsf file its comments"""
_PACKED = {b"\x1f\x8b": "packed with gzip", b"PK\x03\x04": "a zip archive", b"BZh": "packed with bzip2"}
_PACKED |= {b"\xfd7zXZ": "packed with xz", b"\x28\xb5\x2f\xfd": "packed with zstd"}
_ATOMIC = re.compile(rb"(\xef\xbb\xbf)?dyna_id,type,time,(entity_id|row_id,column_id)\b")


def bytes_of(path: Path, size: int = _HEAD) -> bytes:
    """The first bytes of a file; none if they cannot be read, or would be waited for."""
    if not os.path.isfile(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked if it is gzip's, as far as they can be."""
    head = bytes_of(path)
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error:
        return b""


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, and not NetCDF-4."""
    return bytes_of(path, 8) == _HDF5 and not _is_netcdf4(path)


def is_netcdf(path: Path) -> bool:
    """Whether a file is NetCDF: classic, or NetCDF-4, which is HDF5 with the marks of its dimensions."""
    head = bytes_of(path, 8)
    return head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05") or (head == _HDF5 and _is_netcdf4(path))


def _is_netcdf4(path: Path) -> bool:
    """Which of the two an HDF5 file is; its name decides if it has the marks of both or of none."""
    head = bytes_of(path, _LONG_HEAD)
    marked = [any(mark in head for mark in marks) for marks in (_PYTABLES, _NETCDF)]
    return marked[1] if marked[0] != marked[1] else path.suffix.lower() in NETCDF_ENDINGS


def is_npy(path: Path) -> bool:
    """Whether a file is one array of numpy's."""
    return bytes_of(path, 6) == b"\x93NUMPY"


def is_npz(path: Path) -> bool:
    """Whether a file is a zip archive whose first member is an array of numpy's."""
    head = bytes_of(path, 1024)
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head[:4] == b"PK\x03\x04" and name.endswith(b".npy")


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet."""
    return bytes_of(path, 4) == b"PAR1"


def is_tsf(path: Path) -> bool:
    """Whether the first line of a file that is no comment is one of a .tsf file's header."""
    head = bytes_of(path, _LONG_HEAD)
    first = re.search(rb"^\s*([^#\s][^\n]*)", head, re.MULTILINE)
    return first is not None and first[1].startswith((b"@relation ", b"@attribute ", b"@frequency "))


def is_atomic(path: Path) -> bool:
    """Whether a file is one of LibCity's with readings, by its header."""
    return _ATOMIC.match(bytes_of(path, 64)) is not None


def is_table(path: Path) -> bool:
    """Whether a file is a text table: its first two lines have as many cells, more than one, of any usual delimiter."""
    head = bytes_of(path)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head[: len(head) // 2 * 2].decode(encoding, "ignore")
    if "\0" in text or (b"\0" in head and encoding != "utf-16"):
        return False
    lines = [line for line in text.splitlines()[:-1] or text.splitlines() if line.strip()][:2]
    delimiter = max(("\t", ";", ","), key=lines[0].count) if lines else ","
    counts = [len(cells) for cells in csv.reader(lines, delimiter=delimiter)]
    return len(counts) == 2 and counts[0] == counts[1] > 1


def packing_of(path: Path) -> str | None:
    """How a file is packed, in words; None if it is not."""
    head = bytes_of(path, 8)
    return next((words for mark, words in _PACKED.items() if head.startswith(mark)), None)


def is_station_text(path: Path) -> bool:
    """Whether a file, packed or not, has the lines of the PeMS clearinghouse's station files."""
    return STATION_LINE.match(head_of(path)) is not None


STATION_LINE = re.compile(
    rb"(?:timestamp[^\n]*\n)?(\d\d)/(\d\d)/(\d{4}) \d\d:\d\d:\d\d,\d+,(\d{1,2}),\d{1,3},[NSEW],[A-Z]{2},", re.IGNORECASE
)
"""the first line, after one of names: month, day, year and district"""
