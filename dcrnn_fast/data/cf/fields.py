"""The channels of a dataset: which variables are readings, over which times and places, and which levels of them.

Shape legend: T time, N nodes, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.cf.names import VERSION_NAMES, is_level
from dcrnn_fast.data.cf.places import Places, places_of
from dcrnn_fast.data.cf.ranges import RANGE_ATTRIBUTES, valid_range
from dcrnn_fast.data.cf.times import stamps_on, time_dimension
from dcrnn_fast.data.table_columns import bounded_by
from dcrnn_fast.data.timestamps import Stamps
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few
from dcrnn_fast.reading.tables import plain_name

FLAG_ATTRIBUTES = frozenset(("flag_values", "flag_masks", "flag_meanings"))
_GAP_ATTRIBUTES = ("_FillValue", "missing_value", *RANGE_ATTRIBUTES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One channel: a variable, or one level of it.

    Attributes:
        level: the index on ``level_dim``; both None if the variable has no levels.
    """

    name: str
    unit: str
    variable: str
    level_dim: str | None = None
    level: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fields:
    """What a dataset holds.

    Attributes:
        stamps: None if the file has no times, but counts them.
        channels: C of them; those of one variable follow each other.
        dtype: of the readings: float32 or float64.
        marks_gaps: the file declares the value of a missing reading, or a range of valid ones.
        flags: variables over time and the same places that hold flags.
        time_chunk: rows that the file keeps together; 1 if it does not say.
        notes: doubts, without the file's name.
    """

    time_dim: str
    num_steps: int
    stamps: Stamps | None
    channels: tuple[Channel, ...]
    places: Places
    dtype: np.dtype
    marks_gaps: bool
    flags: tuple[str, ...]
    time_chunk: int
    notes: tuple[str, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the channels, each once, in order."""
        return tuple(dict.fromkeys(channel.variable for channel in self.channels))


def fields_of(dataset: xr.Dataset, data: DataConfig) -> Fields:
    """The chosen variables (left out: all numeric ones over time and space), and what else their reading needs.

    Args:
        dataset: with its times not decoded, after ``with_coordinates``.

    Raises:
        UserError: no time dimension, no such variable (those there are listed), variables over different places.
    """
    time_dim = time_dimension(dataset)
    stamps = stamps_on(dataset, time_dim, data)
    usable = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if time_dim in variable.dims and variable.ndim > 1 and variable.dtype.kind in "fiu"
    ]
    flags = tuple(name for name in usable if set(dataset[name].attrs) & FLAG_ATTRIBUTES)
    bounds = [name for name in usable if bounded_by(name) in usable]
    names = chosen_variables(data.variables, usable) or [name for name in usable if name not in (*flags, *bounds)]
    if not names:
        raise UserError(f"no variable over {time_dim} and space among {first_few(dataset.data_vars, 20)}")
    for name in names:
        if empty := [dim for dim in dataset[name].dims if dataset.sizes[dim] == 0]:
            raise UserError(f"its dimension {empty[0]} is empty")
    spaces = {name: _space(dataset, name, time_dim) for name in names}
    if other := [name for name in names if set(spaces[name]) != set(spaces[names[0]])]:
        raise UserError(
            f"variables {names[0]} and {other[0]} have different dimensions {dataset[names[0]].dims} and "
            f"{dataset[other[0]].dims}: choose with --variables"
        )
    channels = [channel for name in names for channel in _levels(dataset, name, time_dim, spaces[name])]
    if data.variables:
        known = {name for channel in channels for name in (channel.name, channel.variable)}
        if unknown := [name for name in data.variables if name not in known]:
            raise UserError(f"no level {first_few(unknown)}; there are {first_few([c.name for c in channels], 20)}")
        channels = [one for one in channels if {one.name, one.variable} & set(data.variables)]
    said = tuple(
        f"{first_few(left)} {what}, no readings, and are left out"
        for left, what in ((flags, "hold flags"), (bounds, "are bounds of intervals"))
        if left and not data.variables
    )
    chunks = [_time_chunk(dataset[name], time_dim) for name in names]
    return Fields(
        time_dim=time_dim,
        num_steps=dataset.sizes[time_dim],
        stamps=stamps,
        channels=tuple(channels),
        places=places_of(dataset, spaces[names[0]]),
        dtype=np.result_type(np.float32, *(_float_for(dataset[name].dtype) for name in names)),
        marks_gaps=any(_declares_gaps(dataset[name]) for name in names),
        flags=tuple(name for name in flags if set(dataset[name].dims) == {time_dim, *spaces[names[0]]}),
        time_chunk=max(chunks),
        notes=(*said, *_versions_said(dataset, time_dim), *_ranges_said(dataset, names)),
    )


def chosen_variables(wanted: tuple[str, ...], usable: list[str]) -> list[str]:
    """The variables of names such as t, or t_500 for a level of t, in the order wanted, each once."""
    chosen = [name if name in usable else name.rpartition("_")[0] for name in wanted]
    if unknown := [name for name, variable in zip(wanted, chosen, strict=True) if variable not in usable]:
        raise UserError(f"no variable {first_few(unknown)} over time; the variables are {first_few(usable, 20)}")
    return list(dict.fromkeys(chosen))


def _space(dataset: xr.Dataset, name: str, time_dim: str) -> list[Any]:
    """The dimensions of a variable's places: those that are no time, levels or versions, and longer than 1."""
    dims = [dim for dim in dataset[name].dims if dim != time_dim]
    longer = [dim for dim in dims if dataset.sizes[dim] > 1 and plain_name(str(dim)) not in VERSION_NAMES]
    flat = [dim for dim in longer if not is_level(dataset, dim)]
    space = flat or longer or dims[-1:]
    if len(space) > 2:
        raise UserError(
            f"variable {name} must lie over time and one or two dimensions of space, got {dataset[name].dims} "
            f"{dataset[name].shape}"
        )
    return space


def _levels(dataset: xr.Dataset, name: str, time_dim: str, space: list[Any]) -> list[Channel]:
    """A channel for each level: t_500, t_850; or the variable itself."""
    variable = dataset[name]
    unit = str(variable.attrs.get("units", ""))
    over = [
        dim
        for dim in variable.dims
        if dim not in (time_dim, *space) and dataset.sizes[dim] > 1 and plain_name(str(dim)) not in VERSION_NAMES
    ]
    if not over:
        return [Channel(name=name, unit=unit, variable=name)]
    if len(over) > 1:
        raise UserError(
            f"variable {name} must lie over time, space and one dimension of levels, got {variable.dims} "
            f"{variable.shape}"
        )
    dim = str(over[0])
    labels = dataset[dim].values.tolist() if dim in dataset.coords else range(dataset.sizes[dim])
    texts = [f"{label:g}" if isinstance(label, (int, float)) else str(label) for label in labels]
    return [
        Channel(name=f"{name}_{text}", unit=unit, variable=name, level_dim=dim, level=k) for k, text in enumerate(texts)
    ]


def _float_for(dtype: np.dtype) -> np.dtype:
    """float32 if it holds every value of a type, else float64."""
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32) else np.float64)


