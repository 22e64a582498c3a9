"""The time dimension of a dataset and its times.

Shape legend: T time.
"""

from typing import Any

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.cf_times import cf_times, require_date
from dcrnn_fast.data.number_times import number_times
from dcrnn_fast.data.timestamps import Stamps, parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.tables import plain_name

_STEP_NAMES = ("step", "leadtime", "forecastperiod")


def counts_since(variable: xr.DataArray) -> bool:
    """Whether a variable holds times since a date."""
    return " since " in str(variable.attrs.get("units", ""))


def time_dimension(dataset: xr.Dataset) -> str:
    """The one dimension that has times.

    Raises:
        UserError: none or several, or forecasts, whose times are a start and a step.
    """
    found = [
        name
        for name in map(str, dataset.dims)
        if name in dataset.coords and (counts_since(dataset[name]) or plain_name(name) in ("time", "date"))
    ]
    if len(found) != 1:
        raise UserError(
            f"wanted one time dimension with times, found {first_few(found)} among {first_few(dataset.dims)}"
        )
    for dim in map(str, dataset.dims):
        if plain_name(dim) in _STEP_NAMES and dataset.sizes[dim] > 1:
            raise UserError(
                f"holds forecasts: {dataset.sizes[dim]} steps ({dim}) from each of its times ({found[0]}); choose one "
                "step, or write them with one dimension of the times that they are for"
            )
    return found[0]


def stamps_on(dataset: xr.Dataset, dim: str, data: DataConfig) -> Stamps | None:
    """The times on a dimension; None if they are a plain count, to be counted from a start.

    Raises:
        UserError: they are none, or the dimension is empty.
    """
    if dataset.sizes[dim] == 0:
        raise UserError(f"its dimension {dim} is empty")
    # Files from GRIB: the start of a forecast on the dimension, and beside it the time that each reading is for.
    valid = [
        name
        for name in dataset.variables
        if plain_name(str(name)) == "validtime" and dataset[name].dims == (dim,) and counts_since(dataset[name])
    ]
    return stamps_in(dataset[valid[0] if valid else dim].load(), data)


def stamps_in(axis: xr.DataArray, data: DataConfig) -> Stamps | None:
    """The times that a variable of any shape holds, flattened; None if they are a plain count.

    Raises:
        UserError: they are none.
    """
    values_T, attributes = np.asarray(axis.values).reshape(-1), axis.attrs
    units = str(attributes.get("units", ""))
    if values_T.dtype.kind in "SUO":
        return parse_times([_text(value) for value in values_T.tolist()])
    if " since " in units:
        return cf_times(values_T, units, str(attributes.get("calendar", "standard")))
    require_date(units)
    return number_times(values_T, f"its {axis.name} (without units such as 'hours since 2000-01-01')", data)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
