"""The prepared store: a folder whose readings are read as they are needed, with a checksum for each file.

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

import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.new_file import NewFile
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import gap_notes
from dcrnn_fast.data.store_manifest import AGAIN, ARRAYS, BEGUN, DTYPES, GRAPHS, MANIFEST, read_manifest, write_manifest
from dcrnn_fast.data.stored import StoredArray, begun_digest
from dcrnn_fast.data.times import is_months, parse_freq
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import (
    UNCHANGED,
    clear_leftovers,
    folder_for_new_files,
    open_regular,
    sha256_of,
    write_atomically,
    write_bytes,
)
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.arrays import load_archive
from dcrnn_fast.reading.damage import damage_told

_HASHED_AT_OPEN = 256 << 20
"""bytes; larger files are checked by size at opening, and wholly by ``verify_store`` and ``digests_of``"""
FILES = (*ARRAYS, *GRAPHS, MANIFEST)
"""names of all files that a store may have"""
_AT_ONCE = 1 << 19
"""readings that are looked through at a time"""
_UNFINISHED = re.compile(r"manifest\.json\.tmp-[0-9a-f-]+|\.writable-[0-9a-f-]+")

Block = tuple[np.ndarray, np.ndarray]
"""float32 and bool (R, N, C): values and mask of some rows"""


def write_store(
    folder: Path, series: SensorSeries, graph: SensorGraph | None, blocks: Iterable[Block] | None = None
) -> None:
    """Write a store; a store that was there is replaced, and can be opened until the new one can.

    Args:
        blocks: the series' rows in order, where ``series`` has only the shape of its readings; each is asked for when
            the one before is written, and an error of theirs leaves no new store.

    Raises:
        UserError: the folder cannot be written or holds other things, or the disk is full: it must hold both stores for
            a while. The old store is still there then.
    """
    if not _holds_a_store(folder):
        raise UserError(f"{folder} is not empty and no prepared store: name another folder")
    with folder_for_new_files(folder, "store"):
        _replace_store(folder, series, graph, _blocks_of(series) if blocks is None else blocks)


def _blocks_of(series: SensorSeries) -> Iterator[Block]:
    for rows in row_pieces(series.values_TNC.shape):
        yield series.values_TNC[rows], series.observed_TNC[rows]


def _replace_store(folder: Path, series: SensorSeries, graph: SensorGraph | None, blocks: Iterable[Block]) -> None:
    clear_leftovers(folder, FILES)
    is_new, old = not (folder / MANIFEST).exists(), _listed(folder)
    _remove_all_but(folder, old)  # leftovers of an interrupted run
    try:
        if is_new:
            write_bytes(folder / MANIFEST, json.dumps(BEGUN).encode())
        _require_space(folder, series)
        files = _write_files(folder, series, graph, blocks, ".2" if "values.npy" in old else "")
        write_manifest(folder, series, files)
    except BaseException:
        whole = _listed(folder)  # the new store's already, if its manifest had its name
        _remove_all_but(folder, whole)
        if is_new and not whole:
            (folder / MANIFEST).unlink(missing_ok=True)
        raise
    _remove_all_but(folder, set(files))


def _require_space(folder: Path, series: SensorSeries) -> None:
    needed = series.values_TNC.nbytes + series.observed_TNC.nbytes + series.times_T.nbytes
    total, _, free = shutil.disk_usage(folder)
    if free < needed and total:  # some network file systems do not say
        raise UserError(
            f"cannot write {folder}: No space left on device for {needed:,} bytes of readings and times, "
            f"{free:,} are free{UNCHANGED}"
        )


def _holds_a_store(folder: Path) -> bool:
    """Whether the folder holds a store, be it unfinished or damaged, or nothing yet."""
    try:
        with open_regular(folder / MANIFEST) as stream:
            manifest = json.loads(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return not folder.is_dir() or all(_UNFINISHED.fullmatch(path.name) for path in folder.iterdir())
    except (OSError, ValueError, RecursionError):  # damaged, or another program's
        return all(path.name in FILES or _UNFINISHED.fullmatch(path.name) for path in folder.iterdir())
    return isinstance(manifest, dict) and (manifest == BEGUN or {"format", "files", "sha256"} <= manifest.keys())


def _listed(folder: Path) -> set[str]:
    """The files that the folder's manifest names; none if it has none, or a damaged one."""
    try:
        return set(read_manifest(folder)["files"])
    except UserError:
        return set()


