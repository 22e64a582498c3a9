"""Sensors without an observed reading: found, and refused with what to do about them.

Shape legend: R rows of a piece, N sensors, C channels.
"""

import numpy as np

from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

SILENT = "silent"
"""in ``leave_out``: all sensors without an observed target"""


def silent_sensors(series: SensorSeries, channels: tuple[int, ...]) -> str:
    """The sensors without an observed reading in one of these channels, in words; "" if all have one in each."""
    seen_NC = np.zeros((series.num_sensors, len(series.channels)), dtype=bool)
    for rows in row_pieces(series.observed_TNC.shape):
        seen_NC |= series.observed_TNC[rows].any(axis=0)
        if seen_NC[:, list(channels)].all():
            return ""
    return silent_in(seen_NC, series, channels)


def silent_in(seen_NC: np.ndarray, series: SensorSeries, channels: tuple[int, ...]) -> str:
    """``silent_sensors`` from what was observed at all."""
    seen_NC = seen_NC[:, list(channels)]
    if seen_NC.all():
        return ""
    k = int(np.flatnonzero(~seen_NC.all(axis=0))[0])
    silent = [series.ids[n] for n in np.flatnonzero(~seen_NC[:, k])]
    return (
        f"{len(silent)} sensor(s) have no observed reading of {series.channels[channels[k]]!r} at all: "
        f"{first_few(silent)}"
    )


def require_observed_sensors(series: SensorSeries, channels: tuple[int, ...], where: str) -> None:
    """Check that each sensor has at least one observed reading in each of these channels.

    Raises:
        UserError: it names the first few sensors that have none.
    """
    refuse_silent(silent_sensors(series, channels), where)


def refuse_silent(silent: str, where: str) -> None:
    """Raises UserError if there are silent sensors; what to do about them is in the message."""
    if silent:
        raise UserError(
            f"{where}: {silent}; leave them out (--leave-out {SILENT} takes all such, or --land-mask the land cells of "
            "a grid), or say which readings are missing (--missing)"
        )
