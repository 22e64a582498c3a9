"""Tables that pandas wrote to HDF5, both of its formats and every version of it, read without running anything.

pandas and PyTables keep Python pickles in attributes (an index's ``freq``) and in object columns, and unpickling runs
any code of the file's author. Here h5py reads the plain arrays; of pickles only lists, texts and numbers are read.
Python 2 pickled even an absent text: ``N.`` is its None.

Shape legend: T time, N sensors.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.largest import with_road_network
from dcrnn_fast.data.formats.shared import stamps_of_file
from dcrnn_fast.data.number_times import number_times
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.table_columns import Column, as_numbers, first_non_number
from dcrnn_fast.data.timestamps import Stamps, offset_name, parse_times, whole_seconds
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, naming_file, one_line
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.hdf5 import opened_hdf5, require_held, require_unlocked
from dcrnn_fast.reading.pickles import Noted, noted_parts, plain_parts, texts_of
from dcrnn_fast.reading.texts import text_of

_AT_ONCE = 1 << 18
"""readings that are read at a time"""


def open_hdf5(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """A frame with a row for each time and a column for each sensor, such as METR-LA's and PEMS-BAY's own files; of
    LargeST's with the road network and the positions that lie beside it. The fixed format is read in pieces.

    Raises:
        UserError: unreadable or truncated, locked by a writer, no such key (those there are listed), several keys and
            none chosen, an index without times (unless start and freq are given), columns that are not numbers.
    """
    with _told(path), opened_hdf5(path) as file:
        group = _choose_key(file, data.hdf5_key)
        is_table = _text(group.attrs.get("pandas_type")) == "frame_table"
        blocks = (_open_table if is_table else _open_fixed)(group, path, data)
    return with_road_network(blocks, path.parent, path.name)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns errors on a damaged file into a UserError that names it."""
    with naming_file(path):
        try:
            with damage_told("not a table as pandas writes it, or a damaged one"):
                yield
        except OSError as error:
            require_unlocked(error)
            raise UserError(
                f"not a readable HDF5 file, a truncated one, or compressed with other than zlib "
                f"({one_line(error)[:120]})"
            ) from error


def _choose_key(file: h5py.File, key: str | None) -> h5py.Group:
    frames: list[str] = []
    series: list[str] = []

    def note(name: str, item: Any) -> None:
        kind = _text(item.attrs.get("pandas_type"))
        # The categories of a column are a table of their own below the frame's.
        if kind in ("frame", "frame_table") and "/meta/" not in f"/{name}":
            frames.append(name)
        elif kind in ("series", "series_table", "wide", "wide_table", "appendable_multiframe"):
            series.append(name)

    file.visititems(note)
    if key is None and len(frames) == 1:
        return file[frames[0]]
    if key is not None and key.strip("/") in frames:
        return file[key.strip("/")]
    there = ", ".join(frames) if frames else f"none that pandas wrote (it holds {first_few(list(file))})"
    if series and not frames:
        raise UserError(f"{first_few(series)} is no DataFrame: write one with a column for each sensor (to_frame())")
    if key is None and not frames:
        raise UserError(
            f"no table that pandas wrote (it holds {first_few(list(file))}): write it with DataFrame.to_hdf"
        )
    if key is None:
        raise UserError(f"choose one of its tables with --hdf5-key: {there}")
    raise UserError(f"no table under the key {key!r}; the keys there: {there}")


def _open_fixed(group: h5py.Group, path: Path, data: DataConfig) -> Blocks:
    ids = _labels(group, "axis0")
    column_of = {sensor: n for n, sensor in enumerate(ids)}
    index = _part(group, "axis1")
    num_steps, key = len(index), group.name
    names = [name for name in group if re.fullmatch(r"block\d+_values", name)]
    if group.attrs.get("nblocks") != len(names):
        raise UserError(f"says that it has {_text(group.attrs.get('nblocks'))!r} blocks, and has {len(names)}")
    columns: dict[str, list[int]] = {}
    for name in names:
        values, items = _part(group, name), _labels(group, name.replace("values", "items"))
        _require_numbers(items, values.dtype, _text(values.attrs.get("value_type")))
        if values.shape != (num_steps, len(items)):
            raise UserError(f"a block has shape {values.shape}, wanted ({num_steps}, {len(items)}); is it truncated?")
        if unknown := [sensor for sensor in items if sensor not in column_of]:
            raise UserError(f"a block has columns that the frame does not name: {first_few(unknown)}")
        columns[name] = [column_of[sensor] for sensor in items]
    filled = sum(map(len, columns.values()))
    if filled != len(ids):
        raise UserError(f"{filled} of its {len(ids)} columns hold data; a sensor id comes twice, or it is damaged")
    if _text(index.attrs.get("index_class")) == "period":
        raise UserError("its index holds periods: write it with times (index.to_timestamp())")
    stamps = _times(index, _text(index.attrs.get("kind")), _zone(index.attrs.get("tz")), data)

    def read() -> Iterator[np.ndarray]:
        with _told(path), opened_hdf5(path) as file:
            for rows in row_pieces((num_steps, len(ids)), readings=_AT_ONCE):
                readings_RN = np.full((rows.stop - rows.start, len(ids)), np.nan)
                for name, places in columns.items():
                    readings_RN[:, places] = file[key][name][rows]
                yield readings_RN[:, :, None]

    return _blocks(stamps_of_file(stamps, num_steps, path, data), ids, path, read)


