"""report.json, read without the libraries that write it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular
from dcrnn_fast.messages import one_line

T = TypeVar("T")
FIGURES = ("mae", "rmse", "mape", "wape")
INTERVAL_FIGURES = ("coverage", "width", "score")


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """Errors of one target.

    Attributes:
        methods: name -> figure (``FIGURES``) -> a number for each horizon, NaN where nothing was observed; the model
            first.
        cumulative: the same over horizons 1..h.
        intervals: level -> figure (``INTERVAL_FIGURES``) -> a number for each horizon; empty without intervals.
    """

    name: str
    unit: str
    methods: Mapping[str, Mapping[str, tuple[float, ...]]]
    cumulative: Mapping[str, Mapping[str, tuple[float, ...]]]
    intervals: Mapping[float, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HourFigures:
    """Errors of one target by the hour.

    Attributes:
        worst: (time, the model's MAE, the strongest baseline's, NaN if there is none), the worst first.
        of_day: both at each of the 24 hours of the day; empty: rows are longer than an hour.
    """

    worst: tuple[tuple[str, float, float], ...]
    of_day: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class SensorSeries:
    """One sensor's readings and forecasts over a stretch, NaN where nothing was observed; ``lower`` and ``upper`` are
    empty without an interval. ``rank``: best, median or worst.
    """

    id: str
    rank: str
    mae: float
    observed: tuple[float, ...]
    forecast: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeriesFigures:
    """A stretch of forecasts of one target: so far ahead, with intervals of this level, for these times."""

    horizon: str
    level: float | None
    times: tuple[str, ...]
    sensors: tuple[SensorSeries, ...]


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """What a report.json says; ``horizons`` are labels ("15 min"), ``about`` the figures' origin; ``hours`` is one for
    each channel, or empty.
    """

    data: str
    split: str
    windows: int
    sensors: int
    first_target: str
    last_target: str
    horizons: tuple[str, ...]
    channels: tuple[ChannelFigures, ...]
    strongest: str | None
    notes: tuple[str, ...]
    about: Mapping[str, str]
    hours: tuple[HourFigures, ...] = ()
    series: tuple[SeriesFigures | None, ...] = ()

    def chosen(self) -> tuple[int, ...]:
        """Places of a quarter, half and all of the horizons, from 0."""
        steps = len(self.horizons)
        return tuple(sorted({math.ceil(steps / 4) - 1, math.ceil(steps / 2) - 1, steps - 1}))

    @property
    def measured_on(self) -> tuple[object, ...]:
        """Reports that differ in this are of other windows, and their errors do not compare."""
        channels = tuple((channel.name, channel.unit) for channel in self.channels)
        return self.split, self.windows, self.sensors, self.first_target, self.last_target, self.horizons, channels


def read_report(path: Path) -> ReportFigures:
    """A report.json.

    Raises:
        UserError: it cannot be read, or a part is absent or of another type; the message names file and part.
    """
    try:
        with open_regular(path) as stream:
            raw = json.loads(stream.read())
        return _figures(raw)
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
    except (OverflowError, RecursionError, ValueError) as error:
        raise UserError(f"{path} is not a report: {one_line(error)[:200]}") from error


def _figures(raw: Any) -> ReportFigures:
    horizons = tuple(_text(horizon, "label", "horizons") for horizon in _part(raw, "horizons", list, "the report"))
    channels = tuple(_channel(channel, len(horizons)) for channel in _part(raw, "channels", list, "the report"))
    if not (horizons and channels):
        raise ValueError("it has no horizons or no channels")
    strongest = raw.get("strongest_baseline")
    return ReportFigures(
        data=_text(raw, "data"),
        split=_text(raw, "split"),
        windows=_part(raw, "windows", int, "the report"),
        sensors=_part(raw, "sensors", int, "the report"),
        first_target=_text(raw, "first_target"),
        last_target=_text(raw, "last_target"),
        horizons=horizons,
        channels=channels,
        strongest=strongest if isinstance(strongest, str) else None,
        notes=tuple(map(str, _part(raw, "notes", list, "the report"))),
        series=_of_channels(raw, "series", len(channels), _series),
        hours=tuple(filter(None, _of_channels(raw, "hours", len(channels), _hours_of_channel))),
        about={str(name): str(value) for name, value in _part(raw, "about", dict, "the report").items()},
    )


def _of_channels(raw: Any, name: str, channels: int, read: Callable[[Any], T]) -> tuple[T | None, ...]:
    """A part with an entry for each channel, which may be null; of a report of an older version none."""
    entries = raw.get(name, [])
    if not isinstance(entries, list) or len(entries) not in (0, channels):
        raise ValueError(f"{name} must be a list, one for each channel, got {shown(entries)}")
    return tuple(None if entry is None else read(entry) for entry in entries)


def _series(raw: Any) -> SeriesFigures:
    times = tuple(map(str, _part(raw, "times", list, "series")))
    level = raw.get("level")
    if level is not None and type(level) is not float:
        raise ValueError(f"level of series must be a number, got {shown(level)}")
    return SeriesFigures(
        _text(raw, "horizon", "series"),
        level,
        times,
        tuple(
            SensorSeries(
                _text(one, "id", "series"),
                _text(one, "rank", "series"),
                _part(one, "mae", float, "series"),
                *(_numbers(one, name, len(times)) for name in ("observed", "forecast")),
                *(_numbers(one, name, len(times)) if name in one else () for name in ("lower", "upper")),
            )
            for one in _part(raw, "sensors", list, "series")
        ),
    )


def _hours_of_channel(raw: Any) -> HourFigures:
    worst = [
        (_text(hour, "time", "worst"), *_both([hour.get("mae"), hour.get("baseline_mae")]))
        for hour in _part(raw, "worst", list, "hours")
    ]
    of_day = raw.get("of_day") or []
    if not isinstance(of_day, list) or len(of_day) not in (0, 24):
        raise ValueError(f"of_day must have 24 hours, got {shown(of_day)}")
    return HourFigures(tuple(worst), tuple(map(_both, of_day)))


def _both(raw: Any) -> tuple[float, float]:
    model, baseline = _numbers({"mae": raw}, "mae", 2)
    return model, baseline


def _channel(raw: Any, steps: int) -> ChannelFigures:
    methods = _part(raw, "methods", dict, "channels")
    if not methods:
        raise ValueError("a channel has no methods")

    def of(kind: str) -> dict[str, dict[str, tuple[float, ...]]]:
        return {
            method: {name: _numbers(_part(both, kind, dict, method), name, steps) for name in FIGURES}
            for method, both in methods.items()
        }

    return ChannelFigures(
        _text(raw, "name"), _text(raw, "unit"), of("at_horizon"), of("cumulative"), _intervals(raw, steps)
    )


def _intervals(raw: Any, steps: int) -> dict[float, dict[str, tuple[float, ...]]]:
    if "intervals" not in raw:
        return {}
    found = {}
    for entry in _part(raw, "intervals", list, "channels"):
        level, figures = _part(entry, "level", float, "intervals"), _part(entry, "at_horizon", dict, "intervals")
        if not 0 < level < 1:
            raise ValueError(f"level of intervals must lie between 0 and 1, got {shown(level)}")
        found[level] = {name: _numbers(figures, name, steps) for name in INTERVAL_FIGURES}
    return found


def _numbers(raw: dict[str, Any], name: str, steps: int) -> tuple[float, ...]:
    values = raw.get(name, [None] * steps)  # a figure that an older version did not have
    if not isinstance(values, list) or len(values) != steps:
        raise ValueError(f"{name} must be a list of {steps} numbers, got {shown(values)}")
    for value in values:
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"{name} must be a list of numbers, got {shown(value)} in it")
    return tuple(math.nan if value is None else float(value) for value in values)


def _part(raw: Any, name: str, kind: type, where: str) -> Any:
    value = raw.get(name) if isinstance(raw, dict) else None
    if type(value) is not kind:
        raise ValueError(f"{name} of {where} must be a {kind.__name__}, got {shown(value)}")
    return value


def _text(raw: Any, name: str, where: str = "the report") -> str:
    return str(_part(raw, name, str, where))
