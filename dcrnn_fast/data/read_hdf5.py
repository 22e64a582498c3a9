"""Tables that pandas wrote to HDF5, both of its formats, read without unpickling anything.

pandas and PyTables keep Python pickles in attributes (an index's ``freq``) and in object columns, and unpickling runs
whatever the file's author wrote. Here h5py reads the plain arrays; the one pickle that is needed (the column labels of
the ``table`` format) may hold lists, texts and numbers only.

Shape legend: T time, N sensors.
"""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from dcrnn_fast.config.sections import DataConfig
from dcrnn_fast.data.read_axis import make_from_file
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import about, first_few, one_line


def read_hdf5(path: Path, data: DataConfig) -> SensorSeries:
    """A frame with a row for each time and a column for each sensor, such as METR-LA's and PEMS-BAY's own files.

    Raises:
        UserError: unreadable or truncated, no such key (those there are listed), several keys and none chosen, an
            index without times (unless start and freq are given), columns that are not numbers.
    """
    with about(path):
        try:
            with h5py.File(path, "r") as file:
                group = _choose_key(file, data.hdf5_key)
                if _text(group.attrs.get("pandas_type")) == "frame_table":
                    return _read_table(group, path, data)
                return _read_fixed(group, path, data)
        except (LookupError, RuntimeError) as error:
            raise UserError(f"not a table as pandas writes it, or a damaged one ({one_line(error)[:120]})") from error
        except OSError as error:
            raise UserError(
                f"not a readable HDF5 file, a truncated one, or compressed with other than zlib "
                f"({one_line(error)[:120]})"
            ) from error


def _choose_key(file: h5py.File, key: str | None) -> h5py.Group:
    frames: list[str] = []
    file.visititems(
        lambda name, item: (
            frames.append(name) if _text(item.attrs.get("pandas_type")) in ("frame", "frame_table") else None
        )
    )
    if key is None and len(frames) == 1:
        return file[frames[0]]
    if key is not None and key.strip("/") in frames:
        return file[key.strip("/")]
    there = ", ".join(frames) if frames else f"none that pandas wrote (it holds {first_few(list(file))})"
    if key is None:
        raise UserError(f"choose one of its tables with --hdf5-key: {there}")
    raise UserError(f"no table under the key {key!r}; the keys there: {there}")


def _read_fixed(group: h5py.Group, path: Path, data: DataConfig) -> SensorSeries:
    ids = _labels(group, "axis0")
    column_of = {sensor: n for n, sensor in enumerate(ids)}
    num_steps = group["axis1"].shape[0]
    readings_TN = np.full((num_steps, len(ids)), np.nan)
    filled = 0
    for block in range(int(group.attrs["nblocks"])):
        values, items = group[f"block{block}_values"], _labels(group, f"block{block}_items")
        if values.dtype.kind not in "fiub":
            raise UserError(f"column {items[0] if items else block!r} does not hold numbers ({values.dtype})")
        if values.shape != (num_steps, len(items)):
            raise UserError(f"a block has shape {values.shape}, wanted ({num_steps}, {len(items)}); is it truncated?")
        if unknown := [sensor for sensor in items if sensor not in column_of]:
            raise UserError(f"a block has columns that the frame does not name: {first_few(unknown)}")
        readings_TN[:, [column_of[sensor] for sensor in items]] = values[:]
        filled += len(items)
    if filled != len(ids):
        raise UserError(f"{filled} of its {len(ids)} columns hold data; a sensor id comes twice, or it is damaged")
    index = group["axis1"]
    times_T = _times(index[:], _text(index.attrs.get("kind")))
    zone = _text(index.attrs.get("tz"))
    return make_from_file(readings_TN, times_T, ids, path, data, in_utc=zone != "")


def _read_table(group: h5py.Group, path: Path, data: DataConfig) -> SensorSeries:
    table = group["table"]
    rows = table[:]
    blocks = [name for name in rows.dtype.names or () if name != "index"]
    ids: list[str] = []
    columns = []
    for name in blocks:
        values = rows[name]
        if values.dtype.kind not in "fiub":
            raise UserError(f"its {name} does not hold numbers ({values.dtype})")
        # A data column (one that can be queried) is named by itself; a block of columns lists its labels.
        labels = _plain_pickle(table.attrs[f"{name}_kind"]) if name.startswith("values_block_") else [name]
        columns.append(values.reshape(len(rows), -1).astype(np.float64))
        ids += [str(label) for label in labels]
    times_T = _times(rows["index"], _text(table.attrs.get("index_kind")))
    in_utc = b"tz" in bytes(group.attrs.get("info", b""))
    return make_from_file(np.concatenate(columns, axis=1), times_T, tuple(ids), path, data, in_utc=in_utc)


def _labels(group: h5py.Group, name: str) -> tuple[str, ...]:
    if name not in group:
        raise UserError("columns of several levels are not supported: one column for each sensor is wanted")
    labels = group[name][:]
    if labels.dtype.kind == "S":
        encoding = _text(group.attrs.get("encoding")) or "utf-8"
        return tuple(label.decode(encoding, "replace") for label in labels.tolist())
    if labels.dtype.kind in "iu":
        return tuple(str(label) for label in labels.tolist())
    if labels.dtype.kind == "f" and (labels == np.round(labels)).all():
        return tuple(str(int(label)) for label in labels.tolist())
    raise UserError(f"its column labels must be texts or numbers, got {labels.dtype}")


def _times(index_T: np.ndarray, kind: str) -> np.ndarray | None:
    """``datetime64[s]``, or None where the index holds no times."""
    if not kind.startswith("datetime64"):
        return None
    unit = kind[len("datetime64[") : -1] or "ns"
    return index_T.astype(np.int64).astype(f"datetime64[{unit}]").astype("datetime64[s]")


class _PlainUnpickler(pickle.Unpickler):
    """Lists, texts and numbers; a pickle that names any class or function is refused before it runs."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UserError(f"its column labels would run {module}.{name}: refused; write it with pandas' fixed format")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise UserError("its column labels refer to objects outside: refused; write it with pandas' fixed format")


def _plain_pickle(content: bytes) -> list[Any]:
    try:
        loaded = _PlainUnpickler(io.BytesIO(bytes(content)), encoding="latin-1").load()
    except (pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"its column labels cannot be read ({one_line(error)[:80]})") from error
    if not isinstance(loaded, list):
        raise UserError(f"its column labels must be a list, got {type(loaded).__name__}")
    return loaded


def _text(value: Any) -> str:
    if value is None or isinstance(value, h5py.Empty):
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
