"""Tells formats by what files and folders hold: their names and first bytes alone.

Each function is the ``detects`` of a line of ``FORMATS``. It imports no library of a format, and raises nothing: what
cannot be read is not of its format, and the reader that is then asked says why.
"""

import os
import re
from pathlib import Path

from dcrnn_fast.data.formats.folder_files import accompanies, series_files
from dcrnn_fast.data.formats.pems_files import STATIONS_NAME
from dcrnn_fast.data.formats.signatures import head_of, is_atomic, is_netcdf, is_station_text, is_tsf
from dcrnn_fast.errors import UserError

_LOOKED_AT = 5
"""files of a folder"""
_YEAR = re.compile(r"(.*?)(?:19|20)\d\d\.(?:h5|hdf5|hdf)", re.IGNORECASE)
_PIECE = re.compile(r"part[-.]\d+.*\.(?:parquet|pq|csv|tsv|txt)", re.IGNORECASE)
"""as Spark, pyarrow and dask call the files of one table"""
_LARGEST = re.compile(r"(\w+?)_his_(?:raw_)?")


def is_pems(folder: Path) -> bool:
    """Whether it is a station file of the PeMS clearinghouse, of any type, by its name or its lines, or a folder that
    has one, or a folder in it; of renamed files a folder's first few are looked at.
    """
    if not os.path.isdir(folder):
        return STATIONS_NAME.fullmatch(folder.name) is not None or is_station_text(folder)
    names = names_in(folder)
    visible = [folder / name for name in names if not accompanies(name)]
    if any(STATIONS_NAME.fullmatch(name) for name in names) or any(map(is_station_text, visible[:_LOOKED_AT])):
        return True
    below = [one for name in names if not name.startswith(".") and os.path.isdir(one := folder / name)]
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
    if not years_in(folder) or not all(_YEAR.fullmatch(name) for name in names):
        return False
    return not all(is_netcdf(folder / name) for name in names)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def is_partitioned(folder: Path) -> bool:
    """Whether there is nothing in it but folders called year=2024, or files called part-00000.parquet, and files that
    are no series by their names.
    """
    names = [name for name in names_in(folder) if not name.startswith("_") and not accompanies(name)]
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
    if os.path.isdir(path):
        files = [path / name for name in names_in(path) if not accompanies(name)]
        return any(is_usgs(file) for file in files[:_LOOKED_AT] if os.path.isfile(file))
    if path.suffix.lower() == ".gz":
        return False
    head = head_of(path)
    first_line = head.lstrip(b"\xef\xbb\xbf \r\n").split(b"\n", 1)[0]
    if head.startswith(b"#") and not is_tsf(path):
        return any(name in head for name in (b"U.S. Geological Survey", b"usgs.gov", b"agency_cd\tsite_no"))
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return b"usgs" in head.lower()
    return first_line.startswith(b"agency_cd\tsite_no") or b"monitoring_location_id" in first_line


def is_libcity(folder: Path) -> bool:
    """Whether it is a file of atomic readings by its header, or one of flows by its name, which is refused; or a folder
    with NAME.geo and readings.
    """
    if not os.path.isdir(folder):
        return folder.suffix.lower() in (".od", ".gridod") or is_atomic(folder)
    endings = {os.path.splitext(name)[1].lower() for name in names_in(folder)}
    return ".geo" in endings and not endings.isdisjoint((".dyna", ".grid", ".od", ".gridod"))


def is_zarr(folder: Path) -> bool:
    """Whether a folder has the metadata of zarr, of a group or of one array."""
    return not {".zgroup", ".zarray", ".zmetadata", "zarr.json"}.isdisjoint(names_in(folder))


def is_netcdf_folder(folder: Path) -> bool:
    """Whether all files in a folder that are series are NetCDF."""
    try:
        return {kind for _, kind in series_files(folder)[0]} == {"netcdf"}
    except UserError:
        return False


def is_basicts(folder: Path) -> bool:
    """Whether a folder is one of BasicTS's: its description and readings, or scaled readings and their scaler."""
    names = set(names_in(folder))
    if {"data.dat", "desc.json"} <= names or {"train_data.npy", "meta.json"} <= names:
        return True
    return any(
        re.fullmatch(r"data(_in_?\d+_out_?\d+\w*)?\.pkl", one) and one.replace("data", "scaler", 1) in names
        for one in names
    )
