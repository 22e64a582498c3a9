"""Lines about forecasts that are no numbers; a model's weights are finite, or it is not opened.

Shape legend: F future steps, N sensors, O target channels.
"""

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.evaluation.report import Report

_WHY = "although all weights are finite: the readings, or the weights, are too large to compute with"


def forecast_notes(values_FNO: NDArray[np.float32]) -> tuple[str, ...]:
    """How many values of a forecast are NaN or infinite, if any is."""
    finite_FNO = np.isfinite(values_FNO)
    if finite_FNO.all():
        return ()
    return (f"look: {int((~finite_FNO).sum())} of {values_FNO.size} forecasts are NaN or infinite {_WHY}",)


def report_notes(report: Report) -> tuple[str, ...]:
    """That a model's error, the first of the report, is NaN or infinite where a baseline's is not."""
    model, *baselines = (sums.overall().mae for sums in report.methods.values())
    if np.isfinite(model) or not np.isfinite(baselines).any():  # nothing was observed
        return ()
    return (f"look: the model forecasts NaN or infinity in these windows {_WHY}",)
