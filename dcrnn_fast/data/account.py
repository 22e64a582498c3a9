"""Lines for the user about the data as it was understood, and about doubts (lines with "look:").

Shape legend: T time, N sensors, C channels.
"""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.facts import OddValue, SeriesFacts, odd_values, same_sensors, series_facts, stretches
from dcrnn_fast.data.known import KNOWN, is_published
from dcrnn_fast.data.scaler import window_counts
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import formats_of
from dcrnn_fast.data.times import is_months
from dcrnn_fast.data.windows import WindowSet
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, some

_DAY = 86_400
_RULES = {"zero": ": zeros and NaN are missing", "nan": ": only NaN is missing", "none": ""}


def facts_of(data: ForecastData) -> SeriesFacts:
    """One pass over the series; the training rows are those that a training window reads or forecasts."""
    form = data.window_format
    covered_T = window_counts(data.train.starts_W, form.window_steps, data.series.num_steps) > 0
    return series_facts(data.series, covered_T)


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


def window_lines(data: ForecastData) -> list[str]:
    """How many windows each part has, and which times each forecasts."""
    form, parts = data.window_format, (data.train, data.validation, data.test)
    counts = ", ".join(f"{len(part)} {part.name}" for part in parts)
    lines = [f"windows: {counts}; {form.past_steps} steps in, {form.future_steps} out"]
    for part in parts:
        if len(part):
            times = data.target_times(part.starts_W[[0, -1]])
            lines.append(f"  {part.name} targets: {minute(times[0, 0])} to {minute(times[-1, -1])}")
    return lines


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


def window_looks(data: ForecastData, facts: SeriesFacts) -> list[str]:
    """Doubts about the windows to train and test on."""
    series, form = data.series, data.window_format
    looks = []
    for c in form.target_channels:
        silent = [series.ids[n] for n in np.flatnonzero((facts.train_NC[:, c] == 0) & (facts.count_NC[:, c] > 0))]
        if silent:
            looks.append(
                f"look: {counted(len(silent), 'sensor')} without a reading{_of(series, c)} in the training part: "
                f"{first_few(silent)}; nothing is learnt of their readings (--leave-out)"
            )
    if len(data.test) and not _any_target(data, data.test):
        looks.append("look: the test windows hold no observed target: nothing will be evaluated")
    seconds = 0 if is_months(form.interval) else int(form.interval.astype("timedelta64[s]").astype(np.int64))
    constant = []
    if form.time_of_day and seconds % _DAY == 0 and len(np.unique(series.times_T.astype(np.int64) % _DAY)) == 1:
        constant.append(("time of day", "--no-time-of-day"))
    if form.day_of_week and seconds and seconds % (7 * _DAY) == 0:
        constant.append(("day of week", "--no-day-of-week"))
    looks += [
        f"look: {what} is the same in every row ({series.freq} data): it tells the network nothing ({flag})"
        for what, flag in constant
    ]
    return looks


def require_validation_targets(data: ForecastData) -> None:
    """Raises UserError if no validation window holds an observed target: no epoch could be the best."""
    if len(data.validation) and not _any_target(data, data.validation):
        first, last = data.target_times(data.validation.starts_W[[0, -1]])[[0, -1], [0, -1]]
        raise UserError(
            f"the validation windows, {minute(first)} to {minute(last)}, hold no observed target; give a longer series "
            "or other fractions"
        )


def require_changing_target(data: ForecastData, asked: DataConfig) -> None:
    """Raises UserError if no targets are named and the first channel is a property of the sensors, no reading: it never
    changes at any of them, while another one does.
    """
    series = data.series
    if asked.targets or len(series.channels) < 2 or _ever_changes(series, 0):
        return
    facts = series_facts(series)
    changes_C = np.any(facts.low_NC < facts.high_NC, axis=0)
    if changes_C.any():
        others = first_few(series.channels[c] for c in np.flatnonzero(changes_C).tolist())
        raise UserError(
            f"the first channel, {series.channels[0]!r}, would be forecast, but never changes at any sensor: --targets "
            f"names what is to be forecast ({others}), --variables what is to be read"
        )


def _ever_changes(series: SensorSeries, channel: int) -> bool:
    """Whether any sensor's readings of a channel differ; no more is read than it takes to find out."""
    low_N, high_N = (np.full(series.num_sensors, bound, dtype=np.float32) for bound in (np.inf, -np.inf))
    for _, values_RNC, observed_RNC in stretches(series):
        values_RN, observed_RN = values_RNC[..., channel], observed_RNC[..., channel]
        np.minimum(low_N, np.where(observed_RN, values_RN, np.inf).min(axis=0), out=low_N)
        np.maximum(high_N, np.where(observed_RN, values_RN, -np.inf).max(axis=0), out=high_N)
        if (low_N < high_N).any():
            return True
    return False


def _any_target(data: ForecastData, part: WindowSet) -> bool:
    form = data.window_format
    targets = list(form.target_channels)
    rows = np.flatnonzero(window_counts(part.starts_W + form.past_steps, form.future_steps, data.series.num_steps))
    return any(data.series.observed_TNC[row][:, targets].any() for row in rows)


def _odd_look(series: SensorSeries, odd: OddValue) -> str:
    value = str(np.float32(odd.value)).removesuffix(".0")  # to the last digit: it is given back as --missing-value
    others = f"all others lie between {number(odd.low)} and {number(odd.high)}"
    which = "reading" if odd.count == 1 else "readings"
    share, verb = percent(odd.count / (series.num_steps * series.num_sensors)), "is" if odd.count == 1 else "are"
    place = f"sensor {series.ids[odd.sensor]}, {minute(series.times_T[odd.row])}"
    cure = "--missing zero" if odd.value == 0 else f"--missing-value {value}"
    return (
        f"look: {odd.count} {which}{_of(series, odd.channel)} ({share}) {verb} {value}, the first at {place}; {others}"
        f": if {value} marks a gap, {cure}"
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
            looks.append(f"look: {counted(len(listed), 'sensor')} never {verb}{_of(series, c)}: {some(listed)}")
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


def _of(series: SensorSeries, channel: int) -> str:
    return f" of {_named(series.channels[channel])}" if len(series.channels) > 1 else ""


def _named(channel: str) -> str:
    return f"channel {channel}" if channel.isdecimal() else channel
