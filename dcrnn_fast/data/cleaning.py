"""Raw readings to values and the mask of those that were observed, for a whole series or some rows of one.

Shape legend: R rows, N sensors, C channels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dcrnn_fast.data.timestamps import NameRow
from dcrnn_fast.errors import UserError


class Cleaned(NamedTuple):
    """Some rows of readings (R, N, C).

    Attributes:
        values_RNC: float32, 0 where missing.
        observed_RNC: bool.
        rest_RNC: float32, each reading's remainder beyond its value; None: float32 holds all of these.
    """

    values_RNC: np.ndarray
    observed_RNC: np.ndarray
    rest_RNC: np.ndarray | None


def rule_for(pieces: Iterable[np.ndarray], *, marks_gaps: bool) -> str:
    """The rule for missing readings if neither user nor data set gives one: "nan" or "zero".

    Zeros are readings in a file that marks gaps itself, and among readings of both signs, which pass through 0 (one
    negative number alone, such as -9999, is no reading); a file without a zero gets "nan" too, for later data. Only
    zeros at the lower end without any mark are taken for gaps, as in METR-LA.

    Args:
        pieces: the readings, in pieces of any shape; no more of them is asked for than it takes.
    """
    if marks_gaps:
        return "nan"
    has_zero, low, high = False, np.inf, -np.inf
    for readings in pieces:
        if readings.dtype.kind == "f" and bool(np.isnan(readings).any()):
            return "nan"
        negative = readings[readings < 0]
        if negative.size:
            low, high = min(low, negative.min()), max(high, negative.max())
            if low != high:
                return "nan"
        has_zero = has_zero or bool((readings == 0).any())
    return "zero" if has_zero else "nan"


def clean(
    readings_RNC: np.ndarray,
    *,
    missing: str,
    where: str,
    ids: tuple[str, ...],
    name_row: NameRow,
    first_row: int = 0,
    all_digits: bool = True,
) -> Cleaned:
    """Values, mask and remainders of raw readings under a rule for missing ones.

    Args:
        missing: "zero", "nan" or "none"; see ``make_series``.
        where: the file, for messages; name_row: a row's name in them.
        first_row: the number of the first of these rows in the series.
        all_digits: with the remainders.

    Raises:
        UserError: a NaN under "none", readings that are too large for float32 or not finite.
    """
    observed_RNC = _observed(readings_RNC, missing)
    if missing == "none" and not observed_RNC.all():
        t, n, _ = np.argwhere(~observed_RNC)[0]
        row = name_row(first_row + int(t))
        raise UserError(f"{where}: {row}, sensor {ids[n]} is NaN, but missing = none; use --missing nan")
    values_RNC = np.zeros(readings_RNC.shape, dtype=np.float32)
    with np.errstate(over="ignore"):
        np.copyto(values_RNC, readings_RNC, where=observed_RNC, casting="unsafe")
    if not np.isfinite(values_RNC).all():
        t, n, c = np.argwhere(~np.isfinite(values_RNC))[0]
        reading = readings_RNC[t, n, c]
        fault = "is too large for float32" if np.isfinite(reading) else "is not finite"
        raise UserError(f"{where}: {name_row(first_row + int(t))}, sensor {ids[n]}: the reading {reading:g} {fault}")
    rest_RNC = _rest(readings_RNC, values_RNC, observed_RNC) if all_digits else None
    return Cleaned(values_RNC, observed_RNC, rest_RNC)


def without_values(readings: np.ndarray, missing_value: tuple[float, ...]) -> np.ndarray:
    """A float64 copy with NaN where a reading is one of these values in float32."""
    floats = readings.astype(np.float64)
    with np.errstate(over="ignore"):
        floats[np.isin(readings.astype(np.float32), np.asarray(missing_value, dtype=np.float32))] = np.nan
    return floats


def _observed(readings: np.ndarray, missing: str) -> np.ndarray:
    if readings.dtype.kind != "f":
        return np.not_equal(readings, 0) if missing == "zero" else np.ones(readings.shape, dtype=bool)
    if missing != "zero":
        return np.logical_not(np.isnan(readings))
    observed = np.greater(readings, 0)  # NaN is neither
    return np.logical_or(observed, np.less(readings, 0), out=observed)


def _rest(readings_RNC: np.ndarray, values_RNC: np.ndarray, observed_RNC: np.ndarray) -> np.ndarray | None:
    if readings_RNC.dtype.itemsize <= 2 or readings_RNC.dtype == np.float32:
        return None
    rest_RNC = np.zeros(values_RNC.shape, dtype=np.float32)
    np.subtract(readings_RNC, values_RNC, out=rest_RNC, where=observed_RNC, dtype=np.float64, casting="same_kind")
    return rest_RNC if rest_RNC.any() else None