def _remove_all_but(folder: Path, names: set[str]) -> None:
    """Removes the files of this module that are not among ``names``; the manifest stays."""
    for path in folder.iterdir():
        if path.name in FILES and path.name not in {*names, MANIFEST}:
            path.unlink()


def _write_files(
    folder: Path, series: SensorSeries, graph: SensorGraph | None, blocks: Iterable[Block], generation: str
) -> dict[str, dict[str, Any]]:
    """The files but the manifest; size and checksums of each."""
    files = _write_readings(folder, series, blocks, generation)
    name = f"times{generation}.npy"
    files[name] = _write(folder / name, lambda out: _write_array(out, series.times_T))
    if graph is not None:
        state = graph.to_state()
        name = f"graph{generation}.npz"
        files[name] = _write(folder / name, lambda out: np.savez(out, **state))
    return files


def _write_readings(
    folder: Path, series: SensorSeries, blocks: Iterable[Block], generation: str
) -> dict[str, dict[str, Any]]:
    """Values and mask side by side, hashed on the way."""
    shape = series.values_TNC.shape
    stems = ("values", "observed")
    dtypes = [np.dtype(DTYPES[stem]) for stem in stems]
    written = 0
    with ExitStack() as stack:
        files = [stack.enter_context(NewFile(folder / f"{stem}{generation}.npy")) for stem in stems]
        digests = [begun_digest(shape, dtype) for dtype in dtypes]
        for file, dtype in zip(files, dtypes, strict=True):
            _write_header(file, shape, dtype)
        for block in blocks:
            for array, file, dtype, digest in zip(block, files, dtypes, digests, strict=True):
                if array.dtype != dtype or array.shape != (len(block[0]), *shape[1:]):
                    raise ValueError(f"blocks of {dtype} (R, N, C) wanted, got {array.dtype} {array.shape}")
                content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
                file.write(content)
                digest.update(content)
            written += len(block[0])
        if written != shape[0]:
            raise ValueError(f"blocks of {shape[0]} rows in all wanted, got {written}")
        for file in files:
            file.finish()
    return {
        file.path.name: {"bytes": file.size, "sha256": file.sha256, "array": digest.hexdigest()}
        for file, digest in zip(files, digests, strict=True)
    }


def _write_array(out: BinaryIO, array: np.ndarray) -> None:
    _write_header(out, array.shape, array.dtype)
    out.write(np.ascontiguousarray(array).tobytes())  # numpy's own way says of a full disk only that it wrote less


def _write_header(out: BinaryIO | NewFile, shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, dtype=dtype))
    np.lib.format.write_array_header_1_0(out, {**header, "fortran_order": False, "shape": shape})


def open_store(folder: Path) -> tuple[SensorSeries, SensorGraph | None]:
    """The series of a store, its readings left in their files, and its graph.

    Sizes are checked, and the checksums of all files up to 256 MiB; ``verify_store`` checks them all. The files stay
    open: a store that replaces this one changes nothing.

    Raises:
        UserError: a file is missing, truncated or changed, or the store is of another version.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest, _HASHED_AT_OPEN)
    paths = {name.split(".")[0]: folder / name for name in manifest["files"]}
    with naming_file(folder), damage_told("the store is damaged"):
        values_TNC, observed_TNC = (
            _opened(paths[stem], stem, manifest["shape"], manifest["files"][paths[stem].name].get("array"))
            for stem in ("values", "observed")
        )
        if values_TNC.nbytes <= _HASHED_AT_OPEN and not _is_finite(values_TNC):
            raise UserError(f"{paths['values'].name} holds NaN or infinity: {AGAIN}")
        times_T = _times_in(paths["times"], manifest["shape"][:1])
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


def _opened(path: Path, stem: str, shape: list[int], digest: str | None) -> StoredArray:
    """The readings or the mask of a store."""
    return StoredArray.open(path, _start_of(path, stem, shape), np.dtype(DTYPES[stem]), shape, digest)


def _start_of(path: Path, stem: str, shape: list[int]) -> int:
    """The bytes of a file's header, which must be of such an array."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        held, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.dtype(DTYPES[stem]) or list(held) != shape or by_column:
            raise UserError(f"{path.name} must be {DTYPES[stem]} {tuple(shape)}, got {dtype} {held}: {AGAIN}")
        return file.tell()


