"""Where the readings of a dataset lie: stations, cells of a latitude/longitude grid, or cells at any places.

Shape legend: Y rows, X columns, N nodes, in row-major (Y, X) order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.data.cf.names import is_latitude, is_longitude, station_ids
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, cell_ids, from_curved_grid, from_grid

Nodes = tuple[tuple[str, ...], np.ndarray | None, SensorGraph | None]
"""ids, positions (N, 2) and graph"""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Places:
    """The dimensions of space of a dataset.

    Attributes:
        dims: one (stations) or two (rows and columns of a grid), in the order of the nodes; shape: their sizes.
        latitude, longitude: in degrees: of stations (N,), of axes (Y,) and (X,), of cells (Y, X); None: not known.
        ids: of stations; None: a grid.
        is_projected: rows and columns are steps of a map's projection, whose cells are neighbours.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    latitude: np.ndarray | None
    longitude: np.ndarray | None
    ids: tuple[str, ...] | None
    is_projected: bool

    @property
    def num_cells(self) -> int:
        """All nodes before a mask."""
        return int(np.prod(self.shape))

    def on_earth(self) -> np.ndarray | None:
        """(Y, X) bool: cells with a latitude and a longitude, which the corners of a map may lack; None: all have."""
        if len(self.shape) != 2 or self.latitude is None or self.longitude is None or self.latitude.ndim != 2:
            return None
        placed_YX = np.isfinite(self.latitude) & np.isfinite(self.longitude)
        return None if placed_YX.all() else placed_YX

    def nodes(self, config: GraphConfig, mask_YX: np.ndarray | None) -> Nodes:
        """The nodes where the mask is true, and of a grid its graph.

        Raises:
            UserError: a mask of another shape or without a node, axes that are not steady, cells without a place.
        """
        if len(self.shape) == 1:
            return self.ids or (), self.station_positions(), None
        shape = (self.shape[0], self.shape[1])
        if self.latitude is None or self.longitude is None:
            if not self.is_projected:
                return cell_ids(shape, mask_YX=mask_YX), None, None
            grid = from_curved_grid(shape, neighbours=config.grid_neighbours, mask_YX=mask_YX)
        elif self.latitude.ndim == 1:
            grid = from_grid(self.latitude, self.longitude, neighbours=config.grid_neighbours, mask_YX=mask_YX)
        else:
            grid = from_curved_grid(
                shape,
                latitude_YX=self.latitude,
                longitude_YX=self.longitude,
                neighbours=config.grid_neighbours,
                mask_YX=mask_YX,
            )
        return grid.ids, grid.positions_N2, grid

    def station_positions(self) -> np.ndarray | None:
        """(N, 2) float64 latitudes and longitudes; None: not known."""
        if self.latitude is None or self.longitude is None:
            return None
        return np.stack([self.latitude, self.longitude], axis=-1).astype(np.float64)

    def difference(self, other: "Places") -> str | None:
        """How another file's places differ from these, in words; None if they are the same."""
        if self.dims != other.dims or self.shape != other.shape:
            return f"{_sizes(other)} where that has {_sizes(self)}"
        if self.ids != other.ids:
            spare = sorted(set(self.ids or ()) ^ set(other.ids or ()))
            return f"other stations: {', '.join(spare[:5])} not in both" if spare else "its stations in another order"
        for what, one, two in (
            ("latitudes", self.latitude, other.latitude),
            ("longitudes", self.longitude, other.longitude),
        ):
            if (one is None) != (two is None):
                return f"{what} in one of them alone"
            if one is None or two is None:
                continue
            # The float32 and the float64 of one coordinate are the same place, to a metre or so.
            if one.shape != two.shape or not np.allclose(one, two, rtol=0, atol=2e-5, equal_nan=True):
                hint = ""
                if what == "longitudes" and np.allclose(np.sort(one % 360), np.sort(two % 360), rtol=0, atol=2e-5):
                    hint = ", the same meridians counted from elsewhere (0 to 360, -180 to 180)"
                return f"other {what}: {_span(two)} where that has {_span(one)}{hint}"
        return None


def places_of(dataset: xr.Dataset, space: list[Any]) -> Places:
    """The places on one or two dimensions; rows come before columns, whatever the file's order.

    Raises:
        UserError: more than two dimensions, or none.
    """
    latitude = next((dataset[name] for name in dataset.coords if is_latitude(dataset, name)), None)
    longitude = next((dataset[name] for name in dataset.coords if is_longitude(dataset, name)), None)
    if len(space) == 2:
        if latitude is not None and latitude.ndim == 2 and set(latitude.dims) == set(space):
            space = list(latitude.dims)
        elif latitude is not None and latitude.dims == (space[1],):
            space = space[::-1]
    dims = tuple(map(str, space))
    shape = tuple(dataset.sizes[dim] for dim in space)
    if len(space) == 2 and latitude is not None and longitude is not None and latitude.ndim == longitude.ndim == 1:
        known = latitude.dims == (space[0],) and longitude.dims == (space[1],)
    else:
        known = latitude is not None and longitude is not None and latitude.dims == longitude.dims == tuple(space)
    projected = [str(dataset[dim].attrs.get("standard_name", "")) if dim in dataset.coords else "" for dim in space]
    return Places(
        dims=dims,
        shape=shape,
        latitude=np.asarray(latitude.values, dtype=np.float64) if known and latitude is not None else None,
        longitude=np.asarray(longitude.values, dtype=np.float64) if known and longitude is not None else None,
        ids=station_ids(dataset, space[0]) if len(space) == 1 else None,
        is_projected=set(projected) == {"projection_x_coordinate", "projection_y_coordinate"},
    )


def _sizes(places: Places) -> str:
    return " x ".join(f"{size} {dim}" for dim, size in zip(places.dims, places.shape, strict=True))


def _span(degrees: np.ndarray) -> str:
    finite = degrees[np.isfinite(degrees)].reshape(-1)
    return f"{finite[0]:g} to {finite[-1]:g}" if finite.size else "none"


def require_grid_for_mask(places: Places, land_mask: str | None) -> None:
    """Raises UserError if there is a land mask and no grid."""
    if land_mask is not None and len(places.shape) == 1:
        raise UserError("--land-mask needs a grid of latitudes and longitudes, and this file holds stations")
