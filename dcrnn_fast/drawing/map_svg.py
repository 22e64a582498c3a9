"""Sensors on a map as an SVG picture: points with a colour for their value, links, a scale bar and a legend.

The picture holds everything it needs. Shape legend: N sensors, E links, L points of lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dcrnn_fast.drawing.html import Markup, markup_of, svg_figure, tag
from dcrnn_fast.drawing.map_colours import STEPS, ColourScale, scale_of
from dcrnn_fast.drawing.projection import Flat, flattened
from dcrnn_fast.messages import counted

_WIDTH, _MARGIN = 1000.0, 40.0
_SHAPES = (0.3, 0.85)
"""least and most height of the picture, as shares of its width"""
_MOST_LINKS = 12_000
_MOST_TITLED_LINKS = 1_500
_MOST_POINTS = 20_000
_MOST_RIMMED = 500
_ONE_PLACE = 1e-6
"""km, within which all sensors are at one place"""
_BAR_WIDTH, _BAR_HEIGHT = 240.0, 24.0


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Links:
    """Lines between sensors.

    Attributes:
        rows_E, columns_E: int, from and to.
        values_E: what their colours show, NaN for grey; strength_E: if there are too many to draw, the strongest stay.
        words: what the values are, with their unit.
    """

    rows_E: np.ndarray
    columns_E: np.ndarray
    values_E: np.ndarray
    strength_E: np.ndarray
    words: str


def sensor_map(
    title: str,
    positions_N2: np.ndarray,
    names_N: Sequence[str],
    *,
    values_N: np.ndarray | None = None,
    words: str = "",
    tips_N: Sequence[str] | None = None,
    links: Links | None = None,
    moved_N2: np.ndarray | None = None,
    on_globe: bool = True,
    scale: ColourScale | None = None,
) -> Markup:
    """A figure with the map, its legend, and a line about everything that is not drawn.

    The page needs the styles of ``drawing.page``. More than 12,000 links, or 20,000 points, are thinned. Positions at
    the poles and on both sides of the date line are places as any other.

    Args:
        positions_N2: (latitude, longitude) in degrees, or (x, y) in metres if not ``on_globe``; NaN: not drawn.
        values_N: what the points' colours show, NaN for an empty ring; None: all alike.
        words: what the values are, with their unit.
        tips_N: a text for each point, beside its name.
        moved_N2: where each sensor was put, to which a line leads.
        scale: bounds of the points' colours; left out: the middle 96 % of the values.
    """
    both = positions_N2 if moved_N2 is None else np.concatenate([positions_N2, moved_N2])
    known_N = np.isfinite(positions_N2).all(axis=1)
    if not known_N.any():
        return tag("figure", tag("figcaption", title), tag("p", "no sensor has a position", class_="faint"))
    flat = flattened(both, on_globe)
    frame = _frame_of(flat.places_N2)
    places_N2 = frame.placed(flat.places_N2)
    num_sensors = len(names_N)
    notes: list[str] = []
    drawn: list[Markup] = []
    keys: list[Markup] = []
    if links is not None:
        lines, key = _links_drawn(links, places_N2, names_N, frame, flat, notes)
        drawn.append(lines)
        keys += key
    if moved_N2 is not None:
        path = _path(places_N2[:num_sensors], places_N2[num_sensors:])
        drawn.append(tag("path", d=path, class_="moved"))
    points, key = _points_drawn(places_N2[:num_sensors], names_N, values_N, words, tips_N, scale, notes)
    drawn.append(points)
    keys += key
    if not known_N.all():
        notes.append(f"{counted(int((~known_N).sum()), 'sensor')} without a position not drawn")
    if flat.is_true and frame.is_spread:
        drawn.append(_bar(frame))
    return svg_figure(
        title,
        f"{counted(num_sensors, 'sensor')}; {words}",
        drawn,
        (_WIDTH, frame.height),
        tag("div", keys, class_="mapkeys"),
        tag("p", "; ".join(notes), class_="faint") if notes else None,
        class_="wide",
        svg_class="map",
    )


class _Frame(NamedTuple):
    """From kilometres to the picture: ``scale`` units for each; ``is_spread``: not all are at one place."""

    left: float
    top: float
    scale: float
    height: float
    is_spread: bool

    def placed(self, places_N2: np.ndarray) -> np.ndarray:
        x_N, y_N = places_N2.T
        return np.stack([_MARGIN + (x_N - self.left) * self.scale, _MARGIN + (self.top - y_N) * self.scale], axis=1)


def _frame_of(places_N2: np.ndarray) -> _Frame:
    low, high = np.nanmin(places_N2, axis=0), np.nanmax(places_N2, axis=0)
    wide, tall = np.maximum(high - low, _ONE_PLACE)
    inner = _WIDTH - 2 * _MARGIN
    most = _SHAPES[1] * _WIDTH - 2 * _MARGIN
    scale = float(min(inner / wide, most / tall))
    height = max(_SHAPES[0] * _WIDTH, tall * scale + 2 * _MARGIN)
    middle = (low + high) / 2
    left = float(middle[0] - inner / scale / 2)
    top = float(middle[1] + (height - 2 * _MARGIN) / scale / 2)
    return _Frame(left, top, scale, float(height) + _BAR_HEIGHT, bool((high - low).max() > _ONE_PLACE))


def _points_drawn(
    places_N2: np.ndarray,
    names_N: Sequence[str],
    values_N: np.ndarray | None,
    words: str,
    tips_N: Sequence[str] | None,
    scale: ColourScale | None,
    notes: list[str],
) -> tuple[Markup, list[Markup]]:
    known = np.flatnonzero(np.isfinite(places_N2).all(axis=1))
    if len(known) > _MOST_POINTS:
        # One of those that would lie on each other.
        cells = np.round(places_N2[known] / 3).astype(np.int64)
        known = known[np.unique(cells, axis=0, return_index=True)[1]][:_MOST_POINTS]
        notes.append(f"{len(known):,} of the {len(names_N):,} sensors drawn, where several would lie on each other")
    # A rim on a point of a pixel would be all of it, and hide its colour.
    many = len(known) > _MOST_RIMMED
    size = float(np.clip((150 if many else 60) / np.sqrt(max(len(known), 1)), 2.0, 9.0))
    if values_N is None:
        steps_N, keys = np.full(len(names_N), -2), []
    else:
        scale = scale or scale_of(values_N)
        steps_N = np.full(len(names_N), -1) if scale is None else scale.steps(values_N)
        keys = [_key(scale, words, "points")] if scale is not None else []
    classes = {-2: "plain", -1: "empty"}
    drawn = []
    for n in known.tolist():
        value = "" if values_N is None else f": {_figure(values_N[n], words)}"
        tip = f"\n{tips_N[n]}" if tips_N is not None and tips_N[n] else ""
        x, y = places_N2[n]
        class_ = classes.get(int(steps_N[n]), f"mf{steps_N[n]}")
        # Written out: this is most of a page with thousands of sensors.
        title = markup_of(f"{names_N[n]}{value}{tip}")
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" class="{class_}"><title>{title}</title></circle>'
        )
    return tag("g", Markup("".join(drawn)), class_="points many" if many else "points"), keys


def _links_drawn(
    links: Links, places_N2: np.ndarray, names_N: Sequence[str], frame: _Frame, flat: Flat, notes: list[str]
) -> tuple[Markup, list[Markup]]:
    rows_E, columns_E = links.rows_E, links.columns_E
    seen_E = np.isfinite(places_N2[rows_E]).all(axis=1) & np.isfinite(places_N2[columns_E]).all(axis=1)
    chosen = np.flatnonzero(seen_E & (rows_E != columns_E))
    if len(chosen) > _MOST_LINKS:
        notes.append(f"the {_MOST_LINKS:,} strongest of {len(chosen):,} links drawn")
        chosen = chosen[np.argsort(-links.strength_E[chosen], kind="stable")[:_MOST_LINKS]]
    chosen = chosen[np.argsort(links.strength_E[chosen], kind="stable")]
    scale = scale_of(links.values_E[chosen])
    steps = np.full(len(chosen), -1) if scale is None else scale.steps(links.values_E[chosen])
    keys = [] if scale is None else [_key(scale, links.words, "links")]
    starts, ends = places_N2[rows_E[chosen]], places_N2[columns_E[chosen]]
    drawn: list[Markup] = []
    if len(chosen) <= _MOST_TITLED_LINKS and flat.wraps_km is None:
        for place, link in enumerate(chosen.tolist()):
            words = (
                f"{names_N[rows_E[link]]} to {names_N[columns_E[link]]}: {_figure(links.values_E[link], links.words)}"
            )
            path = _path(starts[place : place + 1], ends[place : place + 1])
            drawn.append(tag("path", tag("title", words), d=path, class_=_stroke(int(steps[place]))))
        return tag("g", drawn, class_="links"), keys
    if flat.wraps_km is not None:
        starts, ends, steps = _around(starts, ends, steps, flat.wraps_km * frame.scale)
    # Stretches of equal colour, from the weakest to the strongest.
    for part in np.array_split(np.arange(len(steps)), 4):
        for step in np.unique(steps[part]).tolist():
            same = part[steps[part] == step]
            drawn.append(tag("path", d=_path(starts[same], ends[same]), class_=_stroke(step)))
    return tag("g", drawn, class_="links many"), keys


def _around(
    starts: np.ndarray, ends: np.ndarray, steps: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A link over more than half of the globe's map goes the other way: over its edge, and in again."""
    far = np.abs(ends[:, 0] - starts[:, 0]) > width / 2
    shift = np.where(ends[far, 0] > starts[far, 0], -width, width)[:, None] * np.array([1.0, 0.0])
    new_starts = np.concatenate([starts[~far], starts[far], starts[far] - shift])
    new_ends = np.concatenate([ends[~far], ends[far] + shift, ends[far]])
    return new_starts, new_ends, np.concatenate([steps[~far], steps[far], steps[far]])


