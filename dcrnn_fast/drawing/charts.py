"""Charts as small SVG pictures whose texts can be read aloud and selected; colours come from the page's style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dcrnn_fast.drawing.html import Markup, svg_figure, tag

COLOURS = 8
"""the style sheet has so many, c0 to c7"""
_WIDTH, _HEIGHT = 420, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 18, 12, 38
_MOST_POINTS = 400
_MOST_DOTS = 40
_LETTER = 6.6
"""width of a character of an axis, about"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart; points that are not finite are gaps.

    Attributes:
        colour: 0 to 7; mark: a point of it that is named, with its words.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int = 0
    dashed: bool = False
    mark: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """An area between two lines of a chart; points that are not finite end it.

    Attributes:
        colour: 0 to 7; the later of several bands lies on top.
    """

    name: str
    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    colour: int = 0


class _Axis(NamedTuple):
    low: float
    high: float
    ticks: tuple[float, ...]


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    *,
    x_names: Sequence[str] | None = None,
    from_zero: bool = False,
    log: bool = False,
    whole_x: bool = False,
    most: float | None = None,
    bands: Sequence[Band] = (),
) -> Markup:
    """A chart of lines with its legend; a sentence instead if there is nothing to draw.

    Args:
        x_names: names of the places 1, 2, ... of the horizontal axis.
        from_zero: the vertical axis begins at 0; log: it is logarithmic, if all values are positive.
        most: the vertical axis ends there at least.
        bands: areas behind the lines.
    """
    shown = [_thinned(line) for line in lines]
    points = [(x, y) for line in shown for x, y in zip(line.xs, line.ys, strict=True) if _finite(x, y)]
    points += [(x, y) for band in bands for x, *both in _whole(band) for y in both]
    if not points:
        return tag("figure", tag("figcaption", title), tag("p", "no figures yet", class_="faint"))
    log = log and all(y > 0 for _, y in points)
    place: Callable[[float], float] = math.log10 if log else float
    ys = [place(y) for _, y in points] + ([0.0] if from_zero else []) + ([] if most is None else [most])
    # All named places, so that charts of the same places are alike.
    xs = [x for x, _ in points] if x_names is None else [1, len(x_names)]
    x_axis = _axis(min(xs), max(xs), whole=whole_x or x_names is not None)
    y_axis = _axis(min(ys), max(ys), round_out=True, whole=log)

    def at(x: float, y: float) -> tuple[float, float]:
        right = (x - x_axis.low) / (x_axis.high - x_axis.low)
        up = (place(y) - y_axis.low) / (y_axis.high - y_axis.low)
        return _LEFT + right * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    drawn: list[Markup] = []
    for tick in y_axis.ticks:
        _, y = at(x_axis.low, 10**tick if log else tick)
        drawn.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y))
        drawn.append(_text(_LEFT - 6, y + 4, _log_label(tick) if log else number(tick, y_axis), "end"))
    for tick, label in _labels(x_axis, x_names):
        x, _ = at(tick, 1.0)
        drawn.append(_text(x, _HEIGHT - _BOTTOM + 16, label, "middle"))
    drawn.append(_text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 5, x_label, "middle", "axis"))
    drawn += [_area(band, at) for band in bands]
    for line in reversed(shown):  # the first on top
        drawn += _drawn(line, at)
    described = "; ".join(_described(line) for line in lines[:COLOURS])
    legend = _legend([(line.name, line.colour, line.dashed) for line in lines]) if len(lines) > 1 else None
    return svg_figure(title, f"horizontal: {x_label}. {described}", drawn, (_WIDTH, _HEIGHT), legend)


def stacked_bars(title: str, names: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], unit: str) -> Markup:
    """A bar of stacked parts for each name.

    Args:
        parts: (name, a value for each bar).
    """
    totals = [sum(values[i] for _, values in parts) for i in range(len(names))]
    longest = max([*totals, 1e-12])
    left = min(14.0 + _LETTER * max(map(len, names), default=0), 150.0)
    height, room = 20, _WIDTH - left - 62
    drawn: list[Markup] = []
    for i, name in enumerate(names):
        y = 4 + i * height
        drawn.append(_text(left - 6, y + 13, name, "end"))
        x = left
        for colour, (part, values) in enumerate(parts):
            width = room * values[i] / longest
            words = tag("title", f"{name}, {part}: {values[i]:.4g} {unit}")
            if width > 0:
                drawn.append(
                    tag("rect", words, x=_px(x), y=y, width=_px(width), height=height - 5, class_=f"f{colour}")
                )
            x += width
        drawn.append(_text(x + 5, y + 13, f"{totals[i]:.3g} {unit}", "start"))
    description = "; ".join(f"{name}: {total:.4g} {unit}" for name, total in zip(names, totals, strict=True))
    legend = _legend([(part, colour, False) for colour, (part, _) in enumerate(parts)])
    return svg_figure(title, description, drawn, (_WIDTH, 8 + height * len(names)), legend)


