"""One page about a list that was made: the map, the links' lengths, which stations were moved far, the account.

Shape legend: N stations, E pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcrnn_fast.drawing.charts import Line, line_chart
from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.drawing.map_svg import Links, sensor_map
from dcrnn_fast.drawing.page import cards, whole_page
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import write_bytes
from dcrnn_fast.graph.account import isolated_sensors, num_components
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import metres_words

_FARTHEST = 15
"""stations in the table of those that were moved"""


def write_page(path: Path, made: MadeList, lines: Sequence[str], *, sigma: float | None, threshold: float) -> None:
    """Writes the page, complete or not at all; ``lines`` are the account.

    Raises:
        UserError: the file cannot be written.
    """
    write_bytes(path, page_of(made, lines, sigma=sigma, threshold=threshold).encode())


def page_of(made: MadeList, lines: Sequence[str], *, sigma: float | None, threshold: float) -> str:
    """The page as text."""
    try:
        graph: SensorGraph | None = made.graph(sigma=sigma, threshold=threshold)
    except UserError:  # which the account says
        graph = None
    looks = [line.removeprefix("look: ") for line in lines if line.startswith("look: ")]
    facts = [line for line in lines if not line.startswith("look: ")]
    return whole_page(
        f"graph of {made.source}",
        tag("header", tag("h1", f"Graph of {made.source}"), cards(*_cards(made, graph))),
        _list("To look at", looks, "warn"),
        tag("section", tag("h2", "Map"), _map(made, graph)),
        tag("section", tag("h2", "Lengths of links"), tag("div", _lengths(made), class_="charts"))
        if made.holds == "distances"
        else None,
        _moved(made),
        _list("How it came about", facts, None),
        made_from=made.source,
    )


def _cards(made: MadeList, graph: SensorGraph | None) -> list[tuple[object, ...]]:
    linked_E = made.linked
    shown: list[tuple[object, ...]] = [
        ("stations", f"{len(made.ids):,}"),
        ("pairs in the list", f"{int(linked_E.sum()):,}"),
    ]
    if made.holds == "distances" and linked_E.any():
        metres = made.values_E[linked_E]
        shown.append(
            (
                "length",
                metres_words(float(np.median(metres))),
                tag("small", f"median; longest {metres_words(metres.max())}"),
            )
        )
    if graph is not None:
        links = graph.num_edges - int(np.count_nonzero(graph.adjacency.diagonal()))
        what = "" if made.holds == "weights" else "weights of at least the threshold"
        shown.append(("links of the graph", f"{links:,}", tag("small", what)))
        shown.append(("without a link", f"{len(isolated_sensors(graph)):,}", tag("small", "stations")))
        shown.append(("parts", f"{num_components(graph):,}", tag("small", "that no link joins")))
        if graph.account is not None and graph.account.sigma is not None:
            shown.append(("sigma", metres_words(graph.account.sigma), tag("small", graph.account.sigma_from)))
    if made.distance_N is not None:
        middle = np.median(made.distance_N[made.near_N])
        shown.append(("to the road", metres_words(middle), tag("small", "median of the stations on one")))
    return shown


def _map(made: MadeList, graph: SensorGraph | None) -> Markup:
    if made.positions_N2 is None:
        return tag(
            "p", "The stations have no positions: --stations with latitude and longitude gives a map.", class_="faint"
        )
    linked = np.flatnonzero(made.linked)
    rows_E, columns_E, values_E = made.rows_E[linked], made.columns_E[linked], made.values_E[linked]
    strength_E, words = values_E, "weight"
    if made.holds == "distances":
        strength_E, words, values_E = -values_E, "km", values_E / 1000
        if graph is not None:
            weights_E = np.asarray(graph.adjacency[rows_E, columns_E]).reshape(-1)
            kept = weights_E > 0
            rows_E, columns_E, values_E = rows_E[kept], columns_E[kept], values_E[kept]
            strength_E = weights_E[kept]
    links = Links(rows_E=rows_E, columns_E=columns_E, values_E=values_E, strength_E=strength_E, words=words)
    tips, away_N = None, None
    if made.distance_N is not None and made.near_N is not None:
        near = made.near_N.tolist()
        away_N = np.where(made.near_N, made.distance_N, np.nan)
        tips = [
            f"on {road or 'a road without a name'}" if near[n] else "no road near"
            for n, road in enumerate(made.roads_N)
        ]
    return sensor_map(
        "Stations and links" + (" with a weight of at least the threshold" if made.holds == "distances" else ""),
        made.positions_N2,
        made.ids,
        values_N=away_N,
        words="m from the road" if made.distance_N is not None else "",
        tips_N=tips,
        links=links,
        moved_N2=made.moved_N2,
        on_globe=made.on_globe,
    )


def _lengths(made: MadeList) -> Markup:
    metres = np.sort(made.values_E[made.linked])
    shares = np.linspace(0, 1, 200)
    km = np.quantile(metres, shares) / 1000 if metres.size else np.zeros(0)
    line = Line("pairs", km.tolist(), (100 * shares[: len(km)]).tolist())
    return line_chart("pairs of the list up to a length (%)", [line], "km", from_zero=True)


def _moved(made: MadeList) -> Markup | None:
    if made.distance_N is None or made.near_N is None:
        return None
    near = made.near_N.tolist()
    order = np.argsort(-made.distance_N, kind="stable")[:_FARTHEST].tolist()
    rows = [
        tag(
            "tr",
            tag("td", made.ids[n]),
            tag("td", f"{made.distance_N[n]:,.1f}", class_="n"),
            tag("td", made.roads_N[n] if near[n] else "no road near: no link"),
        )
        for n in order
    ]
    head = tag("tr", tag("th", "station"), tag("th", "m", class_="n"), tag("th", "road"))
    return tag(
        "section",
        tag("h2", "Farthest from their road"),
        tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll"),
    )


def _list(title: str, lines: Sequence[str], class_: str | None) -> Markup | None:
    if not lines:
        return None
    return tag(
        "section", tag("h2", title), tag("ul", [tag("li", line, class_=class_) for line in lines], class_="notes")
    )
