"""The prepared store: a folder that is opened as a memory map, with a checksum for each file.

    values.npy    float32 (T, N, C), 0 where missing
    observed.npy  bool    (T, N, C)
    times.npy     datetime64[s] (T,)
    graph.npz     if the source brought a graph or one was given
    manifest.json everything else, and the name, size and SHA-256 of each file

A store that is replaced stays complete until the new one is: the new one's files get the other of two names
(values.npy, values.2.npy), and the manifest, which names them, is replaced last and at once. The first thing in a new
folder is a manifest of format 0: it marks the files of an interrupted run as a store's, and no other file is ever
removed.

Shape legend: T time, N sensors, C channels.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np

from dcrnn_fast.config.sections import DataConfig, GraphConfig, Missing
from dcrnn_fast.data.series import SensorSeries, gap_notes
from dcrnn_fast.data.times import format_freq, is_months, parse_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import (
    clear_leftovers,
    folder_for_new_files,
    open_regular,
    sha256_of,
    write_atomically,
    write_bytes,
)
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.sensor_graph import checked_positions
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.arrays import load_archive
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.texts import unwritable

MANIFEST = "manifest.json"
VERSION = 1
_BEGUN = {"format": 0}
_HASHED_AT_OPEN = 256 << 20
"""bytes; larger files are checked by size at opening, and wholly by ``verify_store``"""
_DTYPES = {"values": "float32", "observed": "bool", "times": "datetime64[s]"}
_ARRAYS = {f"{stem}{second}.npy": stem for stem in _DTYPES for second in ("", ".2")}
_GRAPHS = ("graph.npz", "graph.2.npz")
FILES = (*_ARRAYS, *_GRAPHS, MANIFEST)
"""names of all files that a store may have"""
_UNFINISHED = re.compile(r"manifest\.json\.tmp-[0-9a-f-]+|\.writable-[0-9a-f-]+")
_AGAIN = "prepare the store again"


def write_store(folder: Path, series: SensorSeries, graph: SensorGraph | None) -> None:
    """Write a store; a store that was there is replaced, and can be opened until the new one can.

    Raises:
        UserError: the folder cannot be written or holds other things, or the disk is full: it must hold both stores for
            a while. The old store is still there then.
    """
    if not _holds_a_store(folder):
        raise UserError(f"{folder} is not empty and no prepared store: name another folder")
    with folder_for_new_files(folder, "store"):
        _replace_store(folder, series, graph)


def _replace_store(folder: Path, series: SensorSeries, graph: SensorGraph | None) -> None:
    clear_leftovers(folder, FILES)
    is_new, old = not (folder / MANIFEST).exists(), _listed(folder)
    _remove_all_but(folder, old)  # leftovers of an interrupted run
    try:
        if is_new:
            write_bytes(folder / MANIFEST, json.dumps(_BEGUN).encode())
        files = _write_files(folder, series, graph, ".2" if "values.npy" in old else "")
        _write_manifest(folder, series, files)
    except BaseException:
        whole = _listed(folder)  # the new store's already, if its manifest had its name
        _remove_all_but(folder, whole)
        if is_new and not whole:
            (folder / MANIFEST).unlink(missing_ok=True)
        raise
    _remove_all_but(folder, set(files))


def _holds_a_store(folder: Path) -> bool:
    """Whether the folder holds a store, be it unfinished or damaged, or nothing yet."""
    try:
        with open_regular(folder / MANIFEST) as stream:
            manifest = json.loads(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return not folder.is_dir() or all(_UNFINISHED.fullmatch(path.name) for path in folder.iterdir())
    except (OSError, ValueError, RecursionError):  # damaged, or another program's
        return all(path.name in FILES or _UNFINISHED.fullmatch(path.name) for path in folder.iterdir())
    return isinstance(manifest, dict) and (manifest == _BEGUN or {"format", "files", "sha256"} <= manifest.keys())


def _listed(folder: Path) -> set[str]:
    """The files that the folder's manifest names; none if it has none, or a damaged one."""
    try:
        return set(_read_manifest(folder)["files"])
    except UserError:
        return set()


