"""What a file is, is told by its contents, whatever its name says; the name decides where they leave it open."""

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import FORMATS, formats_of_path
from dcrnn_fast.data.staging import stage
from dcrnn_fast.errors import UserError
from tests.data.pems_folders import STATIONS, row, write_day, write_metadata
from tests.data.written_files import IDS, READINGS, WRITERS, read, write_csv, write_parquet, write_tsf

Write = Callable[[Path], None]


@pytest.mark.parametrize(
    "ending", [".csv", ".nc", *(pytest.param(e, marks=pytest.mark.slow) for e in (".h5", ".parquet", ".npz", ""))]
)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param(*one.values, id=one.id, marks=[pytest.mark.slow] if "nc" in one.values[0] else [])
        for one in WRITERS
    ],
)
def test_a_misleading_name_changes_nothing(name: str, write: Write, ending: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    wanted = read(path)
    renamed = path.rename(path.with_suffix(ending))
    series = read(renamed)
    np.testing.assert_array_equal(series.values_TNC, wanted.values_TNC)
    assert (series.ids, series.channels, series.units) == (wanted.ids, wanted.channels, wanted.units)


def test_one_array_under_another_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", READINGS)
    (tmp_path / "x.npy").rename(tmp_path / "x.csv")
    assert read(tmp_path / "x.csv", start="2024-01-01", freq="5min").num_sensors == 3


def test_hdf5_without_marks_is_what_its_name_says(tmp_path: Path) -> None:
    for name, kind in (("x.h5", "hdf5"), ("x.nc", "netcdf"), ("x.csv", "hdf5")):
        with h5py.File(tmp_path / name, "w") as file:
            file["a"] = np.ones((3, 2))
        assert formats_of_path(tmp_path / name, "auto") == {kind}


@pytest.mark.parametrize("packed", [True, False])
def test_station_files_of_pems_under_other_names(packed: bool, tmp_path: Path) -> None:
    for day in (1, 2):
        write_day(tmp_path, day, packed=packed)
    write_metadata(tmp_path)
    wanted = read(tmp_path)
    for k, path in enumerate(sorted(tmp_path.iterdir())):
        path.rename(tmp_path / f"{k}.txt")
    series = read(tmp_path)
    np.testing.assert_array_equal(series.values_TNC, wanted.values_TNC)
    np.testing.assert_array_equal(series.positions_N2, wanted.positions_N2)
    np.testing.assert_array_equal(series.times_T, wanted.times_T)


def test_months_of_hours_under_another_name_and_other_steps(tmp_path: Path) -> None:
    cells = ("50", "75", "10", ".1", "50")
    hours = [row(f"03/01/2024 {h:02d}:00:00", s, (*cells, *[""] * 6), 2, 3) for h in range(24) for s in STATIONS]
    (tmp_path / "march").write_text("\n".join(hours) + "\n")
    assert read(tmp_path / "march").num_steps == 31 * 24
    days = [row(f"03/{d:02d}/2024 00:00:00", STATIONS[0], cells) for d in range(1, 30)]
    (tmp_path / "days").write_text("\n".join(days) + "\n")
    with pytest.raises(UserError, match="has neither the name nor the lines of a station file of PeMS"):
        read(tmp_path / "days")
    (tmp_path / "cut").write_text(hours[0] + "\n")
    with pytest.raises(UserError, match=r"cut: has rows of one time alone: is it cut short\?"):
        read(tmp_path / "cut")


def test_packed_tables_are_told(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv")
    content = (tmp_path / "x.csv").read_bytes()
    for name in ("a.csv", "a.txt", "a.csv.gz", "a"):
        (tmp_path / name).write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=rf"{name} is packed with gzip: unpack it first"):
            read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "z.csv", "w") as archive:
        archive.writestr("x.csv", content)
    with pytest.raises(UserError, match=r"z\.csv is a zip archive: unpack it first"):
        read(tmp_path / "z.csv")


BESIDE = {
    "README.txt": b"Speeds of three detectors, each 5 minutes.\nSee the paper, and cite it.\n",
    "LICENSE": b"Permission is hereby granted, free of charge, to any person\n",
    ".DS_Store": b"\0\0\0\1Bud1",
    "SHA256SUMS.txt": b"0123  speed.csv\n",
    "look.ipynb": b"{}",
    "map.png": b"\x89PNG\r\n\x1a\n",
    "checksums.csv": b"file,sha\nspeed.csv,0123\n",
}


def _beside(folder: Path) -> None:
    for name, content in BESIDE.items():
        (folder / name).write_bytes(content)


def test_what_accompanies_series_is_left_out_and_named(tmp_path: Path) -> None:
    for name, low in (("speed", 0), ("flow", 100)):
        frame = pd.DataFrame(READINGS + low, pd.date_range("2024", periods=40, freq="1h"), IDS)
        frame.to_csv(tmp_path / f"{name}.csv", index_label="time")
    wanted = read(tmp_path)
    _beside(tmp_path)
    series = read(tmp_path)
    np.testing.assert_array_equal(series.values_TNC, wanted.values_TNC)
    (note,) = set(series.notes) - set(wanted.notes)
    assert note == (
        f"{tmp_path}: no series, and not read: 'LICENSE', 'README.txt', 'SHA256SUMS.txt', 'checksums.csv', "
        "'look.ipynb' and 2 more"
    )
    (tmp_path / "notes.txt").write_text("Detector 3 was moved in May.\nAsk Ann.\n")
    assert any("and 3 more" in note for note in read(tmp_path).notes)
    write_parquet(tmp_path / "late.parquet")
    with pytest.raises(UserError, match=r"of several kinds \(csv: flow\.csv, parquet: late\.parquet\): one kind is"):
        read(tmp_path)
    (tmp_path / "late.parquet").unlink()
    (tmp_path / "old.csv.gz").write_bytes(gzip.compress(b"time,a\n"))
    with pytest.raises(UserError, match=r"old\.csv\.gz is packed with gzip: unpack it, or move it away"):
        read(tmp_path)


def test_a_damaged_table_in_a_folder_is_no_companion(tmp_path: Path) -> None:
    write_csv(tmp_path / "2019.csv")
    for content in (b"", b"\0\1\2garbage", b"one line"):
        (tmp_path / "2020.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"2020\.csv"):
            read(tmp_path)


def test_endings_of_one_kind_are_one_kind(tmp_path: Path) -> None:
    for start, name in (("2024-01-01", "2024-01.tsv"), ("2024-02-01", "2024-02.csv")):
        frame = pd.DataFrame(READINGS, pd.date_range(start, periods=40, freq="1h"), IDS)
        frame.to_csv(tmp_path / name, index_label="time", sep="\t" if name.endswith("tsv") else ",")
    assert read(tmp_path).num_steps == 80


def test_every_format_of_files_tells_its_own_and_no_other(tmp_path: Path) -> None:
    for param in WRITERS:
        if "nc" in param.values[0]:
            continue
        name, write = param.values
        write(tmp_path / name)
        claimants = {one.name for one in FORMATS if one.claims(tmp_path / name)}
        assert len(claimants) == (0 if param.id == "csv" else 1), (param.id, claimants)


def test_a_copy_of_a_misnamed_file_is_read_as_it_is(tmp_path: Path) -> None:
    write_tsf(tmp_path / "x.csv")
    shutil.copy(tmp_path / "x.csv", tmp_path / "y.csv")
    copies = stage(DataConfig(data=str(tmp_path / "x.csv"), stage=str(tmp_path / "node")), GraphConfig())
    assert read(Path(copies.places[str(tmp_path / "x.csv")])).ids == tuple(IDS)
    copies.remove()
