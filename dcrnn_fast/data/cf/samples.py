"""How a file lays out the readings of stations that each have times of their own, and some of those readings.

Shape legend: S samples (readings of one piece), N stations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from dcrnn_fast.data.cf.times import counts_since
from dcrnn_fast.data.cf_times import NO_TIME, cf_times
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError

_AT_ONCE = 1 << 14
"""samples of a piece: short enough that a long series of one station is several pieces of different times"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file lays out its samples.

    Attributes:
        dims: of the variables of readings: (samples,), or the station and its samples in the file's order.
        station_dim: the dimension of stations.
        time: the variable of times, on ``dims``.
        helper: the variable of counts or of indices; None: an incomplete array.
        own: variables that are no readings.
    """

    kind: Literal["contiguous", "indexed", "incomplete"]
    dims: tuple[str, ...]
    station_dim: str
    time: str
    helper: str | None
    own: tuple[str, ...]


@dataclass(eq=False, slots=True)
class Piece:
    """Some samples that follow each other in the file.

    Attributes:
        picks: the ranges on the dimensions of the readings.
        stations: gives the station of each (S,), int64; None: the file's indices do.
        first, last: their times' span; None until it is known, or if no sample has a time.
    """

    layout: Layout
    picks: dict[str, slice]
    stations: Callable[[], np.ndarray] | None
    num_stations: int
    first: np.datetime64 | None = None
    last: np.datetime64 | None = None

    def stations_and_times(self, dataset: xr.Dataset) -> tuple[np.ndarray, Stamps, int]:
        """(S,) int64 and the times of the samples that have both, and how many have not: the ends of an incomplete
        array's rows, which hold nothing, do not count.

        Raises:
            UserError: times that are none, an index without a station.
        """
        stations_S, known_S, numbers_S = self._read(dataset)
        attributes = dataset[self.layout.time].attrs
        units, calendar = str(attributes.get("units", "")), str(attributes.get("calendar", "standard"))
        stamps = cf_times(numbers_S[known_S], units, calendar)
        return stations_S[known_S], stamps, self._lost(known_S)

    def _lost(self, known_S: np.ndarray) -> int:
        if self.layout.kind != "incomplete":
            return int(np.count_nonzero(~known_S))
        known = known_S.reshape([self.picks[dim].stop - self.picks[dim].start for dim in self.layout.dims])
        if self.layout.dims[0] != self.layout.station_dim:
            known = known.T
        last = known.shape[1] - np.argmax(known[:, ::-1], axis=1)
        return int((last - known.sum(axis=1))[known.any(axis=1)].sum())

    def values(self, dataset: xr.Dataset, name: str) -> np.ndarray:
        """The readings of one variable of the samples that ``stations_and_times`` gives."""
        return self._flat(dataset, name)[self._read(dataset)[1]]

    def _read(self, dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stations, whether station and time are known, and the times' numbers."""
        numbers_S = self._flat(dataset, self.layout.time)
        known_S = np.isfinite(numbers_S) if numbers_S.dtype.kind == "f" else numbers_S != NO_TIME
        if self.stations is not None:
            return self.stations(), known_S, numbers_S
        indices_S = self._flat(dataset, str(self.layout.helper)).astype(np.float64)
        known_S &= np.isfinite(indices_S) & (indices_S >= 0)
        stations_S = np.where(known_S, indices_S, 0).astype(np.int64)
        if len(stations_S) and stations_S.max() >= self.num_stations:
            raise UserError(
                f"{self.layout.helper} names station {stations_S.max()}, counted from 0, and there are "
                f"{self.num_stations}"
            )
        return stations_S, known_S, numbers_S

    def _flat(self, dataset: xr.Dataset, name: str) -> np.ndarray:
        variable = dataset[name]
        picks = {dim: rows for dim, rows in self.picks.items() if dim in variable.dims}
        return np.asarray(variable.isel(picks).values).reshape(-1)


