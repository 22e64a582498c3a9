"""Lines for the user about a series as it was understood, and about doubts (lines with "look:").

Shape legend: T time, N sensors, C channels.
"""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.facts import OddValue, SeriesFacts, odd_values, same_sensors
from dcrnn_fast.data.known import KNOWN, is_published
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import formats_of
from dcrnn_fast.data.times import is_months
from dcrnn_fast.messages import counted, first_few, some

_DAY = 86_400
_RULES = {"zero": ": zeros and NaN are missing", "nan": ": only NaN is missing", "none": ""}


def series_lines(series: SensorSeries, facts: SeriesFacts) -> list[str]:
    """Times, zone, interval and gaps; the rule for missing readings; a line for each channel."""
    first, last = (minute(series.times_T[row]) for row in (0, -1))
    zone = {True: "UTC", False: "no zone given", None: "zone not known"}[series.in_utc]
    if series.zone not in (None, "UTC"):
        zone += f" (given as {series.zone})"
    files = f", {len(series.parts)} series one after the other" if len(series.parts) > 1 else ""
    lines = [
        f"times: {first} to {last}, {zone}, every {series.freq}, {gaps_in_words(series)}{files}",
        readings_line(series, facts),
    ]
    cells = series.num_steps * series.num_sensors
    for c, count in enumerate(facts.counts.tolist()):
        named = f"{series.channels[c]} ({series.units[c] or 'unit not given'})"
        share = f"{percent(1 - count / cells)} missing"
        if count == 0:
            lines.append(f"channel {named}: {share}")
            continue
        low, high = facts.low_NC[:, c].min(), facts.high_NC[:, c].max()
        zeros = "zeros are missing" if series.missing == "zero" else f"{percent(facts.zeros_C[c] / count)} zeros"
        lines.append(
            f"channel {named}: {number(low)} to {number(high)}, mean {number(facts.means[c])}, deviation "
            f"{number(facts.deviations[c])}, {zeros}, {share}"
        )
    return lines


def readings_line(series: SensorSeries, facts: SeriesFacts) -> str:
    """How many readings are missing, by which rule, and whether zeros are readings."""
    rule = f"--missing {series.missing}{_RULES[series.missing]}"
    if zeros := int(facts.zeros_C.sum()):
        rule += f"; zeros, {percent(zeros / facts.counts.sum())} of what is left, are readings"
    cells = series.num_steps * series.num_sensors * len(series.channels)
    return f"readings: {1 - facts.counts.sum() / cells:.2%} missing ({rule})"


def series_looks(series: SensorSeries, facts: SeriesFacts, asked: DataConfig) -> list[str]:
    """Doubts about the readings.

    Args:
        asked: the configuration as it was given, with ``auto`` not yet resolved.
    """
    return [
        *zero_rule_look(series, facts, asked),
        *(_odd_look(series, odd) for odd in odd_values(series, facts) if not _is_meant(odd, asked)),
        *_constant_looks(series, facts),
        *_same_looks(series, facts),
    ]


def zero_rule_look(series: SensorSeries, facts: SeriesFacts, asked: DataConfig) -> list[str]:
    """The rule for zeros, if neither the user, nor the file, nor the table of known data sets gives it."""
    if series.missing != "zero" or asked.missing != "auto" or asked.data in ("city", *KNOWN):
        return []
    cells = series.num_steps * series.num_sensors
    shares = {channel: 1 - count / cells for channel, count in zip(series.channels, facts.counts, strict=True)}
    share = percent(1 - float(facts.counts.sum()) / (cells * len(shares)))
    if share == "0 %" or is_published(asked, series):
        return []
    if len(shares) > 1:
        share += f" ({', '.join(f'{_named(name)}: {percent(part)}' for name, part in shares.items())})"
    if formats_of(asked) == {"store"}:
        return [
            f"look: {share} of the readings are missing: the store was prepared with --missing zero, its zeros count "
            "as missing; if zeros are readings (power at night, counts, rain), prepare it with --missing nan"
        ]
    return [
        f"look: {share} of the readings are zeros and count as missing, because the file marks no gaps (--missing "
        "zero); if zeros are readings (power at night, counts, rain): --missing nan"
    ]


