"""When the errors of a run's report are large: the worst hours, and each hour of the day."""

from dcrnn_fast.drawing.charts import Line, line_chart, number
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.evaluation.report_json import ChannelFigures, HourFigures, ReportFigures

_ABOUT = "of all sensors and horizons together; an hour with few observed targets is left out"


def hours_section(report: ReportFigures | None) -> Markup | None:
    """The section; None if the report says nothing about hours."""
    if report is None or not any(hours.worst for hours in report.hours):
        return None
    parts = [
        _of_channel(channel, hours, report)
        for channel, hours in zip(report.channels, report.hours, strict=True)
        if hours.worst
    ]
    return tag("section", tag("h2", "Worst hours"), tag("p", _ABOUT, class_="faint"), parts)


def _of_channel(channel: ChannelFigures, hours: HourFigures, report: ReportFigures) -> list[Markup]:
    what = f"{channel.name}, " if len(report.channels) > 1 else ""
    unit = f" ({channel.unit})" if channel.unit else ""
    names = [next(iter(channel.methods)), *([] if report.strongest is None else [report.strongest])]
    head = [
        tag("th", "hour", scope="col"),
        *(tag("th", f"{name}, MAE{unit}", class_="n", scope="col") for name in names),
    ]
    rows = [
        tag(
            "tr",
            tag("td", _hour(time), class_="t"),
            [tag("td", number(mae), class_="n") for mae in maes],
        )
        for time, *both in hours.worst
        for maes in [both[: len(names)]]
    ]
    table = tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", rows)), class_="scroll")
    if not hours.of_day:
        return [table]
    lines = [
        Line(name, range(1, 25), [both[place] for both in hours.of_day], place, dashed=place > 0)
        for place, name in enumerate(names)
    ]
    clock = [f"{hour}" for hour in range(24)]
    chart = line_chart(f"{what}MAE{unit} by hour of the day", lines, "hour", x_names=clock, from_zero=True)
    return [tag("div", chart, class_="charts"), table]


def _hour(time: str) -> str:
    time = time.replace("T", " ")[:16]
    return f"{time}:00" if len(time) == 13 else time
