"""run.html: all that a run's folder says, on one page without scripts, pictures or anything else from outside."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.drawing.charts import COLOURS, Line, line_chart, number
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.drawing.page import cards, whole_page
from dcrnn_fast.evaluation.report_files import PAGE
from dcrnn_fast.evaluation.report_json import ChannelFigures, ReportFigures
from dcrnn_fast.files import write_bytes
from dcrnn_fast.messages import counted
from dcrnn_fast.records.lock import LOCK
from dcrnn_fast.records.terminal import duration
from dcrnn_fast.runs.error_map import map_section
from dcrnn_fast.runs.happened import events_section
from dcrnn_fast.runs.hardware import machine_section, time_section
from dcrnn_fast.runs.hours import hours_section
from dcrnn_fast.runs.interval_table import interval_table
from dcrnn_fast.runs.measured import read_measured
from dcrnn_fast.runs.record import RunRecord, read_run
from dcrnn_fast.runs.series import series_section

_GOOD, _BAD = ("finished", "running", "starting"), ("failed", "nan", "killed")
_CHECKPOINTS = "checkpoints"
_MOST_CHECKPOINTS = 24


def write_page(folder: Path) -> Path:
    """Writes the page of the run in this folder, complete or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    write_bytes(folder / PAGE, page_of(read_run(folder)).encode())
    return folder / PAGE


def page_of(run: RunRecord) -> str:
    """The page as text, of a run in any state; what its folder does not have gives no section."""
    measured = read_measured(run.folder)
    sections = [
        _curves(run),
        _horizons(run.report),
        map_section(run.folder, run.report),
        series_section(run.report),
        hours_section(run.report),
        time_section(run, measured),
        machine_section(run, measured),
        events_section(run, (*run.looks, *measured.looks)),
        _settings(run.config),
        _files(run),
    ]
    return whole_page(f"{run.name}: {run.state}", _header(run), sections, made_from=f"the files in {run.folder}")


def _header(run: RunRecord) -> Markup:
    kind = "good" if run.state in _GOOD else "bad" if run.state in _BAD else "warn"
    status = run.status
    what = [] if run.config is None else [f"data {run.config.data.data}"]
    if status is not None:
        what += [f"began {status.since.replace('T', ' ')[:16]} UTC", f"on {status.process.host}"]
    return tag(
        "header",
        tag("h1", run.name),
        tag("p", tag("span", run.state, class_=f"state {kind}"), f" {run.reason}"),
        tag("p", ", ".join(what), class_="faint"),
        cards(*_cards(run)),
    )


def _cards(run: RunRecord) -> Iterable[tuple[object, ...]]:
    """(name, figure, what it is) of the most important figures."""
    best, report = run.best, run.report
    unit = "" if report is None or len(report.channels) > 1 else f" {report.channels[0].unit}"
    if best is not None and len(best.targets) < 2:
        yield "validation MAE", f"{best.validation_mae:.4g}{unit}", tag("small", f"best, epoch {best.epoch}")
    elif best is not None:
        yield "validation error", f"{best.error:.4g}", tag("small", f"in deviations, best, epoch {best.epoch}")
    for channel in () if report is None else report.channels[:3]:
        name = "test MAE" if len(unit) or report is None or len(report.channels) == 1 else f"test MAE of {channel.name}"
        yield name, f"{_over_all(channel, 0):.4g} {channel.unit}", tag("small", _beside(channel, report))
    yield "epochs", f"{len(run.rows)} of {'?' if run.epochs is None else run.epochs}"
    if run.rows:
        yield "steps", f"{run.rows[-1].step:,}"
    if run.seconds is not None:
        yield "time", duration(run.seconds) if run.seconds >= 1 else "< 1 s", tag("small", "of all epochs")
    if (speed := run.windows_per_second) is not None:
        yield "windows a second", f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
    if run.ranks is not None:
        yield "processes", run.ranks