def _odd_look(series: SensorSeries, odd: OddValue) -> str:
    value = str(np.float32(odd.value)).removesuffix(".0")  # to the last digit: it is given back as --missing-value
    others = f"all others lie between {number(odd.low)} and {number(odd.high)}"
    which = "reading" if odd.count == 1 else "readings"
    share, verb = percent(odd.count / (series.num_steps * series.num_sensors)), "is" if odd.count == 1 else "are"
    place = f"sensor {series.ids[odd.sensor]}, {minute(series.times_T[odd.row])}"
    cure = "--missing zero" if odd.value == 0 else f"--missing-value {value}"
    return (
        f"look: {odd.count} {which}{named_of(series, odd.channel)} ({share}) {verb} {value}, the first at {place}; "
        f"{others}: if {value} marks a gap, {cure}"
    )


def _is_meant(odd: OddValue, asked: DataConfig) -> bool:
    return odd.value == 0 and asked.missing in ("nan", "none")


def _constant_looks(series: SensorSeries, facts: SeriesFacts) -> list[str]:
    looks = []
    for c in range(len(series.channels)):
        flat_N = (facts.low_NC[:, c] == facts.high_NC[:, c]) & (facts.count_NC[:, c] > 1)
        if flat_N.all() and len(series.channels) > 1:
            looks.append(
                f"look: {_named(series.channels[c])} never changes at any sensor, as a property of the sensor does: "
                "--variables names the channels to read, --targets those to forecast"
            )
        elif flat_N.any() and not flat_N.all():
            listed = [f"{series.ids[n]} ({number(facts.low_NC[n, c])})" for n in np.flatnonzero(flat_N)]
            verb = "changes" if len(listed) == 1 else "change"
            looks.append(f"look: {counted(len(listed), 'sensor')} never {verb}{named_of(series, c)}: {some(listed)}")
    return looks


def _same_looks(series: SensorSeries, facts: SeriesFacts) -> list[str]:
    groups = same_sensors(series, facts)
    if not groups:
        return []
    more = f", and {counted(len(groups) - 1, 'more group')}" if len(groups) > 1 else ""
    return [f"look: sensors with the same readings in every row: {first_few([series.ids[n] for n in groups[0]])}{more}"]


def gaps_in_words(series: SensorSeries) -> str:
    """ "without interruption", or how many there are in the time axis and how long the longest is."""
    part_starts = {start for start, _ in series.parts}
    starts = np.array([start for start, _ in series.segments if start not in part_starts], dtype=np.int64)
    if not starts.size:
        return "without interruption"
    if is_months(series.interval):
        months = np.diff(series.times_T.astype("datetime64[M]")).astype(np.int64)[starts - 1] - 1
        longest = counted(int(months.max()), "month")
    else:
        step = int(series.interval.astype("timedelta64[s]").astype(np.int64))
        lost = np.diff(series.times_T).astype("timedelta64[s]").astype(np.int64)[starts - 1] - step
        longest = duration(int(lost.max()))
    return f"{counted(len(starts), 'gap')}, the longest {longest}"


def duration(seconds: int) -> str:
    """3 d 4 h, 2 h 5 min, 10 s."""
    parts = []
    for size, unit in ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def minute(time: np.datetime64) -> str:
    """2012-03-01 00:05, with seconds only if there are some."""
    text = str(time.astype("datetime64[s]")).replace("T", " ")
    return text.removesuffix(":00")


def number(value: float) -> str:
    """Five significant digits: 53.719, -9999, 2.31e-06."""
    return f"{float(value):.5g}"


def percent(share: float) -> str:
    """Three significant digits: 7.85 %, 0.3 %, 50 %."""
    return f"{100 * float(share):.3g} %"


def named_of(series: SensorSeries, channel: int) -> str:
    """ " of channel speed", or nothing where there is one channel."""
    return f" of {_named(series.channels[channel])}" if len(series.channels) > 1 else ""


def _named(channel: str) -> str:
    return f"channel {channel}" if channel.isdecimal() else channel