def number(value: float, axis: _Axis | None = None) -> str:
    """A figure in few characters; of an axis with the decimals that tell its ticks apart."""
    if axis is not None and len(axis.ticks) > 1 and 1e-3 <= max(abs(axis.low), abs(axis.high)) < 1e5:
        step = axis.ticks[1] - axis.ticks[0]
        decimals = next((digits for digits in range(12) if abs(round(step, digits) - step) <= 1e-6 * step), 12)
        return f"{value:.{decimals}f}"
    return f"{value:.3g}"


def _whole(band: Band) -> list[tuple[float, float, float]]:
    """The points of a band that have both its lines."""
    return [point for point in zip(band.xs, band.lows, band.highs, strict=True) if _finite(*point)]


def _area(band: Band, at: Callable[[float, float], tuple[float, float]]) -> Markup:
    points = _whole(band)
    edge = [at(x, high) for x, _, high in points] + [at(x, low) for x, low, _ in reversed(points)]
    words = " ".join(f"{_px(x)},{_px(y)}" for x, y in edge)
    return tag("polygon", tag("title", band.name), points=words, class_=f"band f{band.colour}")


def _finite(*values: float) -> bool:
    return all(map(math.isfinite, values))


def _axis(low: float, high: float, *, round_out: bool = False, whole: bool = False) -> _Axis:
    """Bounds and three to seven round ticks between them."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        space = 0.5 if whole else abs(low) * 0.1 or 1.0
        low, high = low - space, high + space
    step = _round_step((high - low) / 4)
    if whole:
        step = max(round(step), 1)
    if round_out:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first = math.ceil(low / step - 1e-9)
    ticks = tuple((first + i) * step for i in range(int((high - first * step) / step + 1e-9) + 1))
    return _Axis(low, high, ticks)


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * round_ for round_ in (1, 2, 2.5, 5, 10) if size * round_ >= step * 0.999)


def _labels(axis: _Axis, names: Sequence[str] | None) -> list[tuple[float, str]]:
    if names is None:
        return [(tick, number(tick, axis)) for tick in axis.ticks]
    widest = max(map(len, names)) * _LETTER + 14
    every = max(1, math.ceil(len(names) * widest / (_WIDTH - _LEFT - _RIGHT)))
    return [(place, name) for place, name in enumerate(names, start=1) if place % every == 0]


def _log_label(tick: float) -> str:
    return f"1e{tick:.0f}" if abs(tick) > 3 else f"{10**tick:g}"


def _thinned(line: Line) -> Line:
    """At most so many points: of each stretch its lowest and highest, so that no peak is lost."""
    every = math.ceil(len(line.xs) / (_MOST_POINTS / 2))
    if every <= 2:
        return line
    kept: list[int] = []
    for first in range(0, len(line.xs), every):
        places = [i for i in range(first, min(first + every, len(line.xs))) if _finite(line.ys[i])]
        if places:
            kept += sorted({min(places, key=lambda i: line.ys[i]), max(places, key=lambda i: line.ys[i])})
    mark = line.mark and (kept.index(line.mark[0]), line.mark[1]) if line.mark and line.mark[0] in kept else None
    return Line(line.name, [line.xs[i] for i in kept], [line.ys[i] for i in kept], line.colour, line.dashed, mark)


def _drawn(line: Line, at: Callable[[float, float], tuple[float, float]]) -> list[Markup]:
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if _finite(x, y):
            stretches[-1].append(at(x, y))
        elif stretches[-1]:
            stretches.append([])
    drawn = []
    for points in filter(None, stretches):
        path = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        drawn.append(tag("polyline", points=path, class_=f"s{line.colour}{' dashed' if line.dashed else ''}"))
    dots = [point for points in stretches for point in points]
    if len(dots) <= _MOST_DOTS:
        drawn += [tag("circle", cx=_px(x), cy=_px(y), r=2.2, class_=f"f{line.colour}") for x, y in dots]
    if line.mark is not None and _finite(line.xs[line.mark[0]], line.ys[line.mark[0]]):
        x, y = at(line.xs[line.mark[0]], line.ys[line.mark[0]])
        side = "end" if x > _WIDTH * 0.6 else "start"
        drawn.append(tag("circle", cx=_px(x), cy=_px(y), r=4.5, class_=f"ring r{line.colour}"))
        drawn.append(_text(x, y + 17 if y < _HEIGHT - _BOTTOM - 20 else y - 12, line.mark[1], side, "mark"))
    return drawn


def _described(line: Line) -> str:
    values = [y for y in line.ys if _finite(y)]
    if not values:
        return f"{line.name}: no values"
    ends = f"first {number(values[0])}, last {number(values[-1])}"
    return f"{line.name}: {ends}, least {number(min(values))}, greatest {number(max(values))}"


def _legend(entries: Sequence[tuple[str, int, bool]]) -> Markup:
    items = [
        tag("li", tag("span", class_=f"key k{colour}{' dashed' if dashed else ''}"), name)
        for name, colour, dashed in entries
    ]
    return tag("ul", items, class_="legend")


def _rule(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", x1=_px(x1), y1=_px(y1), x2=_px(x2), y2=_px(y2), class_="grid")


def _text(x: float, y: float, words: str, anchor: str, class_: str | None = None) -> Markup:
    return tag("text", words, x=_px(x), y=_px(y), text_anchor=anchor, class_=class_)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
