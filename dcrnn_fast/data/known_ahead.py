"""Lines for the user about channels that are known for the steps that are forecast.

Shape legend: C channels.
"""

from dcrnn_fast.data.account import percent
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.facts import SeriesFacts
from dcrnn_fast.data.window_format import known_ahead_words

_READ_AS = {"zero": "raw 0", "last": "the last one observed in the window", "mean": "the mean"}


def known_lines(data: ForecastData, facts: SeriesFacts) -> list[str]:
    """What the decoder knows ahead, and how much of it is missing; nothing without such channels."""
    form = data.window_format
    if not form.num_known:
        return []
    line = f"known ahead: {known_ahead_words(form)} ({form.num_known} inputs of the decoder at each step)"
    missing = {name: share for name, share in _missing_shares(data, facts).items() if share}
    if missing:
        shares = ", ".join(f"{percent(share)} of {name}" for name, share in missing.items())
        line += f"; missing: {shares}, read as {_READ_AS[form.missing_input]} (--missing-input {form.missing_input})"
    return [line]


def known_looks(data: ForecastData, facts: SeriesFacts) -> list[str]:
    """Channels known ahead whose zeros count as missing, and are read as something else: a holiday of 0 and 1 is not
    meant so.
    """
    form = data.window_format
    if data.series.missing != "zero" or form.missing_input == "zero":
        return []
    return [
        f"look: {name} is known ahead, and {percent(share)} of it is missing, zeros among it (--missing zero): the "
        f"decoder reads {_READ_AS[form.missing_input]} there; if 0 is one of its values (holidays, rain): --missing nan"
        for name, share in _missing_shares(data, facts).items()
        if share
    ]


def _missing_shares(data: ForecastData, facts: SeriesFacts) -> dict[str, float]:
    """Share of each known channel's readings that are missing."""
    form, cells = data.window_format, data.series.num_steps * data.series.num_sensors
    counts_C = facts.counts.tolist()
    return {form.channels[c]: 1 - counts_C[c] / cells for c in form.known_channels}
