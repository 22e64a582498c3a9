"""The page of one forecast: a map where positions are known, series with their intervals, the hours of most change.

Shape legend: P past steps, F future steps, N nodes, O target channels, L levels.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dcrnn_fast.data.timestamps import in_zone
from dcrnn_fast.drawing.charts import Band, Line, line_chart, number
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.drawing.map_colours import scale_of
from dcrnn_fast.drawing.map_svg import Links, sensor_map
from dcrnn_fast.drawing.page import cards, whole_page
from dcrnn_fast.evaluation.intervals import level_label, level_words
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.messages import counted

if TYPE_CHECKING:
    from dcrnn_fast.evaluation.forecasts import Forecast
    from dcrnn_fast.graph.sensor_graph import SensorGraph

_FIRST, _MOST = 12, 120
"""sensors whose series are shown, and those that can be opened"""
_CHANGES = 10
_DAY = np.timedelta64(1, "D")


def forecast_page(forecast: "Forecast", graph: "SensorGraph | None" = None) -> str:
    """The page as text.

    Args:
        graph: whose links the map shows.
    """
    many = len(forecast.channels) > 1
    sections = [
        part
        for channel, name in enumerate(forecast.channels)
        for part in (
            tag("h2", f"{channel_label(name)}{_unit(forecast, channel)}") if many else None,
            _maps(forecast, channel, graph),
            _changes(forecast, channel),
            _series(forecast, channel),
        )
        if part is not None
    ]
    title = f"Forecast of {', '.join(map(channel_label, forecast.channels))} from {_times(forecast)[0]}"
    about = ", ".join(f"{name} {value}" for name, value in forecast.about.items())
    return whole_page(title, _header(forecast, title), sections, _notes(forecast), made_from=about or "a forecast")


def _header(forecast: "Forecast", title: str) -> Markup:
    steps, sensors, _ = forecast.values_FNO.shape
    shown = [
        ("newest reading", _times(forecast)[0]),
        ("forecast to", _times(forecast)[-1], tag("small", counted(steps, "step"))),
        ("sensors", f"{sensors:,}"),
    ]
    for channel, name in enumerate(forecast.channels[:3]):
        values_FN = forecast.values_FNO[:, :, channel]
        finite = values_FN[np.isfinite(values_FN)]
        if finite.size:
            words = tag("small", f"{number(float(finite.min()))} to {number(float(finite.max()))}")
            shown.append((f"mean {name}", f"{number(float(finite.mean()))}{_unit(forecast, channel, '')}", words))
    return tag("header", tag("h1", title), cards(*shown))


def _maps(forecast: "Forecast", channel: int, graph: "SensorGraph | None") -> Markup | None:
    """The first and the last step in the same colours."""
    if forecast.positions_N2 is None or not np.isfinite(forecast.positions_N2).all(axis=1).any():
        return None
    values_FN = forecast.values_FNO[:, :, channel]
    scale, times = scale_of(values_FN.ravel()), _times(forecast)[1:]
    links = None
    if graph is not None and graph.ids == forecast.ids:
        entries = graph.adjacency.tocoo()
        grey_E = np.full(entries.nnz, np.nan)
        links = Links(rows_E=entries.row, columns_E=entries.col, values_E=grey_E, strength_E=entries.data, words="")
    drawn = [
        sensor_map(
            f"{channel_label(forecast.channels[channel])} at {times[step]}",
            forecast.positions_N2,
            forecast.ids,
            values_N=values_FN[step],
            words=forecast.units[channel],
            tips_N=_tips(forecast, channel, step),
            links=links,
            scale=scale,
        )
        for step in sorted({0, len(times) - 1})
    ]
    return tag("section", tag("h2", "Where"), tag("div", drawn, class_="maps"))


def _tips(forecast: "Forecast", channel: int, step: int) -> list[str] | None:
    """The widest interval of each sensor."""
    if forecast.lower_LFNO is None or forecast.upper_LFNO is None:
        return None
    label = level_label(forecast.levels[-1])
    lows, highs = (bound[-1, step, :, channel].tolist() for bound in (forecast.lower_LFNO, forecast.upper_LFNO))
    return [
        f"{label} %: {number(low)} to {number(high)}" if np.isfinite([low, high]).all() else ""
        for low, high in zip(lows, highs, strict=True)
    ]


def _changes(forecast: "Forecast", channel: int) -> Markup | None:
    """The hours, and in each the sensor, whose forecast is furthest from the newest reading."""
    newest_N = _newest(forecast, channel)
    change_FN = forecast.values_FNO[:, :, channel] - newest_N
    if not np.isfinite(change_FN).any():
        return None
    rows = []
    for hour, steps in _hours(forecast):
        size_N = np.abs(change_FN[steps])
        if not np.isfinite(size_N).any():
            continue
        step, node = np.unravel_index(int(np.nanargmax(size_N)), size_N.shape)
        rows.append((float(size_N[step, node]), float(np.nanmean(size_N)), hour, steps[int(step)], int(node)))
    rows.sort(key=lambda row: -row[1])
    unit = _unit(forecast, channel)
    head = ("hour", f"mean change{unit}", "sensor that changes most", "at", "newest reading", "forecast", "interval")
    body = [
        tag(
            "tr",
            tag("td", hour, class_="t"),
            tag("td", number(mean), class_="n"),
            tag("td", forecast.ids[node]),
            tag("td", _times(forecast)[1 + step], class_="t"),
            tag("td", number(float(newest_N[node])), class_="n"),
            tag("td", number(float(forecast.values_FNO[step, node, channel])), class_="n"),
            tag("td", _interval(forecast, channel, step, node), class_="n"),
        )
        for _, mean, hour, step, node in rows[:_CHANGES]
    ]
    table = tag("table", tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])), tag("tbody", body))
    about = "the hours in which the forecasts are furthest from the newest readings, over all sensors"
    return tag("section", tag("h2", "Worst hours"), tag("p", about, class_="faint"), tag("div", table, class_="scroll"))


def _series(forecast: "Forecast", channel: int) -> Markup:
    """Readings, forecast and intervals of the sensors whose forecast moves most."""
    range_N = np.ptp(forecast.values_FNO[:, :, channel], axis=0)
    order = np.argsort(-np.nan_to_num(range_N, nan=-1.0), kind="stable").tolist()
    shown = [_chart(forecast, channel, node) for node in order[:_FIRST]]
    parts: list[Markup] = [tag("div", shown, class_="charts")]
    if more := order[_FIRST:_MOST]:
        charts = tag("div", [_chart(forecast, channel, node) for node in more], class_="charts")
        parts.append(tag("details", tag("summary", f"{counted(len(more), 'more sensor')}"), charts))
    if (left := len(order) - _MOST) > 0:
        parts.append(tag("p", f"{left:,} sensors that move less are not drawn", class_="faint"))
    about = "sensors whose forecast moves most come first"
    return tag("section", tag("h2", "Series"), tag("p", about, class_="faint"), parts)


def _chart(forecast: "Forecast", channel: int, node: int) -> Markup:
    past, steps = len(forecast.past_times_P), len(forecast.times_F)
    before, after = range(1, past + 1), range(past + 1, past + steps + 1)
    lines = [
        Line("forecast", after, forecast.values_FNO[:, node, channel].tolist(), 0),
        Line("observed", before, forecast.past_values_PNO[:, node, channel].tolist(), 7),
    ]
    bands = []
    if forecast.lower_LFNO is not None and forecast.upper_LFNO is not None:
        for level, lower_FNO, upper_FNO in reversed(
            list(zip(forecast.levels, forecast.lower_LFNO, forecast.upper_LFNO, strict=True))
        ):
            lows, highs = lower_FNO[:, node, channel].tolist(), upper_FNO[:, node, channel].tolist()
            bands.append(Band(f"{level_label(level)} % interval", after, lows, highs, 0))
    if bands:
        levels = level_words(forecast.levels)
        lines[0] = replace(lines[0], name=f"forecast, intervals of {levels}")
    unit = _unit(forecast, channel)
    zone = "" if forecast.zone is None else f" ({forecast.zone})"
    return line_chart(f"{forecast.ids[node]}{unit}", lines, f"time{zone}", x_names=_clock(forecast), bands=bands)


def _newest(forecast: "Forecast", channel: int) -> np.ndarray:
    """(N,) the last observed reading of each sensor, NaN if there is none among the past steps."""
    past_PN = forecast.past_values_PNO[:, :, channel]
    newest_N = np.full(past_PN.shape[1], np.nan)
    for row_N in past_PN:
        newest_N = np.where(np.isnan(row_N), newest_N, row_N)
    return newest_N


def _interval(forecast: "Forecast", channel: int, step: int, node: int) -> str:
    if forecast.lower_LFNO is None or forecast.upper_LFNO is None:
        return "-"
    low, high = (float(bound[-1, step, node, channel]) for bound in (forecast.lower_LFNO, forecast.upper_LFNO))
    if not np.isfinite([low, high]).all():
        return "-"
    return f"{number(low)} to {number(high)} ({level_label(forecast.levels[-1])} %)"


def _hours(forecast: "Forecast") -> Iterator[tuple[str, list[int]]]:
    """Each hour that is forecast (of a coarser series each step), and its steps from 0 on."""
    hours: dict[str, list[int]] = {}
    fine = len(forecast.times_F) < 2 or bool(np.diff(forecast.times_F[:2])[0] < np.timedelta64(1, "h"))
    for step, time in enumerate(_times(forecast)[1:]):
        hours.setdefault(f"{time[:13]}:00" if fine else time, []).append(step)
    yield from hours.items()


def _times(forecast: "Forecast") -> list[str]:
    """The newest reading's time and those of the forecast, to the minute, in the zone that the readings had."""
    return [time[:16] for time in _texts(forecast, np.concatenate([forecast.past_times_P[-1:], forecast.times_F]))]


def _clock(forecast: "Forecast") -> list[str]:
    """Names of past and future steps for an axis: the time of day, or the day if steps are that long."""
    times = np.concatenate([forecast.past_times_P, forecast.times_F])
    daily = len(times) > 1 and bool(np.diff(times[-2:])[0] >= _DAY)
    return [text[5:10] if daily else text[11:16] for text in _texts(forecast, times)]


def _texts(forecast: "Forecast", times: np.ndarray) -> list[str]:
    if forecast.zone is None:
        return [str(text).replace("T", " ") for text in np.datetime_as_string(times, unit="m")]
    return [time.isoformat(sep=" ", timespec="minutes") for time in in_zone(times, forecast.zone)]


def _unit(forecast: "Forecast", channel: int, template: str = "()") -> str:
    unit = forecast.units[channel]
    if not unit:
        return ""
    return f" ({unit})" if template else f" {unit}"


def _notes(forecast: "Forecast") -> Markup | None:
    if not forecast.notes:
        return None
    return tag("section", tag("h2", "Notes"), tag("ul", [tag("li", note) for note in forecast.notes], class_="notes"))