def _over_all(channel: ChannelFigures, place: int) -> float:
    """MAE over all horizons of the method at this place."""
    return channel.cumulative[list(channel.methods)[place]]["mae"][-1]


def _beside(channel: ChannelFigures, report: ReportFigures | None) -> str:
    strongest = None if report is None else report.strongest
    if strongest is None or strongest not in channel.cumulative:
        return "over all horizons"
    return f"{strongest}: {channel.cumulative[strongest]['mae'][-1]:.4g}"


def _curves(run: RunRecord) -> Markup | None:
    if not run.rows:
        return None
    epochs = [row.epoch for row in run.rows]
    config, best = run.config, run.best
    loss = "loss" if config is None else config.training.loss
    names = list(dict.fromkeys(name for row in run.rows for name in row.targets))
    unit = f" ({run.report.channels[0].unit})" if run.report is not None and run.report.channels[0].unit else ""
    if len(names) > 1:
        shown = [("validation error, in deviations", [row.error for row in run.rows])]
        shown += [
            (f"validation MAE of {name}", [row.targets.get(name, math.nan) for row in run.rows]) for name in names
        ]
    else:
        shown = [(f"validation MAE{unit}", [row.validation_mae for row in run.rows])]
        shown += [(f"validation RMSE{unit}", [row.validation_rmse for row in run.rows])]
    place = None if best is None else (epochs.index(best.epoch), f"best, epoch {best.epoch}")
    rates = [row.learning_rate for row in run.rows]
    charts = [
        _by_epoch(f"training loss ({loss})", epochs, [row.train_loss for row in run.rows], 1),
        *(
            _by_epoch(title, epochs, ys, 0, place if i == 0 or "RMSE" not in title else None)
            for i, (title, ys) in enumerate(shown)
        ),
        _by_epoch("learning rate", epochs, rates, 3, log=min(rates) > 0 and max(rates) > 5 * min(rates)),
        _by_epoch(
            "windows a second, training", epochs, [row.windows_per_second for row in run.rows], 5, from_zero=True
        ),
    ]
    skipped = sum(row.skipped_steps for row in run.rows)
    note = tag("p", f"{counted(skipped, 'step')} skipped: the gradient was not finite", class_="warn")
    return _section("Curves", note if skipped else None, tag("div", charts, class_="charts"))


def _by_epoch(
    title: str,
    epochs: Sequence[int],
    ys: Sequence[float],
    colour: int,
    mark: tuple[int, str] | None = None,
    *,
    log: bool = False,
    from_zero: bool = False,
) -> Markup:
    line = Line(title, epochs, ys, colour, mark=mark)
    return line_chart(title, [line], "epoch", whole_x=True, log=log, from_zero=from_zero)


def _horizons(report: ReportFigures | None) -> Markup | None:
    """Errors beside those of the baselines."""
    if report is None:
        return None
    steps = range(1, len(report.horizons) + 1)
    parts: list[Markup | None] = []
    for channel in report.channels:
        what = f"{channel.name}, " if len(report.channels) > 1 else ""
        charts = []
        for figure, name, factor, unit in (("mae", "MAE", 1, channel.unit), ("rmse", "RMSE", 1, channel.unit)):
            lines = [
                Line(method, steps, [factor * y for y in figures[figure]], colour % COLOURS, dashed=colour > 0)
                for colour, (method, figures) in enumerate(channel.methods.items())
            ]
            title = f"{what}{name}{f' ({unit})' if unit else ''} by horizon"
            charts.append(line_chart(title, lines, "ahead", x_names=report.horizons, from_zero=True))
        parts += [tag("div", charts, class_="charts"), _table_of(channel, report), interval_table(channel, report)]
    about = (
        f"{report.split} of {report.data}: {counted(report.windows, 'window')}, {counted(report.sensors, 'sensor')}, "
        f"targets from {_minute(report.first_target)} to {_minute(report.last_target)}; only observed targets count"
    )
    notes = tag("ul", [tag("li", note) for note in report.notes], class_="notes") if report.notes else None
    return _section("Errors beside baselines", tag("p", about, class_="faint"), parts, notes)


