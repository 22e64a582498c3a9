"""Latitude/longitude grids, their masks and the files that they come in.

Shape legend: Y latitudes, X longitudes.
"""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, from_curved_grid, from_grid, grid_ids, haversine_km, read_grid, read_land_mask

AROUND = np.arange(0, 360, 45.0)


def brute_force(num_rows: int, num_columns: int, neighbours: int, wraps: bool, mask_YX: np.ndarray) -> np.ndarray:
    cells = [(int(y), int(x)) for y, x in np.argwhere(mask_YX)]
    adjacency = np.zeros((len(cells), len(cells)))
    for i, (y, x) in enumerate(cells):
        for j, (v, u) in enumerate(cells):
            right = abs(x - u)
            if wraps:
                right = min(right, num_columns - right)
            far = max(abs(y - v), right) if neighbours == 8 else abs(y - v) + right
            adjacency[i, j] = far == 1
    return adjacency


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("longitudes", "wraps"),
    [
        (AROUND, True),
        (AROUND - 180, True),
        (AROUND[::-1], True),
        (np.concatenate([AROUND[4:], AROUND[:4]]), True),
        ((AROUND + 200 + 180) % 360 - 180, True),
        (AROUND + 20, True),
        (AROUND[:6], False),
        (np.arange(160, 200, 10.0), False),
        ((np.arange(160, 200, 10.0) + 180) % 360 - 180, False),
        (np.array([0.0, 120.0, 240.0]), True),
        (np.array([0.0, 180.0]), False),
        (np.array([7.0]), False),
    ],
    ids=lambda value: None if isinstance(value, bool) else f"{value[0]:g}_to_{value[-1]:g}",
)
def test_neighbours_against_brute_force(longitudes: np.ndarray, wraps: bool, neighbours: int, masked: bool) -> None:
    latitudes = np.array([60.0, 50.0, 40.0, 35.0])
    shape = (len(latitudes), len(longitudes))
    mask_YX = np.random.default_rng(0).random(shape) < 0.7 if masked else np.ones(shape, dtype=bool)
    mask_YX[0, 0] = True
    graph = from_grid(latitudes, longitudes, neighbours=neighbours, mask_YX=mask_YX)  # type: ignore[arg-type]
    np.testing.assert_array_equal(graph.adjacency.toarray(), brute_force(*shape, neighbours, wraps, mask_YX))
    assert graph.positions_N2 is not None
    np.testing.assert_array_equal(graph.positions_N2[:, 0], np.repeat(latitudes, shape[1])[mask_YX.ravel()])
    np.testing.assert_array_equal(graph.positions_N2[:, 1], np.tile(longitudes, shape[0])[mask_YX.ravel()])


def test_neighbours_are_near_each_other_on_the_globe() -> None:
    graph = from_grid(np.arange(-60, 61, 2.5), np.arange(20, 380, 2.5))
    assert graph.positions_N2 is not None
    edges = graph.adjacency.tocoo()
    distances = haversine_km(graph.positions_N2[edges.row], graph.positions_N2[edges.col])
    assert distances.max() < 400
    assert graph.num_edges == 2 * 144 * (49 + 3 * 48)


def test_both_names_of_one_meridian_are_neighbours() -> None:
    graph = from_grid([0.0, 1.0], np.arange(0, 361, 45.0), neighbours=4)
    assert graph.adjacency[0, 8] == 1


