"""What stands below the title of a report's plots."""

import numpy as np

from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.report import Report
from dcrnn_fast.evaluation.style import with_unit
from dcrnn_fast.messages import counted


def subtitle(report: Report, channel: int) -> str:
    """The channel, how many sensors and windows, and when."""
    first, last = (np.datetime_as_string(time, unit="m").replace("T", " ") for time in report.times)
    name = with_unit(channel_label(report.channels[channel]), report.units[channel])
    counts = f"{counted(len(report.ids), 'sensor')}, {counted(report.num_windows, 'window')}"
    return f"{name}, {counts}, {first} to {last}{' UTC' if report.in_utc else ''}"
