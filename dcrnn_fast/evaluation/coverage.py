"""What is missing among the newest steps that a forecast is made from, in words.

Shape legend: P past steps, N nodes, C channels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.graph.messages import first_few


def coverage_notes(observed_PNC: NDArray[np.bool_], ids: Sequence[str]) -> tuple[str, ...]:
    """What is missing among the newest steps."""
    if not observed_PNC.any():
        return ("look: none of the newest steps has an observed reading: the forecast rests on nothing but the time",)
    silent = [ids[node] for node in np.flatnonzero(~observed_PNC.any(axis=(0, 2))).tolist()]
    if not silent:
        return ()
    return (
        f"look: {len(silent)} of {len(ids)} sensors have no observed reading in the newest steps: {first_few(silent)}",
    )


def newest_notes(observed_PN: NDArray[np.bool_], times_P: NDArray[np.datetime64]) -> tuple[str, ...]:
    """What is missing in the newest row, of which a forecast lives most; nothing where all rows are empty."""
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
