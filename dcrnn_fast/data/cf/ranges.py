"""The range of valid readings that a file declares."""

from typing import NamedTuple

import numpy as np
import xarray as xr

RANGE_ATTRIBUTES = frozenset(("valid_range", "valid_min", "valid_max"))


class ValidRange(NamedTuple):
    """The least and the largest valid reading, unpacked, and by how much rounding may miss each."""

    low: float
    high: float
    slack_low: float
    slack_high: float

    def excludes(self, readings: np.ndarray) -> np.ndarray:
        """Bool, where readings lie outside; NaN does not."""
        return np.asarray((readings < self.low - self.slack_low) | (readings > self.high + self.slack_high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def valid_range(variable: xr.DataArray) -> ValidRange | None:
    """What a file declares valid (CF 2.5.1); None: nothing, or no numbers."""
    attributes = variable.attrs
    if not attributes.keys() & RANGE_ATTRIBUTES:
        return None
    low, high = attributes.get("valid_min", -np.inf), attributes.get("valid_max", np.inf)
    if "valid_range" in attributes:
        low, high = np.asarray(attributes["valid_range"]).reshape(-1)[[0, -1]]
    bounds = np.asarray([low, high])
    if bounds.dtype.kind not in "iuf":
        return None
    # Bounds of the packed type are packed; what was decoded in float32 may miss a bound by its rounding.
    slack = np.abs(bounds) * np.finfo(np.float32).eps
    scale, offset = (
        float(variable.encoding.get(key, value)) for key, value in (("scale_factor", 1), ("add_offset", 0))
    )
    if (scale, offset) != (1, 0) and all(
        np.asarray(bound).dtype.kind in "iu" for bound in (low, high) if np.isfinite(bound)
    ):
        bounds = np.sort(bounds * scale + offset)
        slack = np.full(2, abs(scale) / 2)
    return ValidRange(float(bounds[0]), float(bounds[1]), float(slack[0]), float(slack[1]))
