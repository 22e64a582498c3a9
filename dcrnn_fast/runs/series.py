"""Forecasts beside readings on a run's page: a stretch of the scored windows, with the widest intervals."""

from dataclasses import replace

from dcrnn_fast.drawing.charts import Band, Line, line_chart, number
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.evaluation.report_json import ChannelFigures, ReportFigures, SensorSeries, SeriesFigures


def series_section(report: ReportFigures | None) -> Markup | None:
    """The section; None if the report keeps no stretch."""
    if report is None or not any(report.series):
        return None
    charts = [
        _chart(channel, series, sensor)
        for channel, series in zip(report.channels, report.series, strict=True)
        if series is not None
        for sensor in series.sensors
    ]
    return tag("section", tag("h2", "Forecasts beside readings"), tag("div", charts, class_="charts"))


def _chart(channel: ChannelFigures, series: SeriesFigures, sensor: SensorSeries) -> Markup:
    places = range(1, len(series.times) + 1)
    unit = f" ({channel.unit})" if channel.unit else ""
    lines = [
        Line(f"forecast {series.horizon} ahead", places, sensor.forecast, 0),
        Line("observed", places, sensor.observed, 7),
    ]
    bands = []
    if sensor.lower and sensor.upper and series.level is not None:
        interval = f"{100 * series.level:g} % interval"
        bands = [Band(interval, places, sensor.lower, sensor.upper, 0)]
        lines[0] = replace(lines[0], name=f"{lines[0].name}, {interval}")
    title = f"{channel.name} of {sensor.id}: {sensor.rank} sensor, MAE {number(sensor.mae)}{unit}"
    names = [time.replace("T", " ")[5:16] for time in series.times]
    return line_chart(title, lines, f"from {series.times[0].replace('T', ' ')[:16]}", x_names=names, bands=bands)
