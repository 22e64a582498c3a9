"""Stations of CF files whose readings stand one after the other (ragged arrays), or each over its own times.

Contiguous ragged arrays give the number of each station's readings (``sample_dimension``), indexed ones the station of
each reading (``instance_dimension``), incomplete arrays a row of times for each station (CF 9.3). Stations that share
their times are a common array, which ``fields.py`` reads.

Shape legend: S samples (readings of one piece), T time, R rows, N stations, C channels.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.cf.fields import FLAG_ATTRIBUTES, chosen_variables
from dcrnn_fast.data.cf.names import names_stations, station_ids
from dcrnn_fast.data.cf.places import places_of
from dcrnn_fast.data.cf.ranges import valid_range
from dcrnn_fast.data.cf.samples import Piece, layout_of, pieces_of
from dcrnn_fast.data.cf.times import counts_since
from dcrnn_fast.data.pieces import rows_at_once
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

_NO_SERIES = {
    "point": "single readings at changing places",
    "trajectory": "readings along a path",
    "profile": "readings along the vertical at one time",
    "trajectoryprofile": "profiles along a path",
}
"""feature types that are no series of stations, in words"""
_DEFAULT_FILL = 9.969209968386869e36


@dataclass(eq=False, slots=True)
class _Found:
    """What one reading of all times finds: the common times, and each station's first, last and number of them."""

    times_T: np.ndarray
    first_N: np.ndarray
    last_N: np.ndarray
    count_N: np.ndarray
    in_utc: bool | None
    zone: str | None
    timeless: int


def feature_type(dataset: xr.Dataset) -> str:
    """The CF feature type in small letters; "" if the file names none."""
    named = next((dataset.attrs[key] for key in dataset.attrs if str(key).casefold() == "featuretype"), "")
    return str(named).casefold().replace("_", "").replace(" ", "")


def with_station(dataset: xr.Dataset) -> xr.Dataset:
    """The series of one station without a dimension for it, with one.

    Raises:
        UserError: the file's feature type is no series of stations.
    """
    kind = feature_type(dataset)
    if kind in _NO_SERIES:
        raise UserError(
            f"its featureType is {kind}: {_NO_SERIES[kind]}, which is no series of sensors; wanted timeSeries, or a "
            "grid"
        )
    scalars = [name for name in dataset.coords if names_stations(dataset[name]) and dataset[name].ndim == 0]
    if kind != "timeseries" and not scalars:
        return dataset
    times = [dim for dim in dataset.dims if dim in dataset.coords and counts_since(dataset[dim])]
    if len(times) != 1 or layout_of(dataset) is not None or any(v.ndim > 1 for v in dataset.data_vars.values()):
        return dataset
    alone = [name for name, variable in dataset.data_vars.items() if variable.dims == (times[0],)]
    dataset = dataset.assign({name: dataset[name].expand_dims("station", axis=1) for name in alone})
    places = [name for name in dataset.coords if dataset[name].ndim == 0]
    return dataset.assign_coords({name: dataset[name].expand_dims("station") for name in places})


def open_stations(
    dataset: xr.Dataset,
    where: str,
    data: DataConfig,
    opened: Callable[[], AbstractContextManager[xr.Dataset]],
    told: Callable[[], AbstractContextManager[None]],
) -> Blocks | None:
    """The stations of a ragged or incomplete array on their common times; None if the file holds none.

    Args:
        opened: opens the dataset again.
        told: names the file in errors of reading it.

    Raises:
        UserError: counts or indices that do not fit, no such variable.
    """
    with told():
        layout = layout_of(dataset)
        if layout is None:
            return None
        usable = [
            str(name)
            for name, variable in dataset.data_vars.items()
            if variable.dims == layout.dims and variable.dtype.kind in "fiu" and name not in layout.own
        ]
        flags = [name for name in usable if FLAG_ATTRIBUTES & set(dataset[name].attrs)]
        names = chosen_variables(data.variables, usable) or [name for name in usable if name not in flags]
        if not names:
            raise UserError(f"no variable over {first_few(layout.dims)} among {first_few(dataset.data_vars, 20)}")
        ids = station_ids(dataset, layout.station_dim)
        pieces = pieces_of(dataset, layout)
        found = _search(dataset, pieces, len(ids))
        notes = [*_account(found, ids), *_ranges(dataset, names)]
        places = places_of(dataset, [layout.station_dim])
        units = tuple(str(dataset[name].attrs.get("units", "")) for name in names)
        dtype = np.result_type(
            np.float32, *(np.float32 if np.can_cast(dataset[name].dtype, np.float32) else np.float64 for name in names)
        )
    if flags and not data.variables:
        notes.append(f"{first_few(flags)} hold flags, no readings, and are left out")

    def read() -> Iterator[np.ndarray]:
        with opened() as again:
            yield from _blocks(again, pieces, names, ids, found.times_T, np.dtype(dtype), told)

    return Blocks(
        stamps=Stamps(found.times_T, found.in_utc, found.zone),
        ids=ids,
        channels=tuple(names),
        units=units,
        where=where,
        read=read,
        positions_N2=places.station_positions(),
        notes=tuple(f"look: {where}: {note}" for note in notes),
    )


