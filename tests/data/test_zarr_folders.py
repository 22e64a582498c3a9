"""Folders of zarr, formats 2 and 3: read as NetCDF is, and damage in one line."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import open_path
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.gridded_files import write_gauges, write_new_era5, write_old_era5
from tests.data.written_files import read

pytestmark = pytest.mark.slow  # zarr alone takes a second to import


def _as_zarr(source: Path, folder: Path, zarr_format: int = 3, *, chunks: Any = None, **settings: Any) -> None:
    """The same dataset, packed as in a NetCDF file.

    Args:
        chunks: of t2m.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_dataset(source, decode_times=False) as dataset:
            loaded = dataset.load()
        for name in loaded.variables:
            kept = ("dtype", "scale_factor", "add_offset", "_FillValue", "coordinates")
            encoding = loaded[name].encoding
            loaded[name].encoding = {key: encoding[key] for key in kept if key in encoding and name != "expver"}
        if chunks is not None:
            loaded["t2m"].encoding["chunks"] = chunks
        loaded.to_zarr(folder, mode="w", zarr_format=zarr_format, **settings)


@pytest.mark.parametrize(
    ("zarr_format", "consolidated", "layout"),
    [
        (2, True, "old"),
        (3, False, "old"),
        (2, False, "new"),
        (3, True, "new"),
        (2, True, "incomplete"),
        (3, False, "contiguous"),
    ],
)
def test_zarr_is_read_as_netcdf_is(zarr_format: int, consolidated: bool, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    chunks = None
    if layout == "old":
        write_old_era5(path, versions=2)
        chunks = (10, 1, 3, 2)
    elif layout == "new":
        write_new_era5(path)
        chunks = (7, 3, 3)
    else:
        write_gauges(path, layout)
    folder = tmp_path / "no ending"
    _as_zarr(path, folder, zarr_format, chunks=chunks, consolidated=consolidated)
    (wanted, wanted_graph), (series, graph) = (
        read_source(DataConfig(data=str(one)), GraphConfig()) for one in (path, folder)
    )
    np.testing.assert_array_equal(series.values_TNC, wanted.values_TNC)
    np.testing.assert_array_equal(series.observed_TNC, wanted.observed_TNC)
    np.testing.assert_array_equal(series.times_T, wanted.times_T)
    assert (series.ids, series.channels, series.units) == (wanted.ids, wanted.channels, wanted.units)
    assert (graph is None) == (wanted_graph is None)
    # A chunk of ERA5 alone, where all is ERA5T, is not written.
    notes = [note.replace("no ending", "x.nc") for note in series.notes if "chunks of t2m" not in note]
    assert notes == list(wanted.notes)
    assert (len(notes) < len(series.notes)) == (layout == "old" and zarr_format == 2)


def test_blocks_end_where_chunks_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dcrnn_fast.data.cf import parts

    write_old_era5(tmp_path / "x.nc")
    _as_zarr(tmp_path / "x.nc", tmp_path / "x.zarr", chunks=(10, 3, 4))
    for at_once, lengths in ((25, [20, 20, 8]), (8, [8, 8, 8, 8, 8, 8])):
        monkeypatch.setattr(parts, "rows_at_once", lambda shape, readings=None, rows=at_once: rows)
        opened = open_path(tmp_path / "x.zarr", DataConfig(), GraphConfig())
        assert opened is not None
        assert [len(block) for block in opened[0].read()] == lengths


def test_metadata_at_the_top_that_are_older_than_the_arrays_do_not_count(tmp_path: Path) -> None:
    write_old_era5(tmp_path / "x.nc")
    _as_zarr(tmp_path / "x.nc", tmp_path / "x.zarr", 2, consolidated=True, chunks=(12, 3, 4))
    stale = (tmp_path / "x.zarr" / ".zmetadata").read_text()
    with xr.open_dataset(tmp_path / "x.nc", decode_times=False) as dataset:
        later = dataset.load()
    later["time"] = ("time", later["time"].values + 48, later["time"].attrs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        later.to_zarr(tmp_path / "x.zarr", append_dim="time", zarr_format=2)
    (tmp_path / "x.zarr" / ".zmetadata").write_text(stale)
    assert read(tmp_path / "x.zarr").num_steps == 96


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return change


def _gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_gone("time/0"), r"1 of 1 chunks of its times \(time\) are not there: it is incomplete"),
        (_cut("t2m/1.0.0"), r"its chunk t2m/1\.0\.0 has 152 bytes, more were written: it is truncated"),
        (_cut("t2m/.zarray"), r"its t2m/\.zarray is damaged"),
        (_edit("t2m/.zarray", zarr_format=4), "is zarr of format 4; formats 2 and 3 are read"),
        (_edit("t2m/.zarray", filters=[{"id": "pickle"}]), "its array t2m is stored as pickles, which are never read"),
        (_edit("time/.zarray", shape=[10**10]), "its part 'time' claims .* which files of .* cannot hold"),
        (_edit("time/.zarray", shape=[50]), "conflicting sizes for dimension 'time'"),
        (_edit("t2m/.zattrs", _ARRAY_DIMENSIONS=["time", "latitude"]), "not a readable zarr folder"),
        (_gone("latitude/.zattrs"), "not a readable zarr folder"),
        (_gone(".zgroup"), r"lacks its metadata \(\.zgroup or zarr\.json\)"),
    ],
)
def test_damage_is_one_line(change: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    write_old_era5(tmp_path / "x.nc")
    folder = tmp_path / "x.zarr"
    _as_zarr(tmp_path / "x.nc", folder, 2, consolidated=False, chunks=(12, 3, 4))
    change(folder)
    with pytest.raises(UserError, match=rf"x\.zarr: .*{says}") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_chunks_that_are_not_there_are_told(tmp_path: Path) -> None:
    """zarr does not write a chunk that holds the fill value alone, and cannot tell it from a lost one."""
    write_old_era5(tmp_path / "x.nc")
    for zarr_format, lost in ((2, "t2m/1.0.0"), (3, "t2m/c/1/0/0")):
        folder = tmp_path / f"{zarr_format}.zarr"
        _as_zarr(tmp_path / "x.nc", folder, zarr_format, chunks=(12, 3, 4))
        (folder / lost).unlink()
        notes = read(folder).notes
        assert any("1 of 4 chunks of t2m are not there, which zarr reads as its fill value" in note for note in notes)


def test_an_array_alone_says_what_to_name(tmp_path: Path) -> None:
    write_old_era5(tmp_path / "x.nc")
    for zarr_format in (2, 3):
        folder = tmp_path / f"{zarr_format}.zarr"
        _as_zarr(tmp_path / "x.nc", folder, zarr_format)
        with pytest.raises(UserError, match=r"t2m: is one array of zarr: name the folder above it"):
            read(folder / "t2m")
    shutil.rmtree(folder / "t2m")
    with pytest.raises(UserError, match=r"no variable over time and space among none"):
        read(folder)
