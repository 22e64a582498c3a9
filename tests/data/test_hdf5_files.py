"""Tables that pandas wrote to HDF5: of Python 2 as well as of today, and what is no table of readings."""

import fcntl
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.errors import UserError
from tests.data.written_files import READINGS, TIMES, make_frame, read

# Python 2's pickles, protocol 0, as PyTables has them in attributes of the files of pandas 0.15 to 0.22.
NONE = b"N."
LABELS = b"(lp1\nS'773869'\np2\naS'767541'\np3\naS'a b'\np4\na."
UNICODE_LABELS = (
    b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntRp3\n(I1\n(L3L\ntcnumpy\ndtype\np4\n"
    b"(S'O8'\nI0\nI1\ntRp5\n(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\n(lp6\nV773869\np7\naVStra\\u00dfe\np8\naI7\natb."
)
INFO = b"(dp1\nI1\n(dp2\nS'type'\np3\nS'Index'\np4\nsS'names'\np5\n(lp6\nNassS'index'\np7\n(dp8\n%ss."
FREQ = (
    b"S'freq'\np9\nccopy_reg\n_reconstructor\np10\n(cpandas.tseries.offsets\nMinute\np11\nc__builtin__\nobject\np12\n"
    b"NtRp13\n(dp14\nS'n'\nI5\nsbs"
)


def _attributes(item: Any, **values: bytes | int) -> None:
    for name, value in values.items():
        item.attrs[name] = np.bytes_(value) if isinstance(value, bytes) else value


def _python2_fixed(path: Path, labels: Any, kind: bytes = b"string", **index: bytes) -> None:
    nanoseconds = TIMES.to_numpy().astype("M8[ns]").astype("i8")
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        _attributes(
            group, CLASS=b"GROUP", TITLE=b"", VERSION=b"1.0", axis0_variety=b"regular", axis1_variety=b"regular"
        )
        _attributes(group, block0_items_variety=b"regular", encoding=NONE, nblocks=1, ndim=2)
        _attributes(group, pandas_type=b"frame", pandas_version=b"0.15.2")
        for name in ("axis0", "block0_items"):
            if isinstance(labels, bytes):
                item = group.create_dataset(name, (1,), h5py.vlen_dtype(np.uint8))
                item[0] = np.frombuffer(labels, np.uint8)
            else:
                item = group.create_dataset(name, data=labels)
            _attributes(item, CLASS=b"ARRAY", kind=kind, name=NONE, transposed=1)
        axis = group.create_dataset("axis1", data=nanoseconds)
        _attributes(axis, kind=b"datetime64", name=NONE, freq=FREQ[len(b"S'freq'\np9\n") : -1] + b".", **index)
        group.create_dataset("block0_values", data=READINGS)


@pytest.mark.parametrize(
    ("labels", "kind", "ids"),
    [
        (np.array([b"773869", b"767541", b"767542"]), b"string", ("773869", "767541", "767542")),
        (np.array([400001, 400017, 400030]), b"integer", ("400001", "400017", "400030")),
        (UNICODE_LABELS, b"object", ("773869", "Straße", "7")),
        (np.array(["a", "b", "ß"]).astype("U").astype(object), b"string", ("a", "b", "ß")),
    ],
    ids=["text", "integers", "unicode", "latin-1"],
)
def test_fixed_tables_of_python_2_are_read(labels: Any, kind: bytes, ids: tuple[str, ...], tmp_path: Path) -> None:
    if isinstance(labels, np.ndarray) and labels.dtype == object:
        labels = np.array([label.encode("latin-1") for label in labels])
    _python2_fixed(tmp_path / "metr-la.h5", labels, kind)
    series = read(tmp_path / "metr-la.h5")
    assert (series.ids, series.freq, series.in_utc) == (ids, "5min", False)
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    np.testing.assert_array_equal(series.values_TNC[..., 0], np.nan_to_num(READINGS).astype(np.float32))
    for zone in (b"US/Pacific", b"cpytz\n_p\np1\n(S'US/Pacific'\np2\nI-28380\nI0\nS'LMT'\np3\ntp4\nRp5\n."):
        _python2_fixed(tmp_path / "zoned.h5", labels, kind, tz=zone)
        assert read(tmp_path / "zoned.h5").zone == "US/Pacific"


@pytest.mark.parametrize(
    ("index", "zone"),
    [(b"", None), (b"S'index_name'\nS'tz'\ns", None), (b"S'tz'\nS'US/Eastern'\ns", "US/Eastern"), (FREQ, None)],
)
def test_table_format_of_python_2_is_read(index: bytes, zone: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    rows = np.zeros(40, dtype=[("index", "<i8"), ("values_block_0", "<f8", (3,))])
    rows["index"] = TIMES.to_numpy().astype("M8[ns]").astype("i8")
    rows["values_block_0"] = READINGS
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        _attributes(group, encoding=NONE, info=INFO % index, levels=1, nan_rep=b"nan", pandas_type=b"frame_table")
        _attributes(group, non_index_axes=b"(lp1\n(I1\n(lp2\nS'a b'\naS'767541'\naS'773869'\natp3\na.")
        table = group.create_dataset("table", data=rows, compression="gzip")
        _attributes(table, index_kind=b"datetime64", values_block_0_kind=LABELS, values_block_0_dtype=b"float64")
        _attributes(table, values_block_0_meta=NONE)
    series = read(path)
    assert series.ids == ("a b", "767541", "773869"), "the frame's own order, not that of its blocks"
    np.testing.assert_array_equal(series.values_TNC[:, ::-1, 0], np.nan_to_num(READINGS).astype(np.float32))
    assert (series.zone, series.in_utc) == (zone, zone is not None)


@pytest.mark.parametrize("form", ["fixed", "table"])
def test_indices_of_every_kind(form: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    nanoseconds = TIMES.astype("datetime64[ns]").astype("int64")
    indices = [*(TIMES.astype(f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns"))]
    for index in (*indices, TIMES.astype(str), pd.Index(list(nanoseconds)), pd.Index(list(nanoseconds // 10**6))):
        make_frame().set_index(index).to_hdf(path, key="df", format=form, mode="w")
        assert np.array_equal(read(path).times_T, TIMES.to_numpy().astype("M8[s]"))
    for zone in ("UTC", "+05:30", "-03:00", "Europe/Berlin"):
        make_frame().tz_localize(zone).to_hdf(path, key="df", format=form, mode="w")
        series = read(path)
        assert (series.zone, series.in_utc) == (zone, True)
        assert series.times_T[0] == TIMES[0].tz_localize(zone).tz_convert(None)
    make_frame().reset_index(drop=True).to_hdf(path, key="df", format=form, mode="w")
    with pytest.raises(UserError, match=r"its index holds the plain count 0, 1, 2 .*, no times: give --start"):
        read(path)
    assert read(path, start="2024-03-04", freq="5min").times_T[1] == TIMES[1]


def test_a_name_never_makes_utc(tmp_path: Path) -> None:
    frame = make_frame().rename(columns={"a b": "tz"}).rename_axis("timestamptz")
    for columns in (True, None):
        frame.to_hdf(tmp_path / "x.h5", key="df", format="table", data_columns=columns, mode="w")
        series = read(tmp_path / "x.h5")
        assert (series.in_utc, series.zone, series.ids[2]) == (False, None, "tz")


@pytest.mark.parametrize(
    ("form", "column", "said"),
    [
        ("table", pd.Categorical(["x", "y"] * 20), "column 'c' holds categories, no readings: take it out"),
        ("table", TIMES, "column 'c' holds times .*, no readings: take it out"),
        ("fixed", TIMES, "column 'c' holds times .*, no readings: take it out"),
        ("fixed", ["1", "2"] * 20, r"column 'c' does not hold numbers .*: convert it .frame\.astype"),
        ("table", ["1", "x"] * 20, "column 'c' does not hold numbers: row 1 is 'x'"),
    ],
)
def test_columns_that_are_no_readings_are_named(form: Any, column: Any, said: str, tmp_path: Path) -> None:
    make_frame().assign(c=column).to_hdf(tmp_path / "x.h5", key="df", format=form)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "x.h5")


def test_texts_that_are_numbers_are_read_from_the_table_format(tmp_path: Path) -> None:
    make_frame().astype(str).to_hdf(tmp_path / "x.h5", key="df", format="table")
    series = read(tmp_path / "x.h5")
    np.testing.assert_array_equal(series.values_TNC[..., 0], np.nan_to_num(READINGS).astype(np.float32))


@pytest.mark.parametrize("name", ["x.h5", "x.nc"])
def test_a_file_that_a_writer_holds_is_said_to_be_locked(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    make_frame().to_hdf(tmp_path / "x.h5", key="df")
    if name == "x.nc":
        make_frame().rename_axis("time").to_xarray().to_array("station").to_dataset(name="v").to_netcdf(path)
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as the HDF5 library does while it writes
        with pytest.raises(
            UserError, match="is locked: another program has it open for writing; close that program, or"
        ):
            read(path)
    assert read(path).num_sensors == 3
