"""The readings of some rows of a dataset, with NaN where they are missing.

Shape legend: R rows, N nodes, C channels.
"""

from collections import Counter

import numpy as np
import xarray as xr

from dcrnn_fast.data.cf.fields import Fields
from dcrnn_fast.data.cf.names import VERSION_NAMES
from dcrnn_fast.data.cf.ranges import valid_range
from dcrnn_fast.reading.tables import plain_name

_DEFAULT_FILL = 9.969209968386869e36
"""the NetCDF library's value of floats that were never written"""


def rows_of(dataset: xr.Dataset, fields: Fields, rows: slice, outside: Counter[str] | None = None) -> np.ndarray:
    """(R, N, C) of ``fields.dtype``: all cells, before a mask.

    Missing is what the file declares (fill value, valid range), and floats that were never written. Of a dimension of
    versions the first reading that is not missing counts.

    Args:
        outside: gets the number of readings outside each variable's valid range.
    """
    readings_RNC = np.empty((rows.stop - rows.start, fields.places.num_cells, len(fields.channels)), dtype=fields.dtype)
    for name in fields.variables:
        indices = [c for c, channel in enumerate(fields.channels) if channel.variable == name]
        stacked_RNC = readings_RNC[:, :, indices[0] : indices[-1] + 1]
        stacked_RNC[...] = _loaded(dataset, fields, name, indices, rows)
        stacked_RNC[stacked_RNC == _DEFAULT_FILL] = np.nan
        if (valid := valid_range(dataset[name])) is not None:
            invalid_RNC = valid.excludes(stacked_RNC)
            stacked_RNC[invalid_RNC] = np.nan
            if outside is not None:
                outside[name] += int(np.count_nonzero(invalid_RNC))
    return readings_RNC


def _loaded(dataset: xr.Dataset, fields: Fields, name: str, indices: list[int], rows: slice) -> np.ndarray:
    """(R, N, levels) of one variable."""
    variable = dataset[name].isel({fields.time_dim: rows})
    level_dim = fields.channels[indices[0]].level_dim
    if level_dim is not None:
        levels = [fields.channels[c].level for c in indices]
        if levels != list(range(dataset.sizes[level_dim])):
            variable = variable.isel({level_dim: levels})
    kept = (fields.time_dim, *fields.places.dims, *([] if level_dim is None else [level_dim]))
    versions = [dim for dim in variable.dims if dim not in kept and plain_name(str(dim)) in VERSION_NAMES]
    single = [dim for dim in variable.dims if dim not in (*kept, *versions)]
    variable = variable.squeeze(single, drop=True).transpose(*versions, *kept)
    array = variable.values
    if versions:
        # ERA5 (1) before ERA5T (5), in whichever order the file has them.
        order = np.argsort(dataset[versions[0]].values) if versions[0] in dataset.coords else np.arange(len(array))
        merged = array[order[0]].astype(fields.dtype)
        for other in array[order[1:]]:
            np.copyto(merged, other, where=np.isnan(merged), casting="same_kind")
        array = merged
    return array.reshape(len(array), fields.places.num_cells, -1)
