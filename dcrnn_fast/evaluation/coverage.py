"""Lines about missing or odd readings in a model's input.

Shape legend: P past steps, N nodes, C channels, O target channels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.facts import GAP_MARKS, stretches
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.messages import first_few

_FAR, _FAR_MARK = 20.0, 10.0
"""deviations of the training readings; of a known mark of gaps"""
NEAR = 0.99 * _FAR_MARK
"""deviations: ``far_notes`` has none about readings that all are nearer"""
_MARKS = np.array([0.0, *GAP_MARKS], dtype=np.float32)


def coverage_notes(observed_PNC: NDArray[np.bool_], ids: Sequence[str]) -> tuple[str, ...]:
    """Lines about readings missing among the newest steps."""
    seen_N = observed_PNC.any(axis=(0, 2))
    if seen_N.all():
        return ()
    if not seen_N.any():
        return ("look: none of the newest steps has an observed reading: the forecast rests on nothing but the time",)
    silent = [ids[node] for node in np.flatnonzero(~seen_N).tolist()]
    return (
        f"look: {len(silent)} of {len(ids)} sensors have no observed reading in the newest steps: {first_few(silent)}",
    )


def newest_notes(observed_PNO: NDArray[np.bool_], times_P: NDArray[np.datetime64]) -> tuple[str, ...]:
    """Lines about readings missing in the newest row, which matters most to a forecast; none if all rows are empty."""
    if 2 * np.count_nonzero(observed_PNO[-1]) >= observed_PNO[-1].size:  # so half of the sensors have a reading
        return ()
    observed_PN = np.any(observed_PNO, axis=2)
    full_P = np.flatnonzero(observed_PN.any(axis=1))
    if not full_P.size:
        return ()
    empty = len(times_P) - 1 - int(full_P[-1])
    if empty:
        which = f"row ({times_P[-1]}) has" if empty == 1 else f"{empty} rows (up to {times_P[-1]}) have"
        return (
            f"look: the newest {which} no reading of any sensor: the forecast rests on readings up to "
            f"{times_P[full_P[-1]]}; leave the empty rows out to forecast from there",
        )
    lacking = int((~observed_PN[-1]).sum())
    if 2 * lacking <= observed_PN.shape[1]:
        return ()
    return (f"look: the newest row ({times_P[-1]}) lacks the readings of {lacking} of {observed_PN.shape[1]} sensors",)


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
