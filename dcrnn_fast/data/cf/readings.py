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
    readings_RNC: np.ndarray | None = None
    for name in fields.variables:
        indices = [c for c, channel in enumerate(fields.channels) if channel.variable == name]
        loaded_RNC = _loaded(dataset, fields, name, indices, rows)
        if readings_RNC is None:
            alone = len(indices) == len(fields.channels) and loaded_RNC.dtype == fields.dtype
            if alone and loaded_RNC.flags.writeable:  # not the file's own bytes: no second copy is needed
                readings_RNC = stacked_RNC = loaded_RNC
            else:
                readings_RNC = np.empty((*loaded_RNC.shape[:2], len(fields.channels)), dtype=fields.dtype)
        if readings_RNC is not loaded_RNC:
            stacked_RNC = readings_RNC[:, :, indices[0] : indices[-1] + 1]
            stacked_RNC[...] = loaded_RNC
        del loaded_RNC
        stacked_RNC[stacked_RNC == _DEFAULT_FILL] = np.nan
        if (valid := valid_range(dataset[name])) is not None:
            invalid_RNC = valid.excludes(stacked_RNC)
            stacked_RNC[invalid_RNC] = np.nan
            if outside is not None:
                outside[name] += int(np.count_nonzero(invalid_RNC))
    assert readings_RNC is not None
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
