"""The prepared store: a folder that is opened as a memory map, with a checksum for each file.

    values.npy    float32 (T, N, C), 0 where missing
    observed.npy  bool    (T, N, C)
    times.npy     datetime64[s] (T,)
    graph.npz     where the source brought a graph or one was given
    manifest.json everything else, and the size and SHA-256 of each file; written last, so that a folder with a
                  manifest is whole

Shape legend: T time, N sensors, C channels.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dcrnn_fast.data.series import SensorSeries, gap_notes
from dcrnn_fast.data.times import format_freq, parse_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import require_writable_folder, sha256_of, write_atomically
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.messages import about, one_line

MANIFEST = "manifest.json"
VERSION = 1
_HASHED_AT_OPEN = 256 << 20
"""bytes; larger files are checked by size at opening, and wholly by ``verify_store``"""


def write_store(folder: Path, series: SensorSeries, graph: SensorGraph | None) -> None:
    """Write a store; a store that was there is replaced.

    Raises:
        UserError: the folder cannot be written or holds other things, the disk is full (no manifest is left then).
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise UserError(f"{folder} is not empty and no prepared store: name another folder")
    require_writable_folder(folder, "store")
    (folder / MANIFEST).unlink(missing_ok=True)
    arrays = {"values.npy": series.values_TNC, "observed.npy": series.observed_TNC, "times.npy": series.times_T}
    files = {}
    for name, array in arrays.items():
        files[name] = _write(folder / name, lambda out, array=array: _write_array(out, array))
    if graph is not None:
        state = graph.to_state()
        files["graph.npz"] = _write(folder / "graph.npz", lambda out: np.savez(out, **state))
    else:
        (folder / "graph.npz").unlink(missing_ok=True)
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
        "positions": None if series.positions_N2 is None else series.positions_N2.tolist(),
        "files": files,
    }
    manifest["sha256"] = _digest(manifest)
    text = json.dumps(manifest, indent=1).encode("utf-8")
    write_atomically(folder / MANIFEST, lambda out: _write_bytes(out, text))


def open_store(folder: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """The series of a store, its readings memory-mapped, and its graph.

    Sizes are checked, and the checksums of all files up to 256 MiB; ``verify_store`` checks them all.

    Raises:
        UserError: a file is missing, truncated or changed, or the store is of another version.
    """
    manifest = _read_manifest(folder)
    _check_files(folder, manifest, _HASHED_AT_OPEN)
    with about(folder):
        try:
            values_TNC = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
            observed_TNC = np.load(folder / "observed.npy", mmap_mode="r", allow_pickle=False)
            times_T = np.load(folder / "times.npy", allow_pickle=False)
            graph = None
            if "graph.npz" in manifest["files"]:
                with np.load(folder / "graph.npz", allow_pickle=False) as state:
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
            positions_N2=None if positions is None else np.array(positions, dtype=np.float64),
        )
    return series.with_notes(gap_notes(series, str(folder))), graph


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
    with about(path):
        try:
            manifest = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"not a readable manifest ({one_line(error)[:80]}): prepare the store again") from error
        if not isinstance(manifest, dict) or manifest.get("format") != VERSION:
            raise UserError(f"a store of format {VERSION} is wanted: prepare it again with this version")
        if manifest.get("sha256") != _digest(manifest):
            raise UserError("was changed since it was written, its checksum differs: prepare the store again")
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any], hash_up_to: int | None) -> None:
    for name, wanted in manifest["files"].items():
        path = folder / name
        with about(path):
            size = path.stat().st_size
            if size != wanted["bytes"]:
                raise UserError(f"has {size} bytes, {wanted['bytes']} were written: prepare the store again")
            if (hash_up_to is None or size <= hash_up_to) and sha256_of(path) != wanted["sha256"]:
                raise UserError("was changed since it was written, its checksum differs: prepare the store again")


def _write(path: Path, write: Any) -> dict[str, Any]:
    digest = write_atomically(path, write)
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_array(out: BinaryIO, array: np.ndarray) -> None:
    # In stretches of 64 MiB: a memory map is copied without being held in memory as a whole.
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, dtype=array.dtype))
    np.lib.format.write_array_header_1_0(out, {**header, "fortran_order": False, "shape": array.shape})
    rows = max(1, (64 << 20) // max(array[:1].nbytes, 1))
    for start in range(0, len(array), rows):
        out.write(np.ascontiguousarray(array[start : start + rows]).tobytes())


def _write_bytes(out: BinaryIO, content: bytes) -> None:
    out.write(content)


def _digest(manifest: dict[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()


def _ranges(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(start), int(stop)) for start, stop in pairs)