def _remove_all_but(folder: Path, names: set[str]) -> None:
    """Removes the files of this module that are not among ``names``; the manifest stays."""
    for path in folder.iterdir():
        if path.name in FILES and path.name not in {*names, MANIFEST}:
            path.unlink()


def _write_files(
    folder: Path, series: SensorSeries, graph: SensorGraph | None, generation: str
) -> dict[str, dict[str, Any]]:
    """The files but the manifest; size and checksum of each."""
    arrays = {"values": series.values_TNC, "observed": series.observed_TNC, "times": series.times_T}
    files = {}
    for stem, array in arrays.items():
        name = f"{stem}{generation}.npy"
        files[name] = _write(folder / name, lambda out, array=array: _write_array(out, array))
    if graph is not None:
        state = graph.to_state()
        name = f"graph{generation}.npz"
        files[name] = _write(folder / name, lambda out: np.savez(out, **state))
    return files


def _write_manifest(folder: Path, series: SensorSeries, files: dict[str, dict[str, Any]]) -> None:
    manifest: dict[str, Any] = {
        "format": VERSION,
        "shape": list(series.values_TNC.shape),
        "ids": list(series.ids),
        "channels": list(series.channels),
        "units": list(series.units),
        "freq": format_freq(series.interval),
        "segments": [list(rows) for rows in series.segments],
        "parts": [list(rows) for rows in series.parts],
        "missing": series.missing,
        "in_utc": series.in_utc,
        "zone": series.zone,
        "positions": None if series.positions_N2 is None else series.positions_N2.tolist(),
        "files": files,
    }
    manifest["sha256"] = _digest(manifest)
    text = json.dumps(manifest, indent=1).encode("utf-8")
    write_bytes(folder / MANIFEST, text)


def _check_manifest(manifest: dict[str, Any]) -> None:
    """The schema of what ``_write_manifest`` writes.

    Raises:
        UserError: a part is missing, of another type, not finite, or does not fit the others.
    """
    for name, (holds, wanted) in _PARTS.items():
        if name not in manifest and name not in _LATER:
            raise UserError(f"lacks its part {name!r}: {_AGAIN}")
        if not holds(manifest.get(name)):
            raise UserError(f"{name} must be {wanted}, got {manifest[name]!r:.60}: {_AGAIN}")
    steps, sensors, channels = manifest["shape"]
    for name, count in (("ids", sensors), ("channels", channels), ("units", channels)):
        if len(manifest[name]) != count:
            raise UserError(f"{name} must be {count}, got {len(manifest[name])}: {_AGAIN}")
    for name in ("segments", "parts"):
        borders = [0, *(stop for _, stop in manifest[name])]
        if borders[-1] != steps or manifest[name] != [list(rows) for rows in itertools.pairwise(borders)]:
            raise UserError(f"{name} must be the rows 0 to {steps} in stretches, got {manifest[name]!r:.60}: {_AGAIN}")
    if not {start for start, _ in manifest["parts"]} <= {start for start, _ in manifest["segments"]}:
        raise UserError(f"a part begins within a segment: {_AGAIN}")
    if manifest["positions"] is not None:
        checked_positions(manifest["positions"], manifest["ids"])
    _check_sizes(manifest["files"], steps, sensors * channels)


