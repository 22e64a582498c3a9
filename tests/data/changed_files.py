"""Well-formed files of every kind that is read, one part of each changed at random: what wants a line, or an answer.

Property tests read a few; ``python -m tests.faults parts`` counts many.
"""

import hashlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import scipy.sparse

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.data.store import write_store
from dcrnn_fast.graph import SensorGraph, read_graph
from tests.data import written_files as written
from tests.data.made_series import random_series, ring

T = TypeVar("T")
Choose = Callable[[Sequence[T]], T]
"""one of several, at random"""

IDS = ["s0", "s1", "s2", "s3"]
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, 5, -1, 2**40, 10**30, 1.5, float("nan"), float("inf"), "", "x", "foo\0", "\ud800", "é"),
    *([], {}, [5], ["x"], [[5]], [[0, 10**9]], [[-5, 3]], [[3, 1]], [None], [[0, 1.5]], {"a": 1}, [{}], ["x", "x"]),
)
_ODD_ARRAYS: tuple[np.ndarray, ...] = (
    *(
        np.array(5),
        np.array("x"),
        np.array(b"\xff"),
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.zeros((2, 2, 2)),
    ),
    *(np.array(["x"] * 4), np.array([b"\xff", b"a", b"b", b"c"]), np.array(["2020"] * 4, "M8[s]")),
    *(np.full(4, np.nan), np.full(4, np.inf), np.full((40, 3), np.nan), np.full((40, 3), 1e300), np.arange(40.0)),
    *(np.arange(4.0), np.array([1 + 2j] * 4), np.zeros(4, "m8[s]"), np.zeros(4, bool), np.array([2**63] * 40, "u8")),
    *(
        np.array([10**12, 10**12]),
        np.full((4, 4), -1.0),
        np.full((4, 4), np.nan),
        np.array(["NaT"] * 40, "M8[s]"),
        np.zeros(4, [("a", "f8")]),
    ),
    *(np.array([0xD800, 97, 98, 99], "u4").view("U1"), np.arange(40)[::-1].astype("M8[h]"), np.array([0.5] * 40)),
)
_ODD_ATTRIBUTES: tuple[Any, ...] = (
    *(5, -1, 2**40, 1.5, "x", "", "datetime64[parsec]", "days since", "months since 2000-13-45", b"\xff", b"x", b"N."),
    *(np.array([1, 2]), np.array(["a", "b"], dtype="S1"), np.nan, h5py.Empty("f8"), np.array([]), b"(lp0\n.", b"]."),
    *(
        np.void(b"\x80\x02]."),
        np.void(b"\x80\x02K\x05."),
        np.void(b"\x80\x02]r\xff\xff\xff\x3f."),
        np.void(b"\x80\x02."),
    ),
)
_ODD_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"9",
    b"-",
    b"nan",
    b"1e400",
    b",",
    b"\n",
    b'"',
    b"x" * 50,
    b"\xef\xbb\xbf",
    b"()",
    b"{",
)


def _flip(path: Path, choose: Choose[Any]) -> str:
    """Some bytes become others, or go."""
    whole = path.read_bytes()
    place, put, gone = choose(range(len(whole))), choose(_ODD_BYTES), choose((0, 1, 1, 4, len(whole)))
    path.write_bytes(whole[:place] + put + whole[place + gone :])
    return f"{gone} bytes at {place} = {put!r}"


def _change_hdf5(path: Path, choose: Choose[Any]) -> str:
    """A part or an attribute of an HDF5 file goes, or becomes another."""
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = choose(names)
        item = file[name]
        if item.attrs and choose((True, False)):
            key = choose(sorted(item.attrs))
            value = choose((None, *_ODD_ATTRIBUTES))
            if value is None:
                del item.attrs[key]
            else:
                item.attrs[key] = value
            return f"{name}.{key} = {value!r}"
        attributes = dict(item.attrs)
        del file[name]
        made = choose(("gone", "group", "array", "array", "array", "claim"))
        if made == "gone":
            return f"{name} gone"
        value = _without_units(choose(_ODD_ARRAYS))
        if made == "group":
            new: Any = file.create_group(name)
        elif made == "claim":
            new = file.create_dataset(name, shape=(10**10, 3), dtype="f8", chunks=(1000, 3))
        else:
            new = file.create_dataset(name, data=value)
        for key, old in attributes.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                new.attrs[key] = old
        return f"{name} = {made} {value.dtype} {value.shape}"


def _without_units(array: np.ndarray) -> np.ndarray:
    """What HDF5 has a type for."""
    if array.dtype.kind in "Mm":
        return array.astype("i8")
    return (
        array.astype("S")
        if array.dtype.kind == "U" and array.size and array.ravel()[0] == "x"
        else (np.zeros(4) if array.dtype.kind == "U" else array)
    )


