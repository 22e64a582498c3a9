"""Latitude/longitude grids: every cell is a node, linked to its neighbours.

Shape legend: Y latitudes, X longitudes, N nodes (cells where the land mask is true), in row-major (Y, X) order.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse

from dcrnn_fast.config.data import GridNeighbours
from dcrnn_fast.config.plain import require_choice
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import GraphAccount
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES, haversine_km
from dcrnn_fast.graph.sensor_graph import SensorGraph, checked_positions
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.arrays import is_archive, load_archive, load_array
from dcrnn_fast.reading.netcdf import arrays_of_netcdf, netcdf_kind
from dcrnn_fast.reading.tables import plain_name


def from_grid(
    latitudes_Y: Sequence[float] | np.ndarray,
    longitudes_X: Sequence[float] | np.ndarray,
    *,
    neighbours: GridNeighbours = 8,
    mask_YX: np.ndarray | None = None,
) -> SensorGraph:
    """The graph of a grid's cells: weight 1 in both directions between neighbours, no self loops.

    Longitudes that go around the globe close: if the gap between the last and the first is at most one and a half
    steps, cells of the last column and the first are neighbours (also if both name one meridian, 0 and 360).

    Args:
        latitudes_Y, longitudes_X: cell centres in degrees, in steady order; longitudes may jump at 180 or 360.
        neighbours: 4 (sides) or 8 (sides and corners).
        mask_YX: true where a cell is a node; left out: everywhere.
    Returns:
        A graph with positions and the ids of ``grid_ids``.
    Raises:
        UserError: coordinates that are not one-dimensional, finite and steady, a mask of another shape or without a
            node, another number of neighbours.
    """
    latitudes_Y, longitudes_X = _steady(latitudes_Y, "latitudes"), _steady(longitudes_X, "longitudes")
    require_choice("grid_neighbours", neighbours, GridNeighbours)
    mask_YX = _checked_mask(mask_YX, (len(latitudes_Y), len(longitudes_X)))
    longitude_YX, latitude_YX = np.meshgrid(longitudes_X, latitudes_Y)
    positions_N2 = np.stack([latitude_YX[mask_YX], longitude_YX[mask_YX]], axis=1)
    adjacency = _neighbours(mask_YX, neighbours, wraps=_goes_around(longitudes_X))
    return _with_account(adjacency, grid_ids(latitudes_Y, longitudes_X, mask_YX=mask_YX), positions_N2, neighbours)


def from_curved_grid(
    shape: tuple[int, int],
    *,
    latitude_YX: np.ndarray | None = None,
    longitude_YX: np.ndarray | None = None,
    neighbours: GridNeighbours = 8,
    mask_YX: np.ndarray | None = None,
) -> SensorGraph:
    """The graph of a grid whose cells are neighbours by row and column, at any places (polar, rotated, ocean).

    If the last column lies beside the first, as on an ocean model's grid around the globe, they are neighbours too.

    Args:
        latitude_YX, longitude_YX: places in degrees, finite where the mask is true; left out: not known.
        neighbours, mask_YX: as ``from_grid``.
    Returns:
        A graph with the ids of ``cell_ids``, and positions if they are known.
    Raises:
        UserError: places or a mask of another shape, a mask without a node, another number of neighbours, a place off
            the globe.
    """
    require_choice("grid_neighbours", neighbours, GridNeighbours)
    mask_YX = _checked_mask(mask_YX, shape)
    ids = cell_ids(shape, mask_YX=mask_YX)
    positions_N2, wraps = None, False
    if latitude_YX is not None and longitude_YX is not None:
        if latitude_YX.shape != shape or longitude_YX.shape != shape:
            raise UserError(f"places of a grid of {shape} cells, got {latitude_YX.shape} and {longitude_YX.shape}")
        positions_YX2 = np.stack([latitude_YX, longitude_YX], axis=-1).astype(np.float64)
        if not np.isfinite(positions_YX2[mask_YX]).all():
            raise UserError("some cells have no latitude or longitude; leave them out with --land-mask auto, or FILE")
        positions_N2 = checked_positions(positions_YX2[mask_YX], ids)
        wraps = _closes(positions_YX2)
    return _with_account(_neighbours(mask_YX, neighbours, wraps=wraps), ids, positions_N2, neighbours)


def cell_ids(shape: tuple[int, int], *, mask_YX: np.ndarray | None = None) -> tuple[str, ...]:
    """The ids of cells that go by row and column, from 0: "Y_X"."""
    return tuple(f"{y}_{x}" for y, x in np.argwhere(_checked_mask(mask_YX, shape)))


def _neighbours(mask_YX: np.ndarray, neighbours: GridNeighbours, *, wraps: bool) -> Any:
    """The adjacency of the cells in the mask: weight 1 in both directions, also across the seam where it wraps."""
    node_YX: np.ndarray = np.full(mask_YX.shape, -1, dtype=np.int64)
    node_YX[mask_YX] = np.arange(mask_YX.sum())
    starts: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    for south, east in ((0, 1), (1, 0)) if neighbours == 4 else ((0, 1), (1, 0), (1, 1), (1, -1)):
        here_YX = node_YX[: node_YX.shape[0] - south]
        there_YX = np.roll(node_YX[south:], -east, axis=1)
        if not wraps and east:
            inside = slice(0, -1) if east == 1 else slice(1, None)
            here_YX, there_YX = here_YX[:, inside], there_YX[:, inside]
        both_YX = (here_YX >= 0) & (there_YX >= 0)
        starts.append(here_YX[both_YX])
        ends.append(there_YX[both_YX])
    start_E, end_E = np.concatenate(starts), np.concatenate(ends)
    num_nodes = int(mask_YX.sum())
    one_way: Any = scipy.sparse.coo_array((np.ones(len(start_E)), (start_E, end_E)), shape=(num_nodes, num_nodes))
    return one_way + one_way.T


def _with_account(
    adjacency: Any, ids: tuple[str, ...], positions_N2: np.ndarray | None, neighbours: GridNeighbours
) -> SensorGraph:
    account = GraphAccount(file="grid", kind=f"a grid, {neighbours} neighbours of a cell", given=adjacency.nnz)
    return SensorGraph(adjacency, ids, positions_N2, account)


def grid_ids(
    latitudes_Y: Sequence[float] | np.ndarray,
    longitudes_X: Sequence[float] | np.ndarray,
    *,
    mask_YX: np.ndarray | None = None,
) -> tuple[str, ...]:
    """The nodes' ids: "LATITUDE_LONGITUDE" in the file's degrees, to five decimals (about a metre): "52.5_-0.25"."""
    latitudes, longitudes = ([_coordinate(value) for value in values] for values in (latitudes_Y, longitudes_X))
    mask_YX = _checked_mask(mask_YX, (len(latitudes), len(longitudes)))
    return tuple(f"{latitudes[y]}_{longitudes[x]}" for y, x in np.argwhere(mask_YX))


def read_grid(
    path: str | Path, *, neighbours: GridNeighbours = 8, land_mask: str | Path | None = None, placed: bool = False
) -> SensorGraph:
    """The graph of the grid in a file: an .npz with latitude and longitude, or a NetCDF file with such coordinates.

    One-dimensional ones are axes (``from_grid``), two-dimensional ones the places of cells (``from_curved_grid``).

    NetCDF coordinates are known by their names (latitude or lat, longitude or lon) or units (degrees_north,
    degrees_east); classic and NetCDF-4 files are told apart by their first bytes.

    Args:
        placed: without a land mask, cells that have no place are left out, where they are an error otherwise.
    """
    path = Path(path)
    with naming_file(path):
        if (kind := netcdf_kind(path)) is not None:
            arrays = arrays_of_netcdf(path, kind)
        elif is_archive(path):
            arrays = {name: (array, "") for name, array in load_archive(path).items()}
        else:
            raise UserError("a grid is read from .npz (latitude, longitude) or NetCDF, and this is neither")
        latitude, longitude = _pick({name: found for name, found in arrays.items() if found[0].dtype.kind in "fiu"})
        mask_YX = None if land_mask is None else read_land_mask(land_mask)
        if latitude.ndim == 1:
            graph = from_grid(latitude, longitude, neighbours=neighbours, mask_YX=mask_YX)
        else:
            if placed and mask_YX is None:
                mask_YX = np.isfinite(latitude) & np.isfinite(longitude)
            graph = from_curved_grid(
                latitude.shape, latitude_YX=latitude, longitude_YX=longitude, neighbours=neighbours, mask_YX=mask_YX
            )
        assert graph.account is not None
        return graph.with_account(replace(graph.account, file=path.name))


def read_land_mask(path: str | Path) -> np.ndarray:
    """(Y, X) bool from a .npy file of booleans or of numbers that are all 0 or 1, else UserError."""
    path = Path(path)
    with naming_file(path):
        mask_YX = load_array(path)
        if mask_YX.ndim != 2 or mask_YX.dtype.kind not in "biuf" or not np.isin(mask_YX, (0, 1)).all():
            raise UserError(
                f"a land mask is a (latitude, longitude) array of booleans, got {mask_YX.dtype} {mask_YX.shape}"
            )
        return mask_YX.astype(bool)


def _coordinate(value: float) -> str:
    return np.format_float_positional(round(float(value), 5) + 0.0, trim="-")


def _steady(values: Sequence[float] | np.ndarray, what: Literal["latitudes", "longitudes"]) -> np.ndarray:
    steady = np.asarray(values, dtype=np.float64)
    if steady.ndim != 1 or steady.size == 0:
        raise UserError(f"{what} of a grid must be one row of numbers, got shape {steady.shape}")
    if not np.isfinite(steady).all():
        raise UserError(f"{what} of a grid must be finite")
    steps = np.diff(np.unwrap(steady, period=360) if what == "longitudes" else steady)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise UserError(f"{what} of a grid must rise or fall steadily, got {first_few(steady.tolist())}")
    if what == "longitudes" and abs(steps.sum()) > 360 + 1e-6:
        raise UserError(f"longitudes of a grid must not go around the globe twice, got {first_few(steady.tolist())}")
    return steady


def _goes_around(longitudes_X: np.ndarray) -> bool:
    # With two columns the neighbours to both sides are the same one.
    if len(longitudes_X) < 3:
        return False
    steps = np.abs(np.diff(np.unwrap(longitudes_X, period=360)))
    return bool(360 - steps.sum() <= 1.5 * steps.max())


def _closes(positions_YX2: np.ndarray) -> bool:
    """Whether the last column lies beside the first: no more than one and a half steps between columns away."""
    # With two columns the neighbours to both sides are the same one.
    if positions_YX2.shape[1] < 3:
        return False
    steps = haversine_km(positions_YX2[:, :-1], positions_YX2[:, 1:])
    seam = haversine_km(positions_YX2[:, -1], positions_YX2[:, 0])
    known = np.isfinite(seam)
    return bool(known.any() and np.median(seam[known]) <= 1.5 * np.nanmedian(steps))


def _checked_mask(mask_YX: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if mask_YX is None:
        return np.ones(shape, dtype=bool)
    mask_YX = np.asarray(mask_YX)
    if mask_YX.dtype != np.bool_ or mask_YX.shape != shape:
        raise UserError(
            f"the land mask must be booleans of shape (latitude, longitude) {shape}, got {mask_YX.dtype} "
            f"{mask_YX.shape}"
        )
    if not mask_YX.any():
        raise UserError("the land mask is false everywhere: the grid has no node")
    return mask_YX


def _pick(candidates: dict[str, tuple[np.ndarray, str]]) -> tuple[np.ndarray, np.ndarray]:
    """The latitudes and longitudes among named arrays with units: both axes, or both the places of cells."""
    for dimensions in (1, 2):
        picked = []
        for names, unit in ((LATITUDE_NAMES, r"degrees?_?n(orth)?"), (LONGITUDE_NAMES, r"degrees?_?e(ast)?")):
            rows = {name: (array, units) for name, (array, units) in candidates.items() if array.ndim == dimensions}
            named = [name for name in rows if plain_name(name) in names]
            named = named or [name for name, (_, units) in rows.items() if re.fullmatch(unit, units.strip().casefold())]
            if len(named) > 1:
                raise UserError(f"more than one {names[0]} among its arrays {first_few(candidates)}")
            picked += [rows[name][0] for name in named]
        if len(picked) == 2:
            return picked[0], picked[1]
    raise UserError(
        f"no latitude and longitude among its arrays {first_few(candidates)}; wanted one row or one grid called "
        f"{' or '.join(LATITUDE_NAMES)}, and one called {' or '.join(LONGITUDE_NAMES)}"
    )