def _check_sizes(files: dict[str, dict[str, Any]], steps: int, columns: int) -> None:
    sizes = {"values": 4 * steps * columns, "observed": steps * columns, "times": 8 * steps}
    if sorted(_ARRAYS[name] for name in files if name in _ARRAYS) != sorted(sizes) or len(files) > len(sizes) + 1:
        raise UserError(f"files must be values, observed, times and perhaps a graph, got {', '.join(files)}: {_AGAIN}")
    for name in _ARRAYS.keys() & files.keys():
        size, wanted = files[name]["bytes"], sizes[_ARRAYS[name]]
        if not 0 <= size - wanted <= _LONGEST_HEADER:
            raise UserError(f"{name} must have {wanted} bytes and a header, got {size}: {_AGAIN}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _are_texts(value: object, *, named: bool) -> bool:
    """Whether it is a list of texts; ``named``: different ones, none empty."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value) or unwritable(value):
        return False
    return not named or ("" not in value and len(set(value)) == len(value) > 0)


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value)) and math.prod(value) > 0


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(rows, list) and len(rows) == 2 and all(map(_is_count, rows)) and rows[0] < rows[1] for rows in value
    )


def _are_positions(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(isinstance(place, list) and len(place) == 2 for place in value)
        and all(type(degrees) in (int, float) and abs(degrees) <= 1000 for place in value for degrees in place)
    )


def _is_freq(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_freq(value))
    except UserError:
        return False


def _are_files(value: object) -> bool:
    return isinstance(value, dict) and all(
        name in (*_ARRAYS, *_GRAPHS)
        and isinstance(file, dict)
        and _is_count(file.get("bytes"))
        and isinstance(file.get("sha256"), str)
        and len(file["sha256"]) == 64
        for name, file in value.items()
    )


_LONGEST_HEADER = 4096
_RULES = tuple(rule for rule in get_args(Missing) if rule != "auto")
_LATER = ("in_utc", "zone")
"""parts that stores of older versions lack"""
_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "shape": (_is_shape, "three positive whole numbers"),
    "ids": (partial(_are_texts, named=True), "different texts"),
    "channels": (partial(_are_texts, named=True), "different texts"),
    "units": (partial(_are_texts, named=False), "texts"),
    "freq": (_is_freq, "an interval such as 5min"),
    "segments": (_are_rows, "pairs of rows"),
    "parts": (_are_rows, "pairs of rows"),
    "missing": (lambda value: isinstance(value, str) and value in _RULES, f"one of {', '.join(_RULES)}"),
    "in_utc": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "zone": (lambda value: value is None or _are_texts([value], named=True), "a text or null"),
    "positions": (_are_positions, "pairs of degrees, or null"),
    "files": (_are_files, "the bytes and sha256 of each of the store's files"),
}


def open_store(folder: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """The series of a store, its readings memory-mapped, and its graph.

    Sizes are checked, and the checksums of all files up to 256 MiB; ``verify_store`` checks them all.

    Raises:
        UserError: a file is missing, truncated or changed, or the store is of another version.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest, _HASHED_AT_OPEN)
    paths = {name.split(".")[0]: folder / name for name in manifest["files"]}
    with naming_file(folder), damage_told("the store is damaged"):
        values_TNC, observed_TNC = (_opened(paths[stem], stem, manifest["shape"]) for stem in ("values", "observed"))
        if values_TNC.nbytes <= _HASHED_AT_OPEN and not _is_finite(values_TNC):
            raise UserError(f"{paths['values'].name} holds NaN or infinity: {_AGAIN}")
        times_T = _opened(paths["times"], "times", manifest["shape"][:1])
        interval = parse_freq(manifest["freq"])
        _check_times(times_T, interval, manifest)
        graph = SensorGraph.from_state(load_archive(paths["graph"])) if "graph" in paths else None
        positions = manifest["positions"]
        series = SensorSeries(
            values_TNC=values_TNC,
            observed_TNC=observed_TNC,
            times_T=times_T,
            ids=tuple(manifest["ids"]),
            channels=tuple(manifest["channels"]),
            units=tuple(manifest["units"]),
            interval=interval,
            segments=_ranges(manifest["segments"]),
            parts=_ranges(manifest["parts"]),
            missing=manifest["missing"],
            in_utc=manifest.get("in_utc"),  # stores of older versions do not say
            zone=manifest.get("zone"),
            positions_N2=None if positions is None else np.array(positions, dtype=np.float64),
        )
    return series.with_notes(gap_notes(series, str(folder))), graph


