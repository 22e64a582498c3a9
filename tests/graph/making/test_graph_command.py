"""``dcrnn-fast graph``: a list that ``--graph`` reads with the published kernel, its account and page, and mistakes."""

import re
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast import graph_command
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.graph import read_graph, read_pickle
from dcrnn_fast.graph.list_columns import read_list
from dcrnn_fast.graph.making.by_position import by_position
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import read_stations
from tests.graph.making.made_roads import graphml, random_city, wkt, write_stations


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """roads.graphml and stations.csv: 40 stations, one of them far away, called after markup."""
    nodes, edges = random_city(4)
    (tmp_path / "roads.graphml").write_text(graphml(nodes, [(a, b, {"geometry": wkt(line)}) for a, b, line in edges]))
    rng = np.random.default_rng(4)
    places = {}
    for place, edge in enumerate(rng.choice(len(edges), 39, replace=False)):
        (a, b, _), share = edges[edge][2], rng.uniform(0.2, 0.8)
        places[f"s{place}"] = (a[0] + share * (b[0] - a[0]) + 1e-5, a[1] + share * (b[1] - a[1]))
    write_stations(tmp_path / "stations.csv", places | {"<script>alert(1)</script>": (8.6, 49.0)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROADS = ["--stations", "stations.csv", "--roads", "roads.graphml", "--max-distance", "3000"]


def test_the_list_is_read_with_the_published_kernel(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph_command.main([*ROADS, "-o", "new/distances.csv", "--page", "graph.html"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("look: ")] == shown[: sum("look: " in line for line in shown)]
    assert shown[0].startswith(
        "look: no road is near 1 station, which has no link: '<script>alert(1)</script>' (10.3 km)"
    )
    starts, ends, metres = read_list(city / "new" / "distances.csv", "distance", None)
    assert max(metres) <= 3000
    assert all(
        re.fullmatch(r"\d+\.\d", line.rsplit(",", 1)[1])
        for line in (city / "new/distances.csv").read_text().split()[1:]
    )
    graph = read_graph(GraphConfig(graph="new/distances.csv"))
    assert len(graph.ids) == 40
    assert graph.account is not None
    assert graph.account.sigma == pytest.approx(np.std(metres))
    assert graph.adjacency.diagonal().tolist() == [1] * 40
    weights = dict(
        zip(zip(starts, ends, strict=True), np.exp(-np.square(np.array(metres) / np.std(metres))), strict=True)
    )
    links = graph.adjacency.tocoo()
    kept = {(graph.ids[a], graph.ids[b]): w for a, b, w in zip(links.row, links.col, links.data, strict=True)}
    assert kept == pytest.approx({pair: weight for pair, weight in weights.items() if weight >= 0.1})
    assert any(f"sigma {graph.account.sigma:.6g}" in line for line in shown), "the account is of this very graph"


def test_the_page_holds_all_it_needs(city: Path) -> None:
    assert graph_command.main([*ROADS, "--page", "graph.html"]) == 0
    page = (city / "graph.html").read_text()
    assert not re.search(r"<script|https?://|<img|<link|@import|url\(", page)
    assert "&lt;script&gt;" in page
    assert page.count("<circle") == 40 + page.count('class="f0"')
    assert "Farthest from their road" in page
    assert sorted(path.name for path in city.iterdir()) == ["graph.html", "roads.graphml", "stations.csv"]


def test_the_published_list_goes_through_unchanged(real_data: Path, tmp_path: Path) -> None:
    """METR-LA's costs, written as ours are, give the published adjacency; and no way is shorter than the crow flies."""
    source = real_data / "metr_la_graph"
    starts, ends, metres = read_list(source / "distances_la_2012.csv", "distance", None)
    published = read_pickle(source / "adj_mx.pkl")
    place = {name: i for i, name in enumerate(published.ids)}
    rows, columns = (np.array([place[name] for name in names]) for names in (starts, ends))
    made = MadeList(
        ids=published.ids, rows_E=rows, columns_E=columns, values_E=np.array(metres), holds="distances", source="LA"
    )
    made.write(tmp_path / "again.csv")
    again = read_graph(GraphConfig(graph=str(tmp_path / "again.csv")), ids=published.ids)
    assert abs(again.adjacency - published.adjacency).max() <= 1e-6
    stations = read_stations(source / "graph_sensor_locations.csv")
    air = by_position(stations, source="LA", nearest=206)
    straight = {(air.ids[a], air.ids[b]): d for a, b, d in zip(air.rows_E, air.columns_E, air.values_E, strict=True)}
    detours = [
        road - straight[pair] for *pair, road in zip(starts, ends, metres, strict=True) for pair in [tuple(pair)]
    ]
    # Sensors were matched to the road, and distances recovered from rounded weights: some metres are no contradiction.
    assert np.mean(np.array(detours) < -100) < 0.01


def test_positions_become_the_list_of_the_nearest(city: Path) -> None:
    assert graph_command.main(["--stations", "stations.csv", "--nearest", "3", "-o", "near.csv"]) == 0
    made = read_graph(GraphConfig(graph="near.csv"))
    same = read_graph(GraphConfig(graph="stations.csv", nearest=3))
    links = made.adjacency.tocoo()
    pairs = {(made.ids[a], made.ids[b]) for a, b in zip(links.row, links.col, strict=True) if a != b}
    wanted = same.adjacency.tocoo()
    assert pairs == {(same.ids[a], same.ids[b]) for a, b in zip(wanted.row, wanted.col, strict=True)}


def test_a_grid_and_a_neighbourhood_become_lists_of_weights(city: Path) -> None:
    np.savez("grid.npz", latitude=[0.0, 1.0, 2.0], longitude=[5.0, 6.0])
    assert (
        graph_command.main(["--graph", "grid.npz", "--grid-neighbours", "4", "-o", "grid.csv", "--page", "g.html"]) == 0
    )
    assert read_graph(GraphConfig(graph="grid.csv")).num_edges == 2 * 7
    Path("n.gal").write_text("3\na 1\nb\nb 1\na\nc 0\n\n")
    assert graph_command.main(["--graph", "n.gal", "-o", "n.csv"]) == 0
    assert Path("n.csv").read_text() == "from,to,weight\na,b,1\nb,a,1\nc,c,0\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no source: give --stations"),
        (["--roads", "roads.graphml"], "--roads needs --stations"),
        ([*ROADS, "--rivers", "r.csv"], "--roads and --rivers are two sources"),
        ([*ROADS, "--contiguity", "rook"], "--contiguity has no use with --roads"),
        ([*ROADS, "--output", "stations.csv"], "stations.csv would replace stations.csv, which is an input"),
        ([*ROADS, "--page", "./roads.graphml"], "which is an input: give another --page"),
        ([*ROADS, "--output", "x", "--page", "x"], "--output and --page are both x"),
        ([*ROADS, "--output", "."], "--output . is a folder: name a file"),
        ([*ROADS, "--max-snap", "-1"], "--max-snap must be at least 0, got -1"),
        (["--stations", "stations.csv"], "stations.csv has positions alone: --nearest or --max-distance"),
        (["--stations", "stations.csv", "--nearest", "40"], "--nearest 40 must be below the number of stations, 40"),
        (["--stations", "stations.csv", "--max-distance", "1"], "no pair of stations within --max-distance 1 m: 40"),
        (["--stations", "gone.csv", "--roads", "roads.graphml"], "cannot read gone.csv: No such file"),
        (["--stations", "stations.csv", "--roads", "gone.graphml"], "cannot read gone.graphml: No such file"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    words: list[str], said: str, city: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in city.iterdir())
    assert graph_command.main(words if "--output" in words or "--page" in words else [*words, "-o", "out.csv"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("dcrnn-fast graph: error: ")
    assert shown.count("\n") == 1
    assert said in shown
    assert sorted(path.name for path in city.iterdir()) == before