def layout_of(dataset: xr.Dataset) -> Layout | None:
    """The layout of a ragged or incomplete array; None if the dataset is neither.

    Raises:
        UserError: several, or one without times.
    """
    counts = [name for name in dataset.variables if "sample_dimension" in dataset[name].attrs]
    indices = [name for name in dataset.variables if "instance_dimension" in dataset[name].attrs]
    helpers = [*counts, *indices]
    if len(helpers) > 1:
        raise UserError(f"{helpers[0]} and {helpers[1]} both say whose its readings are: wanted one")
    if helpers:
        helper = dataset[helpers[0]]
        if counts:
            sample_dim, station_dim = str(helper.attrs["sample_dimension"]), str(*helper.dims[:1])
        else:
            sample_dim, station_dim = str(*helper.dims[:1]), str(helper.attrs["instance_dimension"])
        for dim in (sample_dim, station_dim):
            if dim not in dataset.sizes:
                raise UserError(f"{helpers[0]} names the dimension {dim}, which is not there")
        dims: tuple[str, ...] = (sample_dim,)
        times = _times_on(dataset, dims)
    else:
        times = [name for name in dataset.variables if dataset[name].ndim == 2 and counts_since(dataset[name])]
        if not times or dataset.sizes.keys() & {"step", "forecast_period"}:
            return None
        dims = tuple(map(str, dataset[times[0]].dims))
        station_dim = _station_dim(dataset, dims)
    if not times:
        raise UserError(f"its readings over {dims[0]} have no times ('hours since 2000-01-01')")
    return Layout(
        kind="contiguous" if counts else "indexed" if indices else "incomplete",
        dims=dims,
        station_dim=station_dim,
        time=str(times[0]),
        helper=str(helpers[0]) if helpers else None,
        own=(*map(str, helpers), *map(str, times)),
    )


def _times_on(dataset: xr.Dataset, dims: tuple[str, ...]) -> list[Any]:
    found = [name for name in dataset.variables if dataset[name].dims == dims and counts_since(dataset[name])]
    return sorted(found, key=lambda name: str(dataset[name].attrs.get("standard_name", "")) != "time")


def _station_dim(dataset: xr.Dataset, dims: tuple[str, ...]) -> str:
    """Which of two dimensions is the stations': the one that other variables without the other lie on."""
    for dim in dims:
        if any(
            str(dataset[name].attrs.get("cf_role", "")) == "timeseries_id" and dim in dataset[name].dims
            for name in dataset.variables
        ):
            return dim
    return dims[0]


def pieces_of(dataset: xr.Dataset, layout: Layout) -> list[Piece]:
    """All samples in the file's order, some at a time.

    Raises:
        UserError: counts that are not those of the samples.
    """
    num_stations = dataset.sizes[layout.station_dim]
    if layout.kind == "incomplete":
        return list(_rows_of_stations(dataset, layout, num_stations))
    (dim,) = layout.dims
    total = dataset.sizes[dim]
    ranges = [slice(start, min(start + _AT_ONCE, total)) for start in range(0, total, _AT_ONCE)]
    if layout.kind == "indexed":
        return [Piece(layout, {dim: rows}, None, num_stations) for rows in ranges]
    counts_N = np.nan_to_num(np.asarray(dataset[layout.helper].values, dtype=np.float64)).astype(np.int64)
    if (counts_N < 0).any() or counts_N.sum() != total:
        raise UserError(
            f"{layout.helper} counts {counts_N.sum():,} readings, and there are {total:,}: is the file truncated?"
        )
    ends_N = np.cumsum(counts_N)
    return [Piece(layout, {dim: rows}, partial(_stations_by_count, ends_N, rows), num_stations) for rows in ranges]


def _stations_by_count(ends_N: np.ndarray, rows: slice) -> np.ndarray:
    return np.searchsorted(ends_N, np.arange(rows.start, rows.stop), side="right").astype(np.int64)


def _rows_of_stations(dataset: xr.Dataset, layout: Layout, num_stations: int) -> list[Piece]:
    sample_dim = next(dim for dim in layout.dims if dim != layout.station_dim)
    length = dataset.sizes[sample_dim]
    pieces = []
    step = max(1, _AT_ONCE // max(length, 1))
    for start in range(0, num_stations, step):
        stations = slice(start, min(start + step, num_stations))
        for first in range(0, length, _AT_ONCE):
            samples = slice(first, min(first + _AT_ONCE, length))
            picks = {layout.station_dim: stations, sample_dim: samples}
            named = partial(_stations_by_row, stations, samples, layout.dims[0] == layout.station_dim)
            pieces.append(Piece(layout, picks, named, num_stations))
    return pieces


def _stations_by_row(stations: slice, samples: slice, are_rows: bool) -> np.ndarray:
    indices = np.arange(stations.start, stations.stop)
    length = samples.stop - samples.start
    return np.repeat(indices, length) if are_rows else np.tile(indices, length)
