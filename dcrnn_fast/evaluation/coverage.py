"""Lines about readings missing in a model's input.

Shape legend: P past steps, N nodes, C channels, O target channels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.messages import first_few


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
