"""The manifest of a prepared store: what it holds, how it is read, and how it is checked before anything else is.

Shape legend: T time, N sensors, C channels.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from dcrnn_fast.config.data import Missing
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import format_freq, parse_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes
from dcrnn_fast.graph.sensor_graph import checked_positions
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.texts import unwritable

MANIFEST = "manifest.json"
VERSION = 1
BEGUN = {"format": 0}
"""of a store that is not finished"""
AGAIN = "prepare the store again"
DTYPES = {"values": "float32", "observed": "bool", "times": "datetime64[s]"}
ARRAYS = {f"{stem}{second}.npy": stem for stem in DTYPES for second in ("", ".2")}
GRAPHS = ("graph.npz", "graph.2.npz")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished store.

    Raises:
        UserError: there is none, it was changed, is of another version, or says what cannot be.
    """
    path = folder / MANIFEST
    with naming_file(path):
        with damage_told("not a readable manifest, prepare the store again"):
            manifest = json.loads(path.read_bytes())
        if not isinstance(manifest, dict) or type(manifest.get("format")) is not int or manifest["format"] != VERSION:
            raise UserError(f"not a finished store of format {VERSION}: prepare it again with this version")
        if manifest.get("sha256") != digest_of(manifest):
            raise UserError(f"was changed since it was written, its checksum differs: {AGAIN}")
        _check_manifest(manifest)
    return manifest


def write_manifest(folder: Path, series: SensorSeries, files: dict[str, dict[str, Any]]) -> None:
    """Puts the manifest there, at once: from then on the store is these files.

    Args:
        files: name -> bytes and sha256, and for the readings ``array``: see ``begun_digest``.
    """
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
    manifest["sha256"] = digest_of(manifest)
    text = json.dumps(manifest, indent=1).encode("utf-8")
    write_bytes(folder / MANIFEST, text)


def digest_of(manifest: dict[str, Any]) -> str:
    """SHA-256 of the manifest without this key."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()


def _check_manifest(manifest: dict[str, Any]) -> None:
    """The schema of what ``write_manifest`` writes.

    Raises:
        UserError: a part is missing, of another type, not finite, or does not fit the others.
    """
    for name, (holds, wanted) in _PARTS.items():
        if name not in manifest and name not in _LATER:
            raise UserError(f"lacks its part {name!r}: {AGAIN}")
        if not holds(manifest.get(name)):
            raise UserError(f"{name} must be {wanted}, got {manifest[name]!r:.60}: {AGAIN}")
    steps, sensors, channels = manifest["shape"]
    for name, count in (("ids", sensors), ("channels", channels), ("units", channels)):
        if len(manifest[name]) != count:
            raise UserError(f"{name} must be {count}, got {len(manifest[name])}: {AGAIN}")
    for name in ("segments", "parts"):
        borders = [0, *(stop for _, stop in manifest[name])]
        if borders[-1] != steps or manifest[name] != [list(rows) for rows in itertools.pairwise(borders)]:
            raise UserError(f"{name} must be the rows 0 to {steps} in stretches, got {manifest[name]!r:.60}: {AGAIN}")
    if not {start for start, _ in manifest["parts"]} <= {start for start, _ in manifest["segments"]}:
        raise UserError(f"a part begins within a segment: {AGAIN}")
    if manifest["positions"] is not None:
        checked_positions(manifest["positions"], manifest["ids"])
    _check_sizes(manifest["files"], steps, sensors * channels)


def _check_sizes(files: dict[str, dict[str, Any]], steps: int, columns: int) -> None:
    sizes = {"values": 4 * steps * columns, "observed": steps * columns, "times": 8 * steps}
    if sorted(ARRAYS[name] for name in files if name in ARRAYS) != sorted(sizes) or len(files) > len(sizes) + 1:
        raise UserError(f"files must be values, observed, times and perhaps a graph, got {', '.join(files)}: {AGAIN}")
    for name in ARRAYS.keys() & files.keys():
        size, wanted = files[name]["bytes"], sizes[ARRAYS[name]]
        if not 0 <= size - wanted <= _LONGEST_HEADER:
            raise UserError(f"{name} must have {wanted} bytes and a header, got {size}: {AGAIN}")


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
        name in (*ARRAYS, *GRAPHS)
        and isinstance(file, dict)
        and _is_count(file.get("bytes"))
        and isinstance(file.get("sha256"), str)
        and len(file["sha256"]) == 64
        and isinstance(file.get("array", ""), str)
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