def _blocks(stamps: Stamps, ids: tuple[str, ...], path: Path, read: Callable[[], Iterator[np.ndarray]]) -> Blocks:
    return Blocks(
        stamps=stamps, ids=ids, channels=("value",), units=("",), where=path.name, read=read, marks_gaps=False
    )


def _open_table(group: h5py.Group, path: Path, data: DataConfig) -> Blocks:
    table = _part(group, "table")
    try:
        rows = table[:]
    except TypeError as error:  # dates are HDF5 times, for which numpy has no type
        raise UserError(
            f"holds dates that cannot be read ({one_line(error)[:60]}): convert them (frame.index = "
            "pandas.to_datetime(frame.index)) and write it again"
        ) from error
    names = rows.dtype.names or ()
    if "index" not in names or ("column" in names and "columns_kind" in table.attrs):
        raise UserError("a table of a pandas before 0.10: read it with that, and write it anew")
    ids: list[str] = []
    columns = []
    for name in (name for name in names if name != "index"):
        values = rows[name]
        # A data column (one that can be queried) is named by itself; a block of columns lists its labels.
        is_block = name.startswith("values_block_")
        labels = texts_of(plain_parts(bytes(table.attrs[f"{name}_kind"]))) if is_block else (name,)
        kind = _text(table.attrs.get(f"{name}_dtype"))
        if _text(table.attrs.get(f"{name}_meta")) == "category":
            raise UserError(f"column {labels[0]!r} holds categories, no readings: take it out")
        if values.dtype.kind == "S":
            values = _numbers_of_texts(values.reshape(len(rows), -1), labels)
        _require_numbers(labels, values.dtype, kind)
        columns.append(values.reshape(len(rows), -1).astype(np.float64))
        ids += labels
    if not columns:
        raise UserError("no column with a sensor's readings")
    info = group.attrs.get("info")
    settings = noted_parts(bytes(info)) if info is not None and not isinstance(info, h5py.Empty) else {}
    index = settings.get("index", {}) if isinstance(settings, dict) else {}
    zone = _zone_of(index.get("tz")) if isinstance(index, dict) else None
    stamps = _times(rows["index"], _text(table.attrs.get("index_kind")), zone, data)
    order = _column_order(group, ids)
    readings_TN = np.concatenate(columns, axis=1)[:, order]
    stamps = stamps_of_file(stamps, len(rows), path, data)
    return _blocks(stamps, tuple(ids[n] for n in order), path, lambda: iter((readings_TN[:, :, None],)))


def _part(group: h5py.Group, name: str) -> Any:
    """A data set of one axis or more that the file can hold."""
    item = group[name]
    require_held(item)
    if not item.shape:
        raise UserError(f"its part {name!r} holds one value, wanted a row of them")
    return item


def _column_order(group: h5py.Group, ids: list[str]) -> list[int]:
    """The frame's own order of columns, which blocks by type do not keep; the file's order if it is not recorded."""
    axes = group.attrs.get("non_index_axes")
    told = noted_parts(bytes(axes)) if isinstance(axes, bytes) else None
    try:
        labels = [str(label) for label in told[0][1]] if told else ids
    except (LookupError, TypeError):
        return list(range(len(ids)))
    if sorted(labels) != sorted(ids) or len(set(ids)) != len(ids):
        return list(range(len(ids)))
    return [ids.index(label) for label in labels]


def _require_numbers(labels: tuple[str, ...], dtype: np.dtype[Any], kind: str) -> None:
    """Blocks of dates and of texts are stored as numbers and as pickles.

    Raises:
        UserError: these columns are no readings.
    """
    label = labels[0] if labels else "?"
    if kind.startswith(("datetime64", "timedelta64", "date")):
        raise UserError(
            f"column {label!r} holds times ({kind}), no readings: take it out; a table with a row for each reading "
            "(time, id, value) is read as CSV or Parquet"
        )
    if dtype.kind not in "fiub":
        held = "texts or mixed objects" if dtype.kind == "O" else str(dtype)
        raise UserError(
            f"column {label!r} does not hold numbers ({held}): convert it (frame.astype(float)) or take it out"
        )


