"""Words for horizons ("15 min", "1 h 30 min", "3 months") and for channels."""

from collections.abc import Sequence

import numpy as np

from dcrnn_fast.data.times import is_months
from dcrnn_fast.messages import span


def horizon_labels(interval: np.timedelta64, steps: int) -> tuple[str, ...]:
    """How far ahead each of the steps 1..``steps`` is, in words; ``interval`` in seconds or calendar months."""
    if is_months(interval):
        months = int(interval.astype(np.int64))
        return tuple(f"{step * months} month{'s' if step * months > 1 else ''}" for step in range(1, steps + 1))
    seconds = int(interval.astype("timedelta64[s]").astype(np.int64))
    return tuple(span(step * seconds) for step in range(1, steps + 1))


def channel_label(name: str) -> str:
    """The name, or "channel 0" if a file gave only a number: "0 of 6 sensors" would mean something else."""
    return f"channel {name}" if name.isdecimal() else name


def zone_label(in_utc: bool | None) -> str:
    """The label of a time axis; data whose times have no zone stay as they are."""
    return "UTC" if in_utc else "time as in the data, which names no zone"


def below_note(below_O: Sequence[int], of: int, minimum_O: Sequence[float | None], names: Sequence[str]) -> list[str]:
    """A line for each target channel with forecasts below 0 if no training reading is below.

    Args:
        below_O: forecasts below 0; of: forecasts of each channel in all.
        minimum_O: the least observed training reading; None or NaN if it is not known.
    """
    lines = []
    for below, minimum, name in zip(below_O, minimum_O, names, strict=True):
        if below and minimum is not None and minimum >= 0:
            what = f"forecasts of {channel_label(name)}" if len(names) > 1 else "forecasts"
            lines.append(
                f"look: {below:,} of {of:,} {what} ({100 * below / of:.2g} %) are below 0, which no training reading "
                "is; --at-least 0 raises them to 0"
            )
    return lines