def _opened(path: Path, stem: str, shape: list[int]) -> np.ndarray:
    """The array of a file, times in memory, the others as a map."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        held, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.dtype(_DTYPES[stem]) or list(held) != shape or by_column:
            raise UserError(f"{path.name} must be {_DTYPES[stem]} {tuple(shape)}, got {dtype} {held}: {_AGAIN}")
        if stem == "times":
            return np.frombuffer(bytearray(file.read()), dtype, held[0])
        return np.memmap(file, dtype, "r", file.tell(), held)


def _is_finite(values_TNC: np.ndarray) -> bool:
    # NaN is the largest and the smallest of what it is among; no copy is made.
    return math.isfinite(values_TNC.max(initial=0)) and math.isfinite(values_TNC.min(initial=0))


def _check_times(times_T: np.ndarray, interval: np.timedelta64, manifest: dict[str, Any]) -> None:
    """Times rise by the interval within each segment, and by more between the segments of a part."""
    counted_T = times_T.astype("datetime64[M]") if is_months(interval) else times_T
    steps_T = np.diff(counted_T)
    borders, free = ([start - 1 for start, _ in manifest[name][1:]] for name in ("segments", "parts"))
    wrong_T = steps_T != interval
    wrong_T[borders] = steps_T[borders] <= interval
    wrong_T[free] = False
    if np.isnat(times_T).any() or wrong_T.any():
        raise UserError(f"its times do not rise by {manifest['freq']} within its segments: {_AGAIN}")


def read_store(folder: Path, data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    """``open_store`` as the reader of a format; a store's contents were settled when it was made."""
    return open_store(folder)


def store_outline(folder: Path) -> tuple[tuple[int, int, int], SensorGraph | None]:
    """(rows, sensors, channels) of a store and its graph; no reading is opened, no checksum compared.

    Raises:
        UserError: there is no finished store of this version, or its graph cannot be read.
    """
    manifest = _read_manifest(folder)
    rows, sensors, channels = manifest["shape"]
    found = next((name for name in manifest["files"] if name.startswith("graph")), None)
    if found is None:
        return (rows, sensors, channels), None
    with naming_file(folder / found), damage_told("the store is damaged"):
        graph = SensorGraph.from_state(load_archive(folder / found))
    return (rows, sensors, channels), graph


def verify_store(folder: Path) -> dict[str, int]:
    """Check every byte of a store against its checksums; the files and their sizes.

    Raises:
        UserError: as ``open_store``.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest, None)
    return {name: file["bytes"] for name, file in manifest["files"].items()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    with naming_file(path):
        with damage_told("not a readable manifest, prepare the store again"):
            manifest = json.loads(path.read_bytes())
        if not isinstance(manifest, dict) or type(manifest.get("format")) is not int or manifest["format"] != VERSION:
            raise UserError(f"not a finished store of format {VERSION}: prepare it again with this version")
        if manifest.get("sha256") != _digest(manifest):
            raise UserError(f"was changed since it was written, its checksum differs: {_AGAIN}")
        _check_manifest(manifest)
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any], hash_up_to: int | None) -> None:
    for name, wanted in manifest["files"].items():
        path = folder / name
        with naming_file(path):
            size = path.stat().st_size
            if size != wanted["bytes"]:
                raise UserError(f"has {size} bytes, {wanted['bytes']} were written: {_AGAIN}")
            if (hash_up_to is None or size <= hash_up_to) and sha256_of(path) != wanted["sha256"]:
                raise UserError(f"was changed since it was written, its checksum differs: {_AGAIN}")


def _write(path: Path, write: Any) -> dict[str, Any]:
    digest = write_atomically(path, write)
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_array(out: BinaryIO, array: np.ndarray) -> None:
    # In stretches of 64 MiB: a memory map is copied without being loaded completely.
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, dtype=array.dtype))
    np.lib.format.write_array_header_1_0(out, {**header, "fortran_order": False, "shape": array.shape})
    rows = max(1, (64 << 20) // max(array[:1].nbytes, 1))
    for start in range(0, len(array), rows):
        out.write(np.ascontiguousarray(array[start : start + rows]).tobytes())


def _digest(manifest: dict[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()


def _ranges(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(start), int(stop)) for start, stop in pairs)