def _declares_gaps(variable: xr.DataArray) -> bool:
    return any(key in variable.encoding or key in variable.attrs for key in _GAP_ATTRIBUTES)


def _time_chunk(variable: xr.DataArray, time_dim: str) -> int:
    kept = variable.encoding.get("preferred_chunks") or {}
    return int(kept.get(time_dim, 1)) if isinstance(kept, dict) else 1


def _versions_said(dataset: xr.Dataset, time_dim: str) -> tuple[str, ...]:
    """A note on the readings of ERA5T, ERA5's preliminary form."""
    if merged := [dim for dim in dataset.dims if plain_name(str(dim)) in VERSION_NAMES and dataset.sizes[dim] > 1]:
        return (f"ERA5 and ERA5T ({merged[0]}) are merged: the first version of a reading that is not missing counts",)
    found = [
        name for name in dataset.coords if plain_name(str(name)) in VERSION_NAMES and dataset[name].dims == (time_dim,)
    ]
    if not found:
        return ()
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[found[0]].values.tolist()]
    early = [row for row, text in enumerate(texts) if text.strip("\0 ").lstrip("0") == "5"]
    if not early:
        return ()
    return (f"{counted(len(early), 'row')} of {len(texts)} are ERA5T ({found[0]} 0005), which ERA5 may replace later",)


def _ranges_said(dataset: xr.Dataset, names: list[str]) -> tuple[str, ...]:
    """A note on each valid range that cannot be applied."""
    notes = []
    for name in names:
        attributes = dataset[name].attrs
        if RANGE_ATTRIBUTES & set(attributes) and valid_range(dataset[name]) is None:
            low, high = attributes.get("valid_min", -np.inf), attributes.get("valid_max", np.inf)
            declared = attributes.get("valid_range", f"{low} to {high}")
            notes.append(f"{name} declares a valid range that holds no numbers ({declared}): not applied")
    return tuple(notes)
