"""The colours of a map's values: a few steps from low to high, to be told apart on light and on dark paper."""

from typing import NamedTuple

import numpy as np

from dcrnn_fast.drawing.colour_steps import STEPS


class ColourScale(NamedTuple):
    """Bounds between which values take the colours of ``STEPS``; values outside take the first or the last."""

    low: float
    high: float

    def steps(self, values_N: np.ndarray) -> np.ndarray:
        """(N,) int64 steps; -1 for a value that is not finite."""
        finite_N = np.isfinite(values_N)
        width = self.high - self.low
        share_N = (np.where(finite_N, values_N, self.low) - self.low) / (width if width > 0 else 1.0)
        steps_N = np.clip((share_N * len(STEPS)).astype(np.int64), 0, len(STEPS) - 1)
        return np.where(finite_N, steps_N, -1)


def scale_of(values_N: np.ndarray) -> ColourScale | None:
    """From the 2 % to the 98 % quantile of the finite values, so that one outlier takes no colour from the others; None
    if there is no finite value.
    """
    finite = values_N[np.isfinite(values_N)]
    if not finite.size:
        return None
    low, high = map(float, np.quantile(finite, (0.02, 0.98)))
    return ColourScale(low, high) if high > low else ColourScale(float(finite.min()), float(finite.max()))