def _search(dataset: xr.Dataset, pieces: list[Piece], num_stations: int) -> _Found:
    """The times of all pieces; each gets its span."""
    far = np.datetime64(np.iinfo(np.int64).max, "s")
    found = _Found(
        times_T=np.array([], "datetime64[s]"),
        first_N=np.full(num_stations, far),
        last_N=np.full(num_stations, -far.astype(np.int64)).astype("datetime64[s]"),
        count_N=np.zeros(num_stations, dtype=np.int64),
        in_utc=None,
        zone=None,
        timeless=0,
    )
    for piece in pieces:
        stations_S, stamps, timeless = piece.stations_and_times(dataset)
        found.timeless += timeless
        if not len(stations_S):
            continue
        piece.first, piece.last = stamps.times_T.min(), stamps.times_T.max()
        found.in_utc, found.zone = stamps.in_utc, stamps.zone
        found.times_T = np.union1d(found.times_T, stamps.times_T)
        np.minimum.at(found.first_N, stations_S, stamps.times_T)
        np.maximum.at(found.last_N, stations_S, stamps.times_T)
        found.count_N += np.bincount(stations_S, minlength=num_stations)
    if not len(found.times_T):
        raise UserError("holds no reading with a time")
    return found


def _account(found: _Found, ids: tuple[str, ...]) -> list[str]:
    """What was joined on the common times, and what is not there."""
    total, times_T = int(found.count_N.sum()), found.times_T
    share = total / (len(times_T) * len(ids))
    notes = [
        f"{total:,} readings of {len(ids)} stations are joined on {len(times_T):,} common times ({share:.1%} of them "
        "are there, the others are missing)"
    ]
    seen_N = found.count_N > 0
    if empty := [ids[n] for n in np.flatnonzero(~seen_N)]:
        notes.append(f"{len(empty)} station(s) without a reading: {first_few(empty)}")
    late_N = seen_N & ((found.first_N > times_T[0]) | (found.last_N < times_T[-1]))
    if short := [ids[n] for n in np.flatnonzero(late_N)]:
        notes.append(
            f"{len(short)} station(s) begin after {times_T[0]} or end before {times_T[-1]}: {first_few(short)}"
        )
    if found.timeless:
        notes.append(f"{found.timeless:,} readings without a time or a station are left out")
    return notes


def _ranges(dataset: xr.Dataset, names: list[str]) -> list[str]:
    ranges = {name: valid_range(dataset[name]) for name in names}
    return [f"readings of {name} outside its valid range ({one}) are missing" for name, one in ranges.items() if one]


def _blocks(
    dataset: xr.Dataset,
    pieces: list[Piece],
    names: list[str],
    ids: tuple[str, ...],
    times_T: np.ndarray,
    dtype: np.dtype,
    told: Callable[[], AbstractContextManager[None]],
) -> Iterator[np.ndarray]:
    """(R, N, C): each piece that has a time among the rows is read for them."""
    ranges = [valid_range(dataset[name]) for name in names]
    count = rows_at_once((1, len(ids), len(names)))
    for start in range(0, len(times_T), count):
        block_T = times_T[start : start + count]
        readings_RNC = np.full((len(block_T), len(ids), len(names)), np.nan, dtype=dtype)
        taken_RN = np.zeros(readings_RNC.shape[:2], dtype=bool)
        for piece in pieces:
            if piece.first is None or piece.last is None or piece.last < block_T[0] or piece.first > block_T[-1]:
                continue
            with told():
                stations_S, stamps, _ = piece.stations_and_times(dataset)
                inside_S = (stamps.times_T >= block_T[0]) & (stamps.times_T <= block_T[-1])
                rows_S = np.searchsorted(block_T, stamps.times_T[inside_S])
                stations_S = stations_S[inside_S]
                _require_once(taken_RN, rows_S, stations_S, ids, block_T)
                for c, (name, valid) in enumerate(zip(names, ranges, strict=True)):
                    values_S = piece.values(dataset, name)[inside_S].astype(dtype)
                    values_S[values_S == _DEFAULT_FILL] = np.nan
                    if valid is not None:
                        values_S[valid.excludes(values_S)] = np.nan
                    readings_RNC[rows_S, stations_S, c] = values_S
        yield readings_RNC


def _require_once(
    taken_RN: np.ndarray, rows_S: np.ndarray, stations_S: np.ndarray, ids: tuple[str, ...], block_T: np.ndarray
) -> None:
    """Marks the places of readings.

    Raises:
        UserError: a station has two readings of one time.
    """
    places_S = rows_S * taken_RN.shape[1] + stations_S
    again_S = taken_RN.reshape(-1)[places_S]
    _, first_S, counts = np.unique(places_S, return_index=True, return_counts=True)
    wrong: Any = np.concatenate([np.flatnonzero(again_S), first_S[counts > 1]])
    if wrong.size:
        row, station = divmod(int(places_S[wrong[0]]), taken_RN.shape[1])
        raise UserError(f"station {ids[station]} has two readings of {block_T[row]}: leave one out")
    taken_RN.reshape(-1)[places_S] = True
