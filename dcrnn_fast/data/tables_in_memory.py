"""Tables of pandas that are given in memory, read as fast as forecasts of small graphs need it.

Shape legend: T rows, N columns.
"""

from typing import Any

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

_kept_names: list[tuple[Any, tuple[str, ...]]] = []
"""the columns that were read last, and their names: tables come again and again with the same ones"""
_kept_columns: list[tuple[tuple[tuple[str, ...], ...], Any]] = []
"""what ``column_index`` made last, and of what: a hash of all ids takes longer than to see that they are the same"""


def column_names(table: Any) -> tuple[str, ...] | None:
    """The names of a table's columns as texts; None if it is no table."""
    columns = getattr(table, "columns", None)
    if columns is None:
        return None
    if type(columns).__module__.partition(".")[0] != "pandas":
        return tuple(map(str, columns))
    # An index of pandas never changes, so the same one has the same names.
    for kept, names in _kept_names:
        if kept is columns or kept.equals(columns):
            return names
    names = tuple(map(str, columns.tolist()))
    _kept_names[:] = [(columns, names)]
    return names


def array_of(readings: Any, what: str = "readings") -> np.ndarray:
    """The readings as numpy has them; of a table of one dtype they are a view.

    Raises:
        UserError: they are lists of different lengths; ``what`` begins the message.
    """
    if column_names(readings) is not None:
        return readings.to_numpy()
    try:
        return np.asarray(readings)
    except ValueError as error:
        raise UserError(f"{what} must be an array of numbers: {one_line(error)}") from error


def column_index(values: tuple[str, ...], channels: tuple[str, ...], ids: tuple[str, ...]) -> Any:
    """The columns of a table with one for each sensor, below channels if there are several of these, and below kinds of
    values if there are several; a view, for an index has a name that its user may change.
    """
    key = values, channels, ids
    for kept, columns in _kept_columns:
        if kept == key:
            return columns.view()
    columns = _made_columns(*key)
    _kept_columns[:] = [(key, columns)]
    return columns.view()


def _made_columns(values: tuple[str, ...], channels: tuple[str, ...], ids: tuple[str, ...]) -> Any:
    import pandas as pd

    levels = {"value": values, "channel": channels, "id": ids}
    several = {name: texts for name, texts in levels.items() if name == "id" or len(texts) > 1}
    if len(several) == 1:
        return pd.Index(ids, name="id")
    return pd.MultiIndex.from_product(list(several.values()), names=list(several))