def _times_in(path: Path, shape: list[int]) -> np.ndarray:
    start = _start_of(path, "times", shape)
    return np.frombuffer(bytearray(path.read_bytes()[start:]), DTYPES["times"], shape[0])


def _is_finite(values_TNC: StoredArray) -> bool:
    # NaN is the largest and the smallest of what it is among; no copy is made.
    pieces = (values_TNC[rows] for rows in row_pieces(values_TNC.shape, readings=_AT_ONCE))
    return all(math.isfinite(piece.max(initial=0)) and math.isfinite(piece.min(initial=0)) for piece in pieces)


def _check_times(times_T: np.ndarray, interval: np.timedelta64, manifest: dict[str, Any]) -> None:
    """Times rise by the interval within each segment, and by more between the segments of a part."""
    counted_T = times_T.astype("datetime64[M]") if is_months(interval) else times_T
    steps_T = np.diff(counted_T)
    borders, free = ([start - 1 for start, _ in manifest[name][1:]] for name in ("segments", "parts"))
    wrong_T = steps_T != interval
    wrong_T[borders] = steps_T[borders] <= interval
    wrong_T[free] = False
    if np.isnat(times_T).any() or wrong_T.any():
        raise UserError(f"its times do not rise by {manifest['freq']} within its segments: {AGAIN}")


def read_store(folder: Path, data: DataConfig, graph: GraphConfig) -> tuple[SensorSeries, SensorGraph | None]:
    """``open_store`` as the reader of a format; a store's contents were settled when it was made."""
    return open_store(folder)


class StoreOutline(NamedTuple):
    """What a store's manifest says of its series, and its graph."""

    rows: int
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    graph: SensorGraph | None


def store_outline(folder: Path) -> StoreOutline:
    """The outline of a store; no reading is opened, no checksum compared.

    Raises:
        UserError: there is no finished store of this version, or its graph cannot be read.
    """
    manifest, graph = read_manifest(folder), None
    found = next((name for name in manifest["files"] if name.startswith("graph")), None)
    if found is not None:
        with naming_file(folder / found), damage_told("the store is damaged"):
            graph = SensorGraph.from_state(load_archive(folder / found))
    ids, channels, units = (tuple(manifest[name]) for name in ("ids", "channels", "units"))
    return StoreOutline(manifest["shape"][0], ids, channels, units, graph)


def verify_store(folder: Path) -> dict[str, int]:
    """Check every byte of a store against its checksums; the files and their sizes.

    Raises:
        UserError: as ``open_store``.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest, None)
    return {name: file["bytes"] for name, file in manifest["files"].items()}


def _check_files(folder: Path, manifest: dict[str, Any], hash_up_to: int | None) -> None:
    for name, wanted in manifest["files"].items():
        path = folder / name
        with naming_file(path):
            size = path.stat().st_size
            if size != wanted["bytes"]:
                raise UserError(f"has {size} bytes, {wanted['bytes']} were written: {AGAIN}")
            if (hash_up_to is None or size <= hash_up_to) and sha256_of(path) != wanted["sha256"]:
                raise UserError(f"was changed since it was written, its checksum differs: {AGAIN}")


def _write(path: Path, write: Any) -> dict[str, Any]:
    digest = write_atomically(path, write)
    return {"bytes": path.stat().st_size, "sha256": digest}


def _ranges(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(start), int(stop)) for start, stop in pairs)
