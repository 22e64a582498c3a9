"""Runs side by side: groups of those that are measured alike, a row of figures for each run, what differs in settings.

Errors over other data, targets or windows are other quantities: such runs stand in groups of their own.
"""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcrnn_fast.config.plain import nearest, to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.report_json import ReportFigures
from dcrnn_fast.messages import counted, some
from dcrnn_fast.records.terminal import duration
from dcrnn_fast.runs.record import RunRecord, natural

Value = str | int | float | None
_NOT_MEASURED = {
    *("data_folder", "scaler", "missing_input", "time_of_day", "day_of_week", "max_train_windows", "stage"),
}
"""settings of the data that change what the network reads, not what it is measured on"""
_PLACES = {"results", "checkpoint_dir", "resume", "log_every"}
_ALWAYS = (
    "run", "folder", "group", "state", "reason", "since", "host", "device", "ranks", "epoch", "epochs", "step",
    "best_epoch", "validation_mae", "validation_error", "seconds", "windows_per_second",
)  # fmt: skip
_DEFAULT_SORT = "validation_mae"
_EMPTY = "-"
_WIDEST = 60


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that are measured alike, in the order in which they are shown.

    Attributes:
        title: the data, targets and units.
        sorted_by: a column of ``values``.
        differing: "section.setting" of those that are not the same in all runs.
        values: of each run, by column.
    """

    title: str
    runs: tuple[RunRecord, ...]
    sorted_by: str
    differing: tuple[str, ...]
    values: tuple[Mapping[str, Value], ...]


def grouped(runs: Sequence[RunRecord], sort: str | None = None) -> tuple[list[Group], list[str]]:
    """The groups, and lines about why there are several.

    Args:
        sort: a column of the CSV file, the smallest first; left out: the validation error of the best epoch.
    Raises:
        UserError: there is no such column.
    """
    members: dict[str, list[RunRecord]] = {}
    for run in runs:
        members.setdefault(_measured_on(run), []).append(run)
    parts = [part for those in members.values() for part in _by_report(those)]
    groups = [_group(part, number, sort) for number, part in enumerate(parts, start=1)]
    known = list(dict.fromkeys(name for group in groups for values in group.values for name in values))
    if sort is not None and sort not in known:
        like = nearest(sort, known)
        hint = f"; did you mean {like}?" if like else ";"
        raise UserError(f"there is no column {sort} to sort by{hint} known: {', '.join(known)}")
    if len(groups) == 1:
        return groups, []
    return groups, [
        f"look: these runs are in {len(groups)} groups, which are not ranked against each other, since their errors "
        f"are over other data, targets or windows ({_between(groups)})"
    ]


def _between(groups: Sequence[Group]) -> str:
    """In which settings of the data the groups differ."""
    configs = [run.config for group in groups for run in group.runs if run.config is not None]
    settings = [key.partition(".") for key in _differing(configs)]
    names = [name for section, _, name in settings if section == "data" and name not in _NOT_MEASURED]
    return some(names) if names else "by their reports; the CSV file has test_windows"


def _measured_on(run: RunRecord) -> str:
    """What the validation error of a run is over, by its settings; runs without a configuration know of no other."""
    if run.config is None:
        return f"no configuration: {run.folder}"
    data = {name: value for name, value in to_dict(run.config.data).items() if name not in _NOT_MEASURED}
    if _several_targets(run):  # ranked by an error in deviations, which these change
        data["deviations"] = [run.config.data.scaler, run.config.training.loss_unit]
    return json.dumps(data)


def _several_targets(run: RunRecord) -> bool:
    return any(len(row.targets) > 1 for row in run.rows)


def _by_report(runs: list[RunRecord]) -> list[list[RunRecord]]:
    """Runs whose reports are over the same windows; those without a report are with the most of the others."""
    parts: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in runs:
        if run.report is not None:
            parts.setdefault(run.report.measured_on, []).append(run)
    without = [run for run in runs if run.report is None]
    if not parts:
        return [without]
    most = max(parts.values(), key=len)
    most += without
    return list(parts.values())


def _group(runs: list[RunRecord], number: int, sort: str | None) -> Group:
    ranked_by = "validation_error" if any(map(_several_targets, runs)) else _DEFAULT_SORT
    column = sort or ranked_by
    differing = tuple(_differing([run.config for run in runs if run.config is not None]))
    title = _title(runs)
    values = {run.folder: _values(run, differing, f"{number}: {title}") for run in runs}
    ordered = sorted(runs, key=lambda run: (_order(values[run.folder].get(column)), natural(run.name)))
    return Group(title, tuple(ordered), column, differing, tuple(values[run.folder] for run in ordered))


def _order(value: Value) -> tuple[int, float, list[tuple[int, str]]]:
    if isinstance(value, str):
        return 1, 0.0, natural(value)
    return (0, float(value), []) if value is not None and math.isfinite(value) else (2, 0.0, [])


def _differing(configs: Sequence[Config]) -> list[str]:
    """ "section.setting" of those that are not the same in all; places of files differ always, and are left out."""
    plain = [to_dict(config) for config in configs]
    return [
        f"{section}.{name}"
        for section, settings in (plain[0].items() if plain else ())
        for name in settings
        if name not in _PLACES and any(one[section][name] != settings[name] for one in plain)
    ]


def _title(runs: Sequence[RunRecord]) -> str:
    report = next((run.report for run in runs if run.report is not None), None)
    config = next((run.config for run in runs if run.config is not None), None)
    words = "data unknown" if config is None else config.data.data
    if report is not None:
        targets = [f"{channel.name} ({channel.unit})" if channel.unit else channel.name for channel in report.channels]
        return f"{words}: {some(targets)}, {counted(len(report.horizons), 'step')}"
    if config is None:
        return words
    targets = list(config.data.targets) or sorted({name for run in runs for row in run.rows for name in row.targets})
    return f"{words}: {some(targets)}" if targets else words


def _values(run: RunRecord, differing: Sequence[str], group: str) -> dict[str, Value]:
    best, status = run.best, run.status
    values: dict[str, Value] = dict.fromkeys(_ALWAYS)
    values |= {
        "run": run.name,
        "folder": str(run.folder),
        "group": group,
        "state": run.state,
        "reason": run.reason,
        "since": None if status is None else status.since,
        "host": None if status is None else status.process.host,
        "device": str(run.start["device"]) if "device" in run.start else None,
        "ranks": run.ranks,
        "epoch": len(run.rows),
        "epochs": run.epochs,
        "step": run.rows[-1].step if run.rows else None,
        "seconds": run.seconds,
        "windows_per_second": run.windows_per_second,
    }
    if best is not None:
        values |= {"best_epoch": best.epoch, "validation_mae": best.validation_mae}
        values |= {"validation_error": best.validation_error}
        values |= {f"validation_mae_{name}": mae for name, mae in best.targets.items()}
    if run.report is not None:
        values |= _tested(run.report)
    if run.config is not None and differing:
        plain = to_dict(run.config)
        values |= {key: _cell(plain[key.split(".")[0]][key.split(".")[1]]) for key in differing}
    return values


def _cell(setting: Any) -> Value:
    if setting is None:
        return ""
    if isinstance(setting, list):
        return " ".join(map(str, setting))
    return setting if isinstance(setting, int | float) and not isinstance(setting, bool) else str(setting).lower()


def _tested(report: ReportFigures) -> dict[str, Value]:
    values: dict[str, Value] = {"test_windows": report.windows}
    for channel in report.channels:
        model = next(iter(channel.methods))
        what = f"_{channel.name}" if len(report.channels) > 1 else ""
        for place in report.chosen():
            label = _word(report.horizons[place])
            for figure in ("mae", "rmse", "mape"):
                values[f"test_{figure}{what}_{label}"] = channel.methods[model][figure][place]
        values[f"test_mae{what}_all"] = channel.cumulative[model]["mae"][-1]
    return values


def _word(label: str) -> str:
    return re.sub(r"\W+", "_", label)


def to_csv(groups: Sequence[Group]) -> bytes:
    """All columns of all runs; what a run does not have is an empty cell."""
    columns = list(dict.fromkeys(name for group in groups for values in group.values for name in values))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for group in groups:
        for values in group.values:
            writer.writerow({name: "" if _is_nan(value) else value for name, value in values.items()})
    return text.getvalue().encode("utf-8", "backslashreplace")


def _is_nan(value: Value) -> bool:
    return isinstance(value, float) and math.isnan(value)


def to_text(groups: Sequence[Group]) -> str:
    """The tables for a terminal."""
    return "\n\n".join(_text_of(group) for group in groups)


def _text_of(group: Group) -> str:
    runs = counted(len(group.runs), "run")
    lines = [f"{group.title}: {runs}" + (f", by {group.sorted_by}" if len(group.runs) > 1 else "")]
    tested = _test_columns(group)
    header = ["run", "state", "epochs", "best", "validation MAE", *tested, "time", "windows/s", "ranks"]
    if several := any(map(_several_targets, group.runs)):
        header[4] = "validation error"
    if group.differing:
        header.append("differs in")
    rows = []
    for run, values in zip(group.runs, group.values, strict=True):
        error = values["validation_error" if several else "validation_mae"]
        cells = [run.name, run.state, f"{values['epoch']}/{_shown(values['epochs'])}", _shown(values["best_epoch"])]
        cells += [_figure(error), *(_figure(values.get(name)) for name in tested.values())]
        seconds = run.seconds
        cells += [_EMPTY if seconds is None else duration(seconds), _figure(values["windows_per_second"])]
        cells.append(_shown(values["ranks"]))
        if group.differing:
            cells.append("  ".join(f"{key.split('.')[1]}={_shown(values.get(key))}" for key in group.differing))
        rows.append(
            [cell[: _WIDEST - 1] + "…" if len(cell) > _WIDEST and cell != cells[-1] else cell for cell in cells]
        )
    left = {0, 1, len(header) - 1} if group.differing else {0, 1}
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [f"{cell:{'<' if i in left else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    lines += [f"{run.name}: {run.state}, {run.reason}" for run in group.runs if run.state in ("failed", "nan")]
    return "\n".join(lines)


def _test_columns(group: Group) -> dict[str, str]:
    """Heading -> column, of the reports' errors: one target at three horizons, several over all horizons."""
    report = next((run.report for run in group.runs if run.report is not None), None)
    if report is None:
        return {}
    if len(report.channels) > 1:
        return {f"test MAE {channel.name}": f"test_mae_{channel.name}_all" for channel in report.channels}
    labels = [report.horizons[place] for place in report.chosen()]
    return {f"test MAE {label}": f"test_mae_{_word(label)}" for label in labels}


def short(text: str, longest: int = 40) -> str:
    """The text, or its end: what tells names of folders apart stands there."""
    return text if len(text) <= longest else "…" + text[1 - longest :]


def _shown(value: Value) -> str:
    return _EMPTY if value is None else str(value)


def _figure(value: Value) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return _EMPTY
    return f"{value:#.4g}".removesuffix(".") if 1e-3 <= abs(value) < 1e6 else f"{value:.3e}"