def test_ids_of_cells() -> None:
    assert grid_ids([52.5, 50], [-0.25, 0, 0.1]) == ("52.5_-0.25", "52.5_0", "52.5_0.1", "50_-0.25", "50_0", "50_0.1")
    assert grid_ids(np.float32([41.1]), np.float32([-0.0, 120.30001])) == ("41.1_0", "41.1_120.30001")
    mask_YX = np.array([[False, True], [True, False]])
    assert grid_ids([1, 2], [3, 4], mask_YX=mask_YX) == from_grid([1, 2], [3, 4], mask_YX=mask_YX).ids == ("1_4", "2_3")
    fine = np.arange(1200) / 1200 + 120
    assert len(set(grid_ids([0], fine))) == 1200


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "options", "message"),
    [
        ([1, 3, 2], [0, 1], {}, "latitudes of a grid must rise or fall steadily, got 1.0, 3.0, 2.0"),
        ([1, 1], [0, 1], {}, "latitudes of a grid must rise or fall"),
        ([1, 2], [0, 1, 0.5], {}, "longitudes of a grid must rise or fall"),
        ([1, 2], np.arange(0, 720, 45.0), {}, "not go around the globe twice"),
        ([1, np.nan], [0, 1], {}, "latitudes of a grid must be finite"),
        ([[1, 2]], [0, 1], {}, r"must be one row of numbers, got shape \(1, 2\)"),
        ([], [0, 1], {}, "one row of numbers"),
        ([1, 100], [0, 1], {}, "not on the globe"),
        ([1, 2], [0, 1], {"neighbours": 6}, "grid_neighbours must be one of 4, 8, got 6"),
        ([1, 2], [0, 1], {"mask_YX": np.ones((2, 3), dtype=bool)}, r"\(2, 2\), got bool \(2, 3\)"),
        ([1, 2], [0, 1], {"mask_YX": np.ones((2, 2))}, "must be booleans"),
        ([1, 2], [0, 1], {"mask_YX": np.zeros((2, 2), dtype=bool)}, "the grid has no node"),
    ],
)
def test_mistakes(latitudes: list, longitudes: list, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_grid(latitudes, longitudes, **options)


LATITUDES, LONGITUDES = np.array([50.0, 52.5, 55.0]), np.arange(0, 360, 30.0)


def npz(path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), latitude=LATITUDES, lon=LONGITUDES, wind=np.zeros((2, 3, 12)))
    return path.with_suffix(".npz")


def classic(path: Path, latitude: str = "lat", longitude: str = "lon", units: bool = True) -> Path:
    with scipy.io.netcdf_file(path.with_suffix(".nc"), "w") as file:
        for name, values, unit in ((latitude, LATITUDES, "degrees_north"), (longitude, LONGITUDES, "degrees_east")):
            file.createDimension(name, len(values))
            variable = file.createVariable(name, "f4", (name,))
            variable[:] = values
            if units:
                variable.units = unit
    return path.with_suffix(".nc")


def hdf5(path: Path) -> Path:
    with h5py.File(path.with_suffix(".nc4"), "w") as file:
        file["latitude"], file["longitude"], file["wind"] = LATITUDES, LONGITUDES, np.zeros((2, 3, 12))
        file["latitude"].attrs["units"] = np.bytes_(b"degrees_north")
        file.create_group("extra")
    return path.with_suffix(".nc4")


@pytest.mark.parametrize("make", [npz, classic, hdf5])
def test_files(tmp_path: Path, make: object) -> None:
    path = make(tmp_path / "grid")  # type: ignore[operator]
    graph: SensorGraph = read_grid(path)
    assert graph.digest() == from_grid(LATITUDES, LONGITUDES).digest()
    assert read_grid(path, neighbours=4).num_edges < graph.num_edges
    mask_YX = np.random.default_rng(0).random((3, 12)) < 0.5
    np.save(tmp_path / "mask.npy", mask_YX)
    masked = read_grid(path, land_mask=tmp_path / "mask.npy")
    assert masked.digest() == from_grid(LATITUDES, LONGITUDES, mask_YX=mask_YX).digest()
    assert masked.num_nodes == mask_YX.sum()


def test_coordinates_by_units(tmp_path: Path) -> None:
    path = classic(tmp_path / "grid", "FNOCY", "FNOCX")
    assert read_grid(path).digest() == from_grid(LATITUDES, LONGITUDES).digest()
    with pytest.raises(UserError, match=r"no latitude and longitude among its arrays 'FNOC[XY]', 'FNOC[XY]'"):
        read_grid(classic(tmp_path / "bare", "FNOCY", "FNOCX", units=False))


