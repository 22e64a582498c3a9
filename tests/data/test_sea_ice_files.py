"""Grids on a map's projection, with a latitude and longitude for each cell, and the land mask of the data."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.sources import read_for_model, read_source
from dcrnn_fast.errors import UserError
from tests.data.gridded_files import polar_places, write_sea_ice

AUTO = GraphConfig(land_mask="auto")


def _notes(path: Path, graph: GraphConfig = AUTO, **settings: object) -> tuple[str, ...]:
    series, _ = read_source(DataConfig(data=str(path), **settings), graph)  # type: ignore[arg-type]
    return tuple(note for note in series.notes if "land mask" in note or "mask" in note)


def test_land_corners_and_unseen_cells_are_left_out_each_by_its_rule(tmp_path: Path) -> None:
    written = write_sea_ice(tmp_path / "ice.nc", rows=30)
    series, graph = read_source(DataConfig(data=str(tmp_path / "ice.nc")), AUTO)
    ice = written["ice_conc"].values
    kept_YX = np.isfinite(ice).all(axis=0)
    assert series.ids == tuple(f"{y}_{x}" for y, x in np.argwhere(kept_YX))
    np.testing.assert_allclose(series.values_TNC[..., 0], ice[:, kept_YX], atol=0.006)
    assert (series.channels, series.units) == (("ice_conc",), ("%",))
    assert graph is not None
    assert graph.ids == series.ids
    assert (
        "look: ice.nc: land mask: 42 cells of 49 are nodes; left out: 4 without a latitude and longitude, 2 flagged as "
        "land by status_flag, 1 never observed"
    ) in series.notes
    again = open_data(DataConfig(data=str(tmp_path / "ice.nc"), past_steps=3, future_steps=2), AUTO)
    assert again.graph.digest() == graph.digest()


@pytest.mark.slow
def test_cells_around_the_pole_are_neighbours_by_row_and_column(tmp_path: Path) -> None:
    """Beside the pole longitudes jump by 90 degrees and more from cell to cell; opposite edges are far apart."""
    write_sea_ice(tmp_path / "ice.nc", rows=30)
    _, graph = read_source(DataConfig(data=str(tmp_path / "ice.nc")), GraphConfig(land_mask="auto", grid_neighbours=4))
    assert graph is not None
    links = graph.adjacency.tocsr()
    index = {node: n for n, node in enumerate(graph.ids)}
    for one, other in (("3_3", "3_2"), ("3_3", "3_4"), ("3_3", "2_3"), ("3_3", "4_3")):
        assert links[[index[one]], [index[other]]] == 1
    assert links[[index["4_0"]], [index["4_6"]]] == 0
    assert links.sum(axis=1).max() == 4


@pytest.mark.slow
def test_the_graph_of_another_file_of_the_grid_is_cut_to_these_cells(tmp_path: Path) -> None:
    write_sea_ice(tmp_path / "ice.nc", rows=30)
    config = DataConfig(data=str(tmp_path / "ice.nc"), past_steps=3, future_steps=2)
    own = open_data(config, AUTO)
    named = open_data(config, GraphConfig(graph=str(tmp_path / "ice.nc"), land_mask="auto"))
    assert named.graph.digest() == own.graph.digest()


@pytest.mark.slow
def test_without_a_mask_the_corners_are_named(tmp_path: Path) -> None:
    write_sea_ice(tmp_path / "ice.nc", rows=30)
    with pytest.raises(
        UserError, match=r"some cells have no latitude or longitude; leave them out with --land-mask auto"
    ):
        read_source(DataConfig(data=str(tmp_path / "ice.nc")), GraphConfig())


@pytest.mark.slow
def test_a_model_reads_its_cells_whatever_other_data_observe(tmp_path: Path) -> None:
    write_sea_ice(tmp_path / "train.nc", rows=30)
    trained, graph = read_source(DataConfig(data=str(tmp_path / "train.nc")), AUTO)
    changed = write_sea_ice(tmp_path / "new.nc", "2021-01-01", rows=12).load()
    changed["ice_conc"][:, 3, 3] = np.nan
    changed["ice_conc"][:, 3, 0] = 50.0
    changed.to_netcdf(tmp_path / "new.nc", engine="h5netcdf")
    config = DataConfig(data=str(tmp_path / "new.nc"))
    assert read_source(config, AUTO)[0].ids != trained.ids
    series, own_graph = read_for_model(config, AUTO, trained.ids)
    assert series.ids == trained.ids
    assert own_graph is not None
    assert graph is not None
    assert own_graph.digest() == graph.digest()
    assert not series.observed_TNC[:, series.ids.index("3_3")].any()


def _masked(path: Path, name: str, values_YX: np.ndarray, **attributes: object) -> None:
    """Readings everywhere but at one cell, and a mask of a grid of 4 x 5."""
    readings = np.random.default_rng(0).uniform(1, 9, (30, 4, 5))
    readings[:, 3, 4] = np.nan
    xr.Dataset(
        {"sst": (("time", "lat", "lon"), readings), name: (("lat", "lon"), values_YX, attributes)},
        {
            "time": np.arange(30) * np.timedelta64(1, "D") + np.datetime64("2020-01-01"),
            "lat": np.arange(4.0),
            "lon": np.arange(5.0),
        },
    ).to_netcdf(path, engine="h5netcdf")


@pytest.mark.slow
def test_a_mask_in_the_file_is_used_by_its_name_or_flags(tmp_path: Path) -> None:
    land_YX = np.zeros((4, 5))
    land_YX[0, :2] = 0.8
    path = tmp_path / "x.nc"
    wanted = "17 cells of 20 are nodes; left out: 2 land by {}, 1 never observed"
    _masked(path, "lsm", land_YX)
    assert _notes(path)[0].endswith(wanted.format("lsm"))
    _masked(path, "lsm", 100 * land_YX)
    assert _notes(path)[0].endswith(wanted.format("lsm"))
    _masked(path, "wet", 1.0 - (land_YX > 0.5))
    assert _notes(path)[0].endswith(wanted.format("wet"))
    kinds = {"flag_values": np.array([1, 2], "i1"), "flag_meanings": "water land"}
    _masked(path, "mask", (1 + (land_YX > 0.5)).astype("i1"), **kinds)
    assert _notes(path)[0].endswith(wanted.format("mask"))


@pytest.mark.slow
def test_a_mask_that_does_not_say_what_it_means_is_not_used(tmp_path: Path) -> None:
    _masked(tmp_path / "x.nc", "mask", np.ones((4, 5), "i1"))
    first, second = _notes(tmp_path / "x.nc")
    assert first.endswith("19 cells of 20 are nodes; left out: 1 never observed")
    assert "mask does not say which of its values are land" in second


@pytest.mark.slow
def test_a_mask_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    _masked(tmp_path / "x.nc", "lsm", np.ones((4, 5)))
    with pytest.raises(UserError, match=r"x\.nc: lsm calls every cell land that has readings: give --land-mask FILE"):
        read_source(DataConfig(data=str(tmp_path / "x.nc")), AUTO)


@pytest.mark.slow
def test_zeros_and_named_values_may_be_what_is_never_observed(tmp_path: Path) -> None:
    readings = np.random.default_rng(0).uniform(1, 9, (30, 4, 5))
    readings[:, 0, 0], readings[:, 1, 1] = 0, -9
    axes = {
        "time": np.arange(30) * np.timedelta64(1, "D") + np.datetime64("2020-01-01"),
        "lat": np.arange(4.0),
        "lon": np.arange(5.0),
    }
    xr.Dataset({"sst": (("time", "lat", "lon"), readings)}, axes).to_netcdf(
        tmp_path / "x.nc", engine="h5netcdf", encoding={"sst": {"_FillValue": None}}
    )
    assert _notes(tmp_path / "x.nc")[0].endswith("19 cells of 20 are nodes; left out: 1 never observed")
    named = _notes(tmp_path / "x.nc", missing_value=(-9.0,))
    assert named[0].endswith("19 cells of 20 are nodes; left out: 1 never observed")
    both = _notes(tmp_path / "x.nc", missing_value=(-9.0,), missing="zero")
    assert both[0].endswith("18 cells of 20 are nodes; left out: 2 never observed")


@pytest.mark.slow
def test_a_map_without_places_has_neighbours_all_the_same(tmp_path: Path) -> None:
    axis, _, _ = polar_places(5)
    names = {"x": "projection_x_coordinate", "y": "projection_y_coordinate"}
    coordinates = {name: (name, axis, {"units": "m", "standard_name": said}) for name, said in names.items()}
    times = np.arange(30) * np.timedelta64(1, "D") + np.datetime64("2020-01-01")
    xr.Dataset({"sic": (("time", "y", "x"), np.ones((30, 5, 5)))}, {"time": times, **coordinates}).to_netcdf(
        tmp_path / "x.nc", engine="h5netcdf"
    )
    series, graph = read_source(DataConfig(data=str(tmp_path / "x.nc")), GraphConfig(grid_neighbours=4))
    assert graph is not None
    assert graph.positions_N2 is None
    assert graph.num_edges == 2 * 2 * 5 * 4
    assert series.ids[0] == "0_0"
