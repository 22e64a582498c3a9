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
import json
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.series import SensorSeries, gap_notes
from dcrnn_fast.data.times import format_freq, parse_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import folder_for_new_files, sha256_of, write_atomically, write_bytes
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.messages import naming_file, one_line

MANIFEST = "manifest.json"
VERSION = 1
_HASHED_AT_OPEN = 256 << 20
"""bytes; larger files are checked by size at opening, and wholly by ``verify_store``"""
_OURS = re.compile(r"((values|observed|times)(\.2)?\.npy|graph(\.2)?\.npz|manifest\.json)(\.tmp-\d+)?|\.writable-\d+")
_LEFT_OVER = re.compile(r"manifest\.json\.tmp-\d+|\.writable-\d+")


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
    is_new, old = not (folder / MANIFEST).exists(), _listed(folder)
    _remove_all_but(folder, old)  # leftovers of an interrupted run
    try:
        if is_new:
            write_bytes(folder / MANIFEST, b'{"format": 0}')
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
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return not folder.is_dir() or all(_LEFT_OVER.fullmatch(path.name) for path in folder.iterdir())
    except ValueError:
        return True
    return isinstance(manifest, dict) and "format" in manifest


def _listed(folder: Path) -> set[str]:
    """The files that the folder's manifest names; none if it has none, or a damaged one."""
    try:
        return set(_read_manifest(folder)["files"])
    except UserError:
        return set()


def _remove_all_but(folder: Path, names: set[str]) -> None:
    """Removes the files of this module that are not among ``names``; the manifest stays."""
    for path in folder.iterdir():
        if path.name not in {*names, MANIFEST} and _OURS.fullmatch(path.name):
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


def open_store(folder: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """The series of a store, its readings memory-mapped, and its graph.

    Sizes are checked, and the checksums of all files up to 256 MiB; ``verify_store`` checks them all.

    Raises:
        UserError: a file is missing, truncated or changed, or the store is of another version.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest, _HASHED_AT_OPEN)
    paths = {name.split(".")[0]: folder / name for name in manifest["files"]}
    with naming_file(folder):
        try:
            values_TNC = np.load(paths["values"], mmap_mode="r", allow_pickle=False)
            observed_TNC = np.load(paths["observed"], mmap_mode="r", allow_pickle=False)
            times_T = np.load(paths["times"], allow_pickle=False)
            graph = None
            if "graph" in paths:
                with np.load(paths["graph"], allow_pickle=False) as state:
                    graph = SensorGraph.from_state(dict(state))
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"the store is damaged ({one_line(error)[:120]}): prepare it again") from error
        if not values_TNC.shape == observed_TNC.shape == tuple(manifest["shape"]):
            raise UserError(f"the store is damaged: {values_TNC.shape} readings, {manifest['shape']} in the manifest")
        positions = manifest["positions"]
        series = SensorSeries(
            values_TNC=values_TNC,
            observed_TNC=observed_TNC,
            times_T=times_T,
            ids=tuple(manifest["ids"]),
            channels=tuple(manifest["channels"]),
            units=tuple(manifest["units"]),
            interval=parse_freq(manifest["freq"]),
            segments=_ranges(manifest["segments"]),
            parts=_ranges(manifest["parts"]),
            missing=manifest["missing"],
            in_utc=manifest.get("in_utc"),  # stores of older versions do not say
            zone=manifest.get("zone"),
            positions_N2=None if positions is None else np.array(positions, dtype=np.float64),
        )
    return series.with_notes(gap_notes(series, str(folder))), graph


def read_store(folder: Path, data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    """``open_store`` as the reader of a format; a store's contents were settled when it was made."""
    return open_store(folder)


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
        try:
            manifest = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"not a readable manifest ({one_line(error)[:80]}): prepare the store again") from error
        if not isinstance(manifest, dict) or manifest.get("format") != VERSION:
            raise UserError(f"not a finished store of format {VERSION}: prepare it again with this version")
        if manifest.get("sha256") != _digest(manifest):
            raise UserError("was changed since it was written, its checksum differs: prepare the store again")
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any], hash_up_to: int | None) -> None:
    for name, wanted in manifest["files"].items():
        path = folder / name
        with naming_file(path):
            size = path.stat().st_size
            if size != wanted["bytes"]:
                raise UserError(f"has {size} bytes, {wanted['bytes']} were written: prepare the store again")
            if (hash_up_to is None or size <= hash_up_to) and sha256_of(path) != wanted["sha256"]:
                raise UserError("was changed since it was written, its checksum differs: prepare the store again")


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
