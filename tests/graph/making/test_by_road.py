"""Road distances between stations: equal to networkx's on the same streets, cut at the same places."""

from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.graph import haversine_km
from dcrnn_fast.graph.making.by_road import by_road, read_roads
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import read_stations
from tests.graph.making.made_roads import Line, graphml, random_city, wkt, write_stations


def metres(line: Line) -> float:
    points = np.array(line)[:, ::-1]
    return float(1000 * haversine_km(points[:-1], points[1:]).sum())


def along(line: Line, share: float) -> tuple[float, float]:
    """The place at a share of the first or second half of a bent line, which has three points."""
    (a, b, c), half = line, 2 * share
    start, end, rest = (a, b, half) if half < 1 else (b, c, half - 1)
    return start[0] + rest * (end[0] - start[0]), start[1] + rest * (end[1] - start[1])


def cut(line: Line, place: tuple[float, float], share: float) -> tuple[float, float]:
    """Metres of a bent line before and after a place on it."""
    first = [line[0], place] if share < 0.5 else [line[0], line[1], place]
    last = [place, line[1], line[2]] if share < 0.5 else [place, line[2]]
    return metres(first), metres(last)


def made(tmp_path: Path, text: str, places: dict[str, tuple[float, float]], **flags: float) -> MadeList:
    (tmp_path / "roads.graphml").write_text(text)
    stations = read_stations(write_stations(tmp_path / "stations.csv", places))
    network = read_roads(tmp_path / "roads.graphml", on_globe=True)
    settings = {"max_distance": 1e9, "max_snap": 5.0} | flags
    return by_road(stations, network, source="roads.graphml", **settings)  # type: ignore[arg-type]


def table(one: MadeList) -> dict[tuple[str, str], float]:
    return {
        (one.ids[a], one.ids[b]): float(value)
        for a, b, value in zip(one.rows_E, one.columns_E, one.values_E, strict=True)
    }


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_another_program(seed: int, tmp_path: Path) -> None:
    import networkx

    nodes, edges = random_city(seed)
    rng = np.random.default_rng(seed)
    # Two stations on one street in both orders, two at one place, and others.
    one_way = next(i for i, (a, b, line) in enumerate(edges) if (b, a, line[::-1]) not in edges)
    chosen = [one_way, *(int(e) for e in rng.choice(len(edges), 12, replace=False))]
    stands = {f"s{i}": (edge, float(rng.uniform(0.1, 0.9))) for i, edge in enumerate(chosen)}
    stands |= {"late": (chosen[0], 0.8765), "early": (chosen[0], 0.1234), "twin": stands["s3"]}
    places = {name: along(edges[edge][2], share) for name, (edge, share) in stands.items()}

    truth = networkx.MultiDiGraph()
    for a, b, line in edges:
        truth.add_edge(a, b, weight=metres(line))
        before = {}
        for name, (edge, share) in stands.items():
            if edges[edge][2] == line:
                before[name] = cut(line, places[name], share)[0]
            elif edges[edge][2] == line[::-1]:
                before[name] = cut(line[::-1], places[name], share)[1]
        for name, first in before.items():
            truth.add_edge((name, "out"), b, weight=metres(line) - first)
            truth.add_edge(a, (name, "in"), weight=first)
            for other, second in before.items():
                if second >= first:
                    truth.add_edge((name, "out"), (other, "in"), weight=second - first)

    facts = [
        (a, b, {"osmid": i, "length": metres(line), "geometry": wkt(line)}) for i, (a, b, line) in enumerate(edges)
    ]
    found = table(made(tmp_path, graphml(nodes, facts), places))
    compared = 0
    for name in stands:
        lengths = networkx.single_source_dijkstra_path_length(truth, (name, "out"))
        for other in stands:
            wanted = lengths.get((other, "in"))
            assert ((name, other) in found) == (wanted is not None)
            if wanted is not None:
                assert found[name, other] == pytest.approx(wanted, abs=0.15)  # a line of degrees is a little bent
                compared += 1
    assert compared > 100
    assert found["s3", "twin"] == found["twin", "s3"] == pytest.approx(0, abs=0.01)
    assert found["early", "late"] != pytest.approx(found["late", "early"], abs=1)