def _numbers_of_texts(cells_TK: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """(T, K) numbers of texts that are numbers."""
    columns = []
    for label, cells_T in zip(labels, cells_TK.T, strict=True):
        column = Column(label, np.array([cell.decode("utf-8", "replace").strip() for cell in cells_T], dtype=object))
        if (row := first_non_number(column)) is not None:
            raise UserError(
                f"column {label!r} does not hold numbers: row {row} is {column.cells[row][:40]!r}; take the column out"
            )
        columns.append(as_numbers(column))
    return np.stack(columns, axis=1)


def _labels(group: h5py.Group, name: str) -> tuple[str, ...]:
    if name not in group:
        raise UserError("columns of several levels are not supported: one column for each sensor is wanted")
    labels = _part(group, name)[:]
    if labels.dtype.kind == "S":
        return _decoded(labels, _text(group.attrs.get("encoding")))
    if labels.dtype.kind == "O" and len(labels) == 1:  # pickled: texts of Python 2 that are unicode, or mixed ones
        return texts_of(plain_parts(np.asarray(labels[0], dtype=np.uint8).tobytes()))
    if labels.dtype.kind in "iu":
        return tuple(str(label) for label in labels.tolist())
    if labels.dtype.kind == "f" and (np.abs(labels) < 2**53).all() and (labels == np.round(labels)).all():
        return tuple(str(int(label)) for label in labels.tolist())
    raise UserError(f"its column labels must be texts or numbers, got {labels.dtype}")


def _decoded(texts: np.ndarray, encoding: str) -> tuple[str, ...]:
    """Texts in the file's encoding; Python 2 named none, and wrote its system's."""
    for known in (encoding or "utf-8", "latin-1"):
        try:
            return tuple(text.decode(known) for text in texts.tolist())
        except (LookupError, UnicodeDecodeError):
            continue
    raise AssertionError("latin-1 decodes anything")


def _times(index: Any, kind: str, zone: str | None, data: DataConfig) -> Stamps | None:
    """The times of an index of this kind; None if it only counts the rows."""
    if kind.startswith("datetime64"):
        unit = kind[len("datetime64[") : -1] or "ns"
        if unit not in ("s", "ms", "us", "ns"):
            raise UserError(f"its index holds times of the kind {kind[:40]!r}, which pandas does not write")
        times_T = whole_seconds(index[:].astype(np.int64).astype(f"datetime64[{unit}]"))
        return Stamps(times_T, zone is not None, zone)
    if kind in ("integer", "float"):
        return number_times(index[:], "its index", data)
    if kind == "date":  # days since 0001-01-01, counted from 1
        return Stamps((index[:].astype(np.int64) - 719163).astype("datetime64[D]").astype("datetime64[s]"), False)
    if kind == "string" and index.dtype.kind == "S":
        return parse_times(_decoded(index[:], ""))
    raise UserError(
        f"its index holds {kind or 'no times'}: convert it (frame.index = pandas.to_datetime(frame.index)) and "
        "write it again"
    )


def _zone(attribute: Any) -> str | None:
    """The zone of an index: a name, or a pickle of one."""
    if attribute is None or isinstance(attribute, h5py.Empty):
        return None
    if isinstance(attribute, bytes) and attribute.endswith(b"."):
        return _zone_of(noted_parts(attribute))
    return _text(attribute) or None


def _zone_of(zone: Any) -> str | None:
    """The name of a zone as a pickle has it: a text, or an object of pytz, zoneinfo or datetime that is never made."""
    if zone is None:
        return None
    if isinstance(zone, bytes):
        return zone.decode("ascii", "replace")
    if isinstance(zone, str):
        return zone
    if not isinstance(zone, Noted):
        raise UserError(f"its times have a zone that is not known ({type(zone).__name__})")
    arguments = zone.arguments
    if zone.name.endswith(("UTC", "UTC._utc")) or zone.name.endswith("._UTC"):
        return "UTC"
    if zone.name == "datetime.timezone" and arguments and isinstance(arguments[0], Noted):
        days, seconds = (*arguments[0].arguments, 0, 0)[:2]
        return _offset((days * 86400 + seconds) // 60)
    if zone.name == "pytz._FixedOffset" and arguments:
        return _offset(int(arguments[0]))
    if arguments and isinstance(arguments[0], str):
        return arguments[0]
    return "UTC"


def _offset(minutes: int) -> str:
    return offset_name(f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}")


def _text(value: Any) -> str:
    if value is None or isinstance(value, h5py.Empty):
        return ""
    return "" if (text := text_of(value)) == "N." else text