def _change_npz(path: Path, choose: Choose[Any]) -> str:
    """An array of an archive goes, or becomes another; or the header of one claims other things."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    name = choose(sorted(arrays))
    if choose((True, True, False)):
        value = choose((None, *_ODD_ARRAYS))
        changed = {key: array for key, array in (arrays | {name: value}).items() if array is not None}
        np.savez(path, **changed)
        return f"{name} = {None if value is None else (value.dtype, value.shape)}"
    members = {}
    for key, array in arrays.items():
        held = io.BytesIO()
        np.save(held, array)
        members[key] = held.getvalue()
    before, after = choose(_HEADERS)
    members[name] = members[name].replace(before, after, 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for key, content in members.items():
            zipped.writestr(f"{key}.npy", content)
    return f"header of {name}: {before!r} = {after!r}"


_HEADERS = (
    *((b"(", b"(10**9, "), (b"'shape': (", b"'shape': (999999999999, "), (b"'shape': (", b"'shape': (-1, ")),
    *((b"<f8", b"<f4"), (b"<f8", b"V99999999"), (b"<f8", b"|O"), (b"False", b"7"), (b"'descr'", b"'d'"), (b"}", b"")),
)


def _change_npy(path: Path, choose: Choose[Any]) -> str:
    whole = path.read_bytes()
    if choose((True, False)):
        before, after = choose(_HEADERS)
        path.write_bytes(whole.replace(before, after, 1))
        return f"{before!r} = {after!r}"
    value = choose(_ODD_ARRAYS)
    np.save(path, value)
    return f"{value.dtype} {value.shape}"


def _change_parquet(path: Path, choose: Choose[Any]) -> str:
    """A column becomes one of another type, goes or comes twice, or what pandas noted is changed."""
    table = pyarrow.parquet.read_table(path)
    count = table.num_rows
    column = choose(range(table.num_columns))
    made = choose(("column", "column", "noted", "rows", "twice", "gone"))
    value: Any = None
    if made == "column":
        value = choose(
            (
                *(pa.nulls(count), pa.array([{"x": 1}] * count), pa.array([[1]] * count), pa.array([b"x"] * count)),
                *(pa.array([1] * count, pa.duration("s")), pa.array([1] * count, pa.time32("s"))),
                *(pa.array(["x"] * count).dictionary_encode(), pa.array([None] * count, pa.timestamp("ns"))),
                *(pa.array([2**45] * count, pa.timestamp("s")), pa.array([np.inf] * count), pa.array([1e300] * count)),
                *(pa.array([True] * count), pa.array(["nan"] * count), pa.array([None] * count, pa.decimal128(9, 2))),
                *(pa.array(range(count), pa.timestamp("s", tz="No/Where")), pa.array(["x"] * count, pa.large_string())),
            )
        )
        table = table.set_column(column, table.column_names[column], value)
    elif made == "noted":
        value = choose((*ODD_VALUES, [{"start": 0, "step": 10**30}], [{"start": "x"}], [{"kind": "range"}]))
        whole = json.dumps(choose((value, {"index_columns": value})))
        value = whole.encode()[: choose((10**6, 3))]
        table = table.replace_schema_metadata({b"pandas": value})
    elif made == "rows":
        table = table.slice(0, choose((0, 1, 2)))
    elif made == "twice":
        table = table.append_column(table.column_names[column], table[column])
    else:
        table = table.remove_column(column) if choose((True, False)) else pa.table({})
    pyarrow.parquet.write_table(table, path)
    return f"{made} of column {column}: {str(value)[:60]!r}"


def _change_pickle(path: Path, choose: Choose[Any]) -> str:
    if choose((True, False, False)):
        return _flip(path, choose)
    parts = list(pickle.loads(path.read_bytes()))
    part = choose(range(len(parts)))
    value = choose((*ODD_VALUES, *_ODD_ARRAYS, [[10**400] * 4] * 4, [1.5] * 4, dict.fromkeys(IDS, "x")))
    parts[part] = value
    path.write_bytes(pickle.dumps(parts, protocol=choose((0, 2, 4, 5))))
    return f"part {part} = {value!r:.60}"


def _change_store(folder: Path, choose: Choose[Any]) -> str:
    """A part of the manifest, or an array, becomes another one; the checksums are right."""
    from dcrnn_fast.data.store_manifest import digest_of

    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if choose((True, True, False)):
        key, value = choose(sorted(set(manifest) - {"sha256"})), choose(("GONE", *ODD_VALUES))
        at, into = key, manifest
        while isinstance(into[at], (dict, list)) and into[at] and choose((True, False)):
            into = into[at]
            at = choose(sorted(into) if isinstance(into, dict) else range(len(into)))
        if value == "GONE":
            del into[at]
        else:
            into[at] = value
        said = f"{key} .. {at} = {value!r}"
    else:
        name = choose(sorted(manifest["files"]))
        if name.endswith(".npz"):
            said = f"{name}: {_change_npz(folder / name, choose)}"
        else:
            said = f"{name}: {_change_npy(folder / name, choose)}"
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["sha256"] = digest_of(manifest)
    path.write_text(json.dumps(manifest))
    return said


def _write_store(folder: Path) -> None:
    series = random_series(40, 3, gaps=(20,))
    write_store(folder, series, ring(series))


_MATRIX = np.eye(4) + np.roll(np.eye(4), 1, axis=1) / 2
_CSR: Any = scipy.sparse.csr_array(_MATRIX)


def _list(path: Path) -> None:
    pairs = [(a, b, round(300 + 37.5 * i, 1)) for i, (a, b) in enumerate((a, b) for a in IDS for b in IDS if a != b)]
    pd.DataFrame(pairs, columns=["from", "to", "cost"]).to_csv(path, index=False)


def _positions(path: Path) -> None:
    pd.DataFrame({"id": IDS, "lat": [1.0, 2, 3, 4], "lon": [5.0, 6, 7, 9]}).to_csv(path, index=False)


def _text_matrix(path: Path) -> None:
    pd.DataFrame(_MATRIX, index=IDS, columns=IDS).to_csv(path)


def _grid(path: Path) -> None:
    np.savez(path, latitude=np.array([1.0, 2]), longitude=np.array([1.0, 2]))


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps([IDS, {node: i for i, node in enumerate(IDS)}, _MATRIX], protocol=2))


Change = Callable[[Path, Choose[Any]], str]
Write = Callable[[Path], object]
SERIES: dict[str, tuple[str, Write, Change]] = {
    "store": ("store", _write_store, _change_store),
    "hdf5": ("x.h5", written.write_hdf5, _change_hdf5),
    "hdf5 table": ("t.h5", written.write_hdf5_table, _change_hdf5),
    "netcdf 4": ("x.nc", lambda path: written.write_stations(path, "h5netcdf"), _change_hdf5),
    "netcdf classic": ("c.nc", lambda path: written.write_stations(path, "scipy"), _flip),
    "npz": ("x.npz", written.write_npz, _change_npz),
    "npz bytes": ("x.npz", written.write_npz, _flip),
    "npy": ("x.npy", lambda path: np.save(path, written.READINGS), _change_npy),
    "parquet": ("x.parquet", written.write_parquet, _change_parquet),
    "csv": ("x.csv", written.write_csv, _flip),
}
GRAPHS: dict[str, tuple[str, Write, Change]] = {
    "graph csr": ("g.npz", lambda path: scipy.sparse.save_npz(path, _CSR), _change_npz),
    "graph coo": ("g.npz", lambda path: scipy.sparse.save_npz(path, _CSR.tocoo()), _change_npz),
    "graph state": ("g.npz", lambda path: np.savez(path, **SensorGraph(_MATRIX, tuple(IDS)).to_state()), _change_npz),
    "graph dense": (
        "g.npz",
        lambda path: np.savez(path, adj=_MATRIX, ids=IDS, positions=np.ones((4, 2))),
        _change_npz,
    ),
    "graph grid": ("g.npz", _grid, _change_npz),
    "graph npy": ("g.npy", lambda path: np.save(path, _MATRIX), _change_npy),
    "graph pickle": ("g.pkl", _pickle, _change_pickle),
    "graph list": ("g.csv", _list, _flip),
    "graph matrix": ("g.csv", _text_matrix, _flip),
    "graph positions": ("p.csv", _positions, _flip),
}
KINDS = SERIES | GRAPHS


def read_changed(kind: str, path: Path) -> None:
    """Reads a changed file and checks that the answer means something.

    Raises:
        UserError: as wanted. Any other error is a fault.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind in SERIES:
            start = {"start": "2024-01-01", "freq": "5min"} if kind == "npy" else {}
            series, graph = read_source(DataConfig(data=str(path), **start), GraphConfig())
            _check_series(series)
        else:
            graph = read_graph(GraphConfig(graph=str(path), nearest=2 if kind == "graph positions" else None))
    if graph is not None:
        assert np.isfinite(graph.adjacency.data).all()
        assert len(set(graph.ids)) == graph.num_nodes == graph.adjacency.shape[0]


def _check_series(series: SensorSeries) -> None:
    shape = series.num_steps, series.num_sensors, len(series.channels)
    assert series.values_TNC.shape == series.observed_TNC.shape == shape
    assert series.observed_TNC.dtype == np.bool_
    assert np.isfinite(series.values_TNC).all()
    assert len(set(series.ids)) == series.num_sensors
    assert all(isinstance(text, str) for text in (*series.ids, *series.channels, *series.units))
    "".join((*series.ids, *series.channels, *series.units)).encode()
    assert series.segments[0][0] == series.parts[0][0] == 0
    assert series.segments[-1][1] == series.parts[-1][1] == series.num_steps
    for start, stop in series.parts:
        assert (np.diff(series.times_T[start:stop]) > np.timedelta64(0, "s")).all()


def write_changed(kind: str, folder: Path, choose: Choose[Any]) -> tuple[Path, str]:
    """The path of a changed file, and the change."""
    name, write, change = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(folder / name)
        return folder / name, change(folder / name, choose)