@pytest.mark.parametrize("make", [npz, classic, hdf5])
def test_truncated_anywhere(tmp_path: Path, make: object) -> None:
    path: Path = make(tmp_path / "grid")  # type: ignore[operator]
    content = path.read_bytes()
    for stop in range(0, len(content) - 200, max(1, len(content) // 40)):
        path.write_bytes(content[:stop])
        with pytest.raises(UserError) as caught:
            read_grid(path)
        assert "\n" not in str(caught.value)


def test_land_masks(tmp_path: Path) -> None:
    for array in (np.array([[True, False]]), np.array([[1, 0]]), np.array([[1.0, 0.0]])):
        np.save(tmp_path / "m.npy", array)
        assert read_land_mask(tmp_path / "m.npy").tolist() == [[True, False]]
    for array in (np.array([1, 0]), np.array([[1, 2]]), np.array([[np.nan, 1]]), np.array([["a"]])):
        np.save(tmp_path / "m.npy", array)
        with pytest.raises(UserError, match=r"m.npy: a land mask is a \(latitude, longitude\) array of booleans"):
            read_land_mask(tmp_path / "m.npy")
    with pytest.raises(UserError, match="cannot read"):
        read_land_mask(tmp_path / "none.npy")
    np.save(tmp_path / "m.npy", np.ones((2, 2), dtype=bool))
    with pytest.raises(UserError, match=r"must be booleans of shape \(latitude, longitude\) \(3, 12\)"):
        read_grid(npz(tmp_path / "grid"), land_mask=tmp_path / "m.npy")


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"0,1\n1,0\n")
    with pytest.raises(UserError, match=r"read from .npz .* or NetCDF, and this is neither"):
        read_grid(tmp_path / "a.nc")
    with pytest.raises(UserError, match="cannot read"):
        read_grid(tmp_path / "none.nc")


def test_cells_by_row_and_column(tmp_path: Path) -> None:
    y, x = np.meshgrid(np.linspace(1500, -1500, 4), np.linspace(-1700, 1700, 5), indexing="ij")
    latitude_YX = 90 - np.degrees(2 * np.arctan(np.hypot(x, y) / 12742))
    longitude_YX = np.degrees(np.arctan2(x, -y))
    graph = from_curved_grid((4, 5), latitude_YX=latitude_YX, longitude_YX=longitude_YX)
    flat = from_grid(np.arange(4.0), np.arange(5.0))
    assert (graph.adjacency != flat.adjacency).nnz == 0
    assert (graph.ids[0], graph.ids[-1]) == ("0_0", "3_4")
    assert graph.positions_N2 is not None
    assert graph.positions_N2[7].tolist() == [latitude_YX[1, 2], longitude_YX[1, 2]]
    mask_YX = np.ones((4, 5), dtype=bool)
    mask_YX[:2, 3:] = False
    np.save(tmp_path / "ocean.npy", mask_YX)
    np.savez(tmp_path / "ice.npz", lat=np.where(mask_YX, latitude_YX, np.nan), lon=longitude_YX)
    masked = read_grid(tmp_path / "ice.npz", neighbours=4, land_mask=tmp_path / "ocean.npy")
    assert (
        masked.digest()
        == from_grid(np.arange(4.0), np.arange(5.0), neighbours=4, mask_YX=mask_YX)
        .take(tuple(f"{a}_{b}" for a, b in np.argwhere(mask_YX)))
        .digest()
    )
    with pytest.raises(UserError, match="some cells have no latitude or longitude; leave them out with --land-mask"):
        read_grid(tmp_path / "ice.npz")
    assert from_curved_grid((2, 2)).positions_N2 is None


def test_a_curved_grid_around_the_globe_closes() -> None:
    longitude_YX, latitude_YX = np.meshgrid(np.arange(0.0, 360, 30), [60.0, 70.0])
    closed = from_curved_grid((2, 12), latitude_YX=latitude_YX, longitude_YX=longitude_YX, neighbours=4)
    assert closed.adjacency[0, 11] == 1
    half = from_curved_grid((2, 6), latitude_YX=latitude_YX[:, :6], longitude_YX=longitude_YX[:, :6], neighbours=4)
    assert half.adjacency[0, 5] == 0