def _table_of(channel: ChannelFigures, report: ReportFigures) -> Markup:
    places = report.chosen()
    head = [tag("th", "method", scope="col")]
    for place in places:
        head += [
            tag("th", f"{name} {report.horizons[place]}", class_="n", scope="col") for name in ("MAE", "RMSE", "MAPE")
        ]
    rows = []
    for method, figures in channel.methods.items():
        cells: list[Markup] = []
        for place in places:
            cells += [tag("td", _figure(figures[name][place]), class_="n") for name in ("mae", "rmse")]
            cells.append(tag("td", _percent(figures["mape"][place]), class_="n"))
        first = method == next(iter(channel.methods))
        words = f"{method} (strongest baseline)" if method == report.strongest else method
        rows.append(tag("tr", tag("td", words), cells, class_="model" if first else None))
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", rows)), class_="scroll")


def _settings(config: Config | None) -> Markup | None:
    """What differs from the defaults, then everything."""
    if config is None:
        return None
    plain, default = to_dict(config), to_dict(Config())
    rows = [
        tag("tr", tag("td", f"{section}.{name}"), tag("td", _words(value)), tag("td", _words(default[section][name])))
        for section, settings in plain.items()
        for name, value in settings.items()
        if value != default[section][name]
    ]
    head = tag("tr", [tag("th", name, scope="col") for name in ("setting", "here", "default")])
    table = tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")
    everything = tag("details", tag("summary", "all settings, as in config.yaml"), tag("pre", to_yaml(config)))
    return _section("Settings that are not the default", table if rows else tag("p", "none"), everything)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _files(run: RunRecord) -> Markup | None:
    """Links to checkpoints and to what else is in the folder, relative, so that the folder can be moved."""
    own = [name for name in _names(run.folder) if name not in (PAGE, LOCK) and not name.startswith(".")]
    checkpoints: object = None
    if run.config is not None and run.config.output.checkpoint_dir is not None:
        checkpoints = tag("p", run.config.output.checkpoint_dir)
    elif names := [name for name in _names(run.folder / _CHECKPOINTS) if name.endswith(".pt")]:
        newest = sorted(names, key=lambda name: (not name.startswith("epoch_"), name), reverse=True)
        items = [_link(f"{_CHECKPOINTS}/{name}", run.folder) for name in newest[:_MOST_CHECKPOINTS]]
        if (left := len(newest) - _MOST_CHECKPOINTS) > 0:
            items.append(tag("li", f"and {left} more in {_CHECKPOINTS}"))
        checkpoints = tag("ul", items, class_="files")
    return _section(
        "Files",
        [tag("h3", "Checkpoints"), checkpoints] if checkpoints else None,
        [tag("h3", "Records and reports"), tag("ul", [_link(name, run.folder) for name in own], class_="files")],
    )


def _names(folder: Path) -> list[str]:
    """Files of a folder; none if it is absent or cannot be listed."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_file() and ".tmp-" not in path.name)
    except OSError:
        return []


def _link(name: str, folder: Path) -> Markup | None:
    try:
        size = (folder / name).stat().st_size
    except OSError:  # a run that goes on has removed it meanwhile
        return None
    words = f" {size} bytes" if size < 1000 else f" {size / 1e3:.0f} kB" if size < 1e6 else f" {size / 1e6:.1f} MB"
    return tag("li", tag("a", name, href=f"./{quote(name, errors='surrogateescape')}"), words)


def _section(title: str, *content: object) -> Markup:
    return tag("section", tag("h2", title), *content)


def _figure(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:#.4g}".removesuffix(".") if 1e-3 <= abs(value) < 1e5 else number(value)


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def _minute(time: str) -> str:
    return time.replace("T", " ")[:16]
