"""Readings that lie far from those that a scaler knows: an undeclared mark of gaps, or another unit.

Shape legend: R rows, N nodes, C channels.
"""

import numpy as np

from dcrnn_fast.data.facts import GAP_MARKS, stretches
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries

_FAR, _FAR_MARK = 20.0, 10.0
"""deviations of the training readings; of a known mark of gaps"""
NEAR = 0.99 * _FAR_MARK
"""deviations: ``far_notes`` has none about readings that all are nearer"""
_MARKS = np.array([0.0, *GAP_MARKS], dtype=np.float32)


def far_notes(series: SensorSeries, scaler: Scaler) -> tuple[str, ...]:
    """Readings that lie further from the training readings than any reading of the same kind: an undeclared mark of
    gaps, or another unit.
    """
    notes = []
    for channel, name in enumerate(series.channels):
        count, first, own = 0, "", scaler if scaler.num_channels == 1 else scaler.take((channel,))
        for start, values_RNC, observed_RNC in stretches(series):
            values_RN = values_RNC[..., channel]
            away_RN = np.abs(own.transform(values_RNC[..., [channel]])[..., 0])
            far_RN = (away_RN > _FAR_MARK) & observed_RNC[..., channel]
            if not far_RN.any():
                continue
            far_RN[far_RN] = (away_RN[far_RN] > _FAR) | np.isin(values_RN[far_RN], _MARKS)
            if not first and far_RN.any():
                row, node = np.unravel_index(int(far_RN.argmax()), far_RN.shape)
                value = str(values_RN[row, node]).removesuffix(".0")
                first = f"the first {value} at sensor {series.ids[node]}, {series.times_T[start + row]}"
                cure = f"if {value} marks a gap, --missing-value {value}"
            count += int(far_RN.sum())
        if count:
            of = f" of {name}" if len(series.channels) > 1 else ""
            which = "1 reading lies" if count == 1 else f"{count} readings lie"
            notes.append(
                f"look: {which} over {_FAR_MARK:g} deviations from those{of} in training, {first}: {cure}; or is "
                "it another unit?"
            )
    return tuple(notes)