def _path(starts_L2: np.ndarray, ends_L2: np.ndarray) -> str:
    whole = np.isfinite(starts_L2).all(axis=1) & np.isfinite(ends_L2).all(axis=1)
    rows = np.concatenate([starts_L2[whole], ends_L2[whole]], axis=1).tolist()
    return "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in rows)


def _stroke(step: int) -> str:
    return "grey" if step < 0 else f"ms{step}"


def _key(scale: ColourScale, words: str, what: str) -> Markup:
    """The steps of a scale with the values at its ends."""
    steps = [tag("span", class_="mapstep", style=f"background:{colour}") for colour in STEPS]
    return tag(
        "p", f"{what}: ", tag("b", _figure(scale.low)), " ", steps, " ", tag("b", _figure(scale.high)), f" {words}"
    )


def _bar(frame: _Frame) -> Markup:
    """A scale bar of a round length, at the lower left."""
    longest = _BAR_WIDTH / frame.scale
    size = 10.0 ** np.floor(np.log10(longest))
    km = next(size * factor for factor in (5, 2, 1) if size * factor <= longest)
    x, y = _MARGIN / 2, frame.height - _MARGIN / 2
    words = f"{km:g} km" if km >= 1 else f"{1000 * km:g} m"
    length = km * frame.scale
    path = f"M{x:.1f} {y - 8:.1f}V{y:.1f}H{x + length:.1f}V{y - 8:.1f}"
    return tag(
        "g",
        tag("path", d=path, class_="bar"),
        tag("text", words, x=f"{x + length + 10:.1f}", y=f"{y:.1f}"),
        class_="scale",
    )


def _figure(value: float, words: str = "") -> str:
    if not np.isfinite(value):
        return "no value"
    return (f"{value:.4g} {words}" if abs(value) < 1000 else f"{value:,.0f} {words}").rstrip()
