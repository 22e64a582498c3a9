"""Lines about one forecast: what was odd in the readings that it rests on, and in its values.

Shape legend: B batch, P past steps, F future steps, N nodes, C value channels, O target channels.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.far_readings import NEAR, far_notes
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.evaluation.coverage import coverage_notes, newest_notes
from dcrnn_fast.evaluation.labels import below_note
from dcrnn_fast.evaluation.not_finite import forecast_notes


def readings_notes(
    series: SensorSeries,
    observed_PNC: NDArray[np.bool_],
    observed_PNO: NDArray[np.bool_],
    x_BPNC: NDArray[np.float32],
    scaler: Scaler,
) -> tuple[str, ...]:
    """Lines about the readings, which are missing or far from those of training.

    Args:
        series: the P rows; observed_PNO: of the target channels.
        x_BPNC: the network's input, scaled.
    """
    far = x_BPNC.max() > NEAR or x_BPNC.min() < -NEAR
    return (
        *coverage_notes(observed_PNC, series.ids),
        *(far_notes(series, scaler) if far else ()),
        *newest_notes(observed_PNO, series.times_T),
    )


def values_notes(
    values_FNO: NDArray[np.float32], minimum_O: Sequence[float | None] | None, names: Sequence[str]
) -> tuple[str, ...]:
    """Lines about forecasts that are no numbers, or below 0 where no training reading is.

    Args:
        minimum_O: the least training reading of each target channel; None: not known.
    """
    lowest, highest = float(values_FNO.min()), float(values_FNO.max())
    if lowest >= 0 and math.isfinite(highest):
        return ()
    notes = forecast_notes(values_FNO)
    if minimum_O is None:
        return notes
    below_O = (values_FNO < 0).sum(axis=(0, 1)).tolist()
    return (*notes, *below_note(below_O, values_FNO.shape[0] * values_FNO.shape[1], minimum_O, names))


def beyond_notes(trained_steps: int | None, steps: int) -> tuple[str, ...]:
    """A line about steps that the model was not trained to forecast; ``trained_steps`` None: it was, all."""
    if trained_steps is None or steps <= trained_steps:
        return ()
    beyond = f"steps {trained_steps + 1} to {steps}"
    return (f"look: {beyond} are beyond the {trained_steps} that the model was trained on",)
