"""Tells formats by what files and folders hold: their names and first bytes alone.

Each function is the ``detects`` of a line of ``FORMATS``. It imports no library of a format, and raises nothing: what
cannot be read is not of its format, and the reader that is then asked says why.
"""

import gzip
import os
import re
import zlib
from pathlib import Path

from dcrnn_fast.data.formats.pems_files import STATIONS_NAME

_NETCDF = (".nc", ".nc4", ".cdf")
_YEAR = re.compile(r"(.*?)(?:19|20)\d\d\.(?:h5|hdf5|hdf)", re.IGNORECASE)
_PIECE = re.compile(r"part[-.]\d+.*\.(?:parquet|pq|csv|tsv|txt)", re.IGNORECASE)
"""as Spark, pyarrow and dask call the files of one table"""
_LARGEST = re.compile(r"(\w+?)_his_(?:raw_)?")
_HEAD = 4096
"""bytes that are looked at"""


def is_pems(folder: Path) -> bool:
    """Whether it is a station file of the PeMS clearinghouse, of any type, or a folder that has one, also one below."""
    if not os.path.isdir(folder):
        return STATIONS_NAME.fullmatch(folder.name) is not None
    names = names_in(folder)
    if any(STATIONS_NAME.fullmatch(name) for name in names):
        return True
    below = [one for name in names if not name.startswith(".") and (one := folder / name).is_dir()]
    return any(STATIONS_NAME.fullmatch(name) for one in below for name in names_in(one))


def years_in(folder: Path) -> dict[str, list[str]]:
    """Names of HDF5 files that differ in their year alone, by what is before it; two of each at least, or one beside
    the table of LargeST's sensors.
    """
    groups: dict[str, list[str]] = {}
    there = names_in(folder)
    for name in there:
        if (found := _YEAR.fullmatch(name)) is not None:
            groups.setdefault(found[1], []).append(name)
    return {
        stem: names
        for stem, names in groups.items()
        if len(names) > 1 or ((own := _LARGEST.fullmatch(stem)) is not None and f"{own[1]}_meta.csv" in there)
    }


def is_years(folder: Path) -> bool:
    """Whether a folder has HDF5 files that differ in their year alone, and no others of such an ending."""
    names = [name for name in names_in(folder) if name.lower().endswith((".h5", ".hdf5", ".hdf"))]
    return bool(years_in(folder)) and all(_YEAR.fullmatch(name) for name in names)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def head_of(path: Path, size: int = _HEAD) -> bytes:
    """The first bytes of a file, unpacked if it is gzip's; none if they cannot be read, or would be waited for."""
    if not os.path.isfile(path):
        return b""
    try:
        with path.open("rb") as file:
            head = file.read(size)
        if head[:2] != b"\x1f\x8b":
            return head
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read(size)
    except (OSError, EOFError, zlib.error):
        return b""


def is_partitioned(folder: Path) -> bool:
    """Whether there is nothing in it but folders called year=2024, or files called part-00000.parquet, and hidden
    files.
    """
    names = [name for name in names_in(folder) if not name.startswith((".", "_"))]
    if names and all(_PIECE.fullmatch(name) for name in names):
        return True
    parts = [name.partition("=") for name in names]
    return bool(names) and all(
        key and sign and os.path.isdir(folder / "".join((key, sign, value))) for key, sign, value in parts
    )


def is_usgs(path: Path) -> bool:
    """Whether a file, or one of the first files of a folder, is the USGS's: RDB, CSV of its OGC API, or a page of its
    server in place of data.
    """
    if path.is_dir():
        files = [path / name for name in names_in(path) if not name.startswith(".")]
        return any(is_usgs(file) for file in files[:3] if os.path.isfile(file))
    if path.suffix.lower() == ".gz":
        return False
    head = head_of(path)
    first_line = head.lstrip(b"\xef\xbb\xbf \r\n").split(b"\n", 1)[0]
    if head.startswith(b"#"):
        return any(name in head for name in (b"U.S. Geological Survey", b"usgs.gov", b"agency_cd\tsite_no"))
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return b"usgs" in head.lower()
    return first_line.startswith(b"agency_cd\tsite_no") or b"monitoring_location_id" in first_line


def is_libcity(folder: Path) -> bool:
    """Whether a folder holds atomic files: NAME.geo, and readings; or a file is one of flows, which is refused."""
    if not os.path.isdir(folder):
        return folder.suffix.lower() in (".od", ".gridod")
    endings = {os.path.splitext(name)[1].lower() for name in names_in(folder)}
    return ".geo" in endings and not endings.isdisjoint((".dyna", ".grid", ".od", ".gridod"))


def is_zarr(folder: Path) -> bool:
    """Whether a folder has the metadata of zarr, of a group or of one array."""
    return not {".zgroup", ".zarray", ".zmetadata", "zarr.json"}.isdisjoint(names_in(folder))


def is_netcdf_folder(folder: Path) -> bool:
    """Whether all files in a folder that end as series do are NetCDF."""
    from dcrnn_fast.data.formats import ENDINGS  # the table names this module

    endings = {Path(name).suffix.lower() for name in names_in(folder) if not name.startswith(".")} & {*ENDINGS}
    return bool(endings) and endings <= {*_NETCDF}


def is_basicts(folder: Path) -> bool:
    """Whether a folder is one of BasicTS's: its description and readings, or scaled readings and their scaler."""
    names = set(names_in(folder))
    if {"data.dat", "desc.json"} <= names or {"train_data.npy", "meta.json"} <= names:
        return True
    return any(
        re.fullmatch(r"data(_in_?\d+_out_?\d+\w*)?\.pkl", one) and one.replace("data", "scaler", 1) in names
        for one in names
    )
