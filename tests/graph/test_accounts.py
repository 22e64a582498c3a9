"""Every link is accounted for: what became of the pairs of a file, and what a human would doubt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import (
    SensorGraph,
    account_lines,
    from_distances,
    from_edges,
    look_lines,
    match_graph,
    read_graph,
)
from dcrnn_fast.graph.account import num_links
from dcrnn_fast.graph.kernel import pair_kind

# Sensors, lines, links and self pairs of the public lists; repeated lines; the spread of their distances.
PUBLIC = {
    "PEMS03": (358, 547, 546, 1, 0, (0.1, 0.888, 10.194)),
    "PEMS04": (307, 340, 340, 0, 0, (3.2, 367.15, 2712.1)),
    "PEMS07": (883, 866, 866, 0, 0, (0.032, 0.917, 20.539)),
    "PEMS08": (170, 295, 277, 0, 18, (6.3, 328.1, 3274.4)),
}


def config(path: Path, **options: Any) -> GraphConfig:
    return GraphConfig(graph=str(path), **options)


def read(path: Path, text: str, ids: Any = None, **options: Any) -> SensorGraph:
    path.write_text(text)
    return read_graph(config(path, **options), ids=ids)


def assert_accounted(graph: SensorGraph) -> None:
    account = graph.account
    assert account is not None
    loops = int(np.count_nonzero(graph.adjacency.diagonal()))
    gone = account.unknown + account.duplicates + account.no_path + account.below
    assert account.given == num_links(graph) + loops + gone


def test_the_account_of_a_distance_list(tmp_path: Path) -> None:
    lines = "from,to,distance\na,b,500\nb,c,505\nb,c,505\nc,d,510\nd,a,inf\na,x,100\na,a,0\n"
    graph = read(tmp_path / "chain.csv", lines, ids=tuple("abcde"[:4]))
    assert_accounted(graph)
    first, second = account_lines(graph)
    assert first == (
        "graph: chain.csv, a list of neighbours: 7 pairs given, 3 links used (0 below the threshold 0.1, 1 with "
        "unknown sensors, 1 duplicates, 1 without a path, 1 of a sensor with itself), matched by id"
    )
    assert second.startswith("graph: 4 sensors, 3 links (0 of them in both directions), 0 isolated, 1 component, ")
    assert "weights 0.1 to 0.1094, 1 self loop, sigma 336.095 (keeps all: the longest link / sqrt(ln" in second
    assert look_lines(graph) == []


def test_the_account_outlives_what_is_done_to_the_graph(tmp_path: Path) -> None:
    graph = read(tmp_path / "e.csv", "from,to,weight\na,b,1\nb,c,1\nc,d,1\n", self_loops="add")
    part = match_graph(graph, ("c", "b"), "id")
    assert part.account is not None
    assert (part.account.given, part.account.unknown, num_links(part)) == (3, 2, 1)
    placed = part.with_positions(np.zeros((2, 2)))
    assert placed.account == part.account
    assert placed.digest() == SensorGraph(part.adjacency, part.ids).digest()
    assert "account" not in placed.to_state()
    by_position = match_graph(graph, ("w", "x", "y", "z"), "position")
    assert "matched by position" in account_lines(by_position)[0]


def test_what_a_human_would_doubt(tmp_path: Path) -> None:
    lonely = from_edges(["a", "b"], ["b", "c"], [1, 1], ids=("a", "b", "c", "d", "e"))
    assert look_lines(lonely) == ["look: 2 of 5 sensors have no link to another (isolated): 'd', 'e'"]
    assert "2 isolated ('d', 'e'), 3 components" in account_lines(lonely)[-1]
    none = from_edges(["a", "b"], ["a", "b"], [1, 1])
    assert look_lines(none) == ["look: no two sensors are linked: each is forecast from its own readings alone"]
    parts = from_edges(["a", "c", "e"], ["b", "d", "f"], [1, 1, 1])
    (line,) = look_lines(parts)
    assert line.startswith("look: the graph falls into 3 parts that no link joins, the largest of 2 of its 6")
    np.save(tmp_path / "w.npy", np.roll(np.eye(3), 1, axis=1))
    (line,) = look_lines(read_graph(config(tmp_path / "w.npy"), ids=("x", "y", "z")))
    assert line == (
        "look: w.npy names no sensors: its row i is laid on column i of the series by position, the first on 'x', the "
        "last on 'z'"
    )
    assert len(account_lines(SensorGraph(np.eye(2), ("a", "b")))) == 1


@pytest.mark.parametrize("name", PUBLIC)
def test_lists_like_the_public_ones_keep_their_links(name: str) -> None:
    num_nodes, lines, links, loops, repeated, (shortest, median, longest) = PUBLIC[name]
    rng = np.random.default_rng(0)
    pairs: dict[tuple[int, int], None] = {}
    # A few long roads, each sensor after the other, and ramps between them.
    for i in range(num_nodes - 1):
        if len(pairs) < links and i % 60 != 59:
            pairs[i, i + 1] = None
    while len(pairs) < links:
        i = int(rng.integers(num_nodes - 3))
        pairs[i, i + int(rng.integers(2, 4))] = None
    distances = np.clip(rng.lognormal(np.log(median), 0.8, links), shortest, longest)
    distances[0] = longest
    listed = [*pairs, *list(pairs)[:repeated], *[(0, 0)] * loops]
    values = [*distances, *distances[:repeated], *[0.0] * loops]
    assert len(listed) == lines
    ids = tuple(map(str, range(num_nodes)))
    graph = from_distances([str(i) for i, _ in listed], [str(j) for _, j in listed], values, ids=ids)
    assert_accounted(graph)
    assert graph.account is not None
    assert (num_links(graph), graph.account.duplicates, graph.account.below) == (links, repeated, 0)
    assert graph.account.kind == "a list of neighbours"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_lists_keep_their_links(real_data: Path, name: str) -> None:
    path = real_data / name.lower() / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: the archive that the README of STSGCN links has it")
    num_nodes, lines, links, loops, repeated, _ = PUBLIC[name]
    graph = read_graph(config(path))
    account = graph.account
    assert account is not None
    assert (graph.num_nodes, account.given, num_links(graph), account.duplicates) == (num_nodes, lines, links, repeated)
    assert graph.num_edges == links + loops
    assert account.kind == "a list of neighbours"


def flat(num_nodes: int, seed: int = 0) -> np.ndarray:
    places_N2 = np.random.default_rng(seed).random((num_nodes, 2)) * 1000
    return np.hypot(*(places_N2[:, None] - places_N2[None]).transpose(2, 0, 1))


def kind_of(distances_NN: np.ndarray, chosen_NN: np.ndarray) -> str:
    rows_E, columns_E = np.nonzero(chosen_NN & ~np.eye(len(chosen_NN), dtype=bool))
    distances_E = distances_NN[rows_E, columns_E]
    return pair_kind(rows_E, columns_E, distances_E, len(chosen_NN), float(distances_E.std()))


def test_kinds_of_lists() -> None:
    distances_NN = flat(200)
    nearest_NN = distances_NN.argsort(axis=1).argsort(axis=1)
    assert kind_of(distances_NN, distances_NN < 500) == "all pairs"
    assert kind_of(distances_NN, np.ones((200, 200), dtype=bool)) == "all pairs"
    for count in (2, 4, 16, 60):
        assert kind_of(distances_NN, nearest_NN <= count) == "neighbours"
    # All pairs, but so few that the published kernel would leave sensors alone: their links are kept.
    assert kind_of(distances_NN, distances_NN < 100) == "neighbours"
    line_NN = np.abs(np.arange(50.0)[:, None] - np.arange(50.0))
    assert kind_of(line_NN, line_NN <= 1) == "neighbours"
    assert kind_of(line_NN, line_NN <= 2) == "neighbours"
    assert kind_of(line_NN, line_NN <= 12) == "all pairs"


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(1e-6, 1e6), st.sampled_from([0.0, 0.05, 0.1, 0.5, 0.9]))
def test_no_list_of_neighbours_loses_a_link(num_nodes: int, seed: int, unit: float, threshold: float) -> None:
    distances_NN = flat(num_nodes, seed) * unit
    rows_E, columns_E = np.nonzero(np.arange(num_nodes)[:, None] + 1 == np.arange(num_nodes))
    names = [f"s{i}" for i in range(num_nodes)]
    graph = from_distances(
        [names[i] for i in rows_E], [names[i] for i in columns_E], distances_NN[rows_E, columns_E], threshold=threshold
    )
    assert num_links(graph) == num_nodes - 1
    assert_accounted(graph)


def test_lost_links_are_refused_without_the_flag(tmp_path: Path) -> None:
    chain = "from,to,distance\n" + "".join(f"s{i},s{i + 1},{500 + i}\n" for i in range(30))
    for options in ({"sigma": 300.0}, {"sigma": 1.0}, {"sigma": 700.0, "threshold": 0.7}):
        with pytest.raises(UserError, match=r"d.csv: \d+ of the 30 listed links fall below .*--allow-lost-links"):
            read(tmp_path / "d.csv", chain, **options)
        told = read(tmp_path / "d.csv", chain, allow_lost_links=True, **options)
        assert_accounted(told)
        assert f"{told.account.below} below the threshold" in account_lines(told)[0]  # type: ignore[union-attr]
    # The width that the message names keeps all of them.
    with pytest.raises(UserError) as caught:
        read(tmp_path / "d.csv", chain, sigma=1.0)
    width = float(str(caught.value).split("--sigma ")[1].split()[0])
    assert read(tmp_path / "d.csv", chain, sigma=width).num_edges == 30
    # One link of thirty is a small part.
    one_long = chain.replace(",529\n", ",5000\n")
    assert read(tmp_path / "d.csv", one_long, sigma=400.0).num_edges == 29


def test_lists_by_number(tmp_path: Path) -> None:
    ids = tuple("ABCDEF")

    def edges(text: str, **options: Any) -> list[str]:
        graph = match_graph(read(tmp_path / "n.csv", text, ids=ids, match="position", **options), ids, "position")
        assert graph.ids == ids
        return [ids[i] + ids[j] for i, j in zip(*graph.adjacency.nonzero(), strict=True)]

    wanted = ["AB", "BC", "CD", "DE", "EF"]
    head = "from,to,weight\n"
    assert edges(head + "4,5,1\n3,4,1\n2,3,1\n1,2,1\n0,1,1\n") == wanted
    assert edges(head + "4.0,5.0,1\n3.0,4.0,1\n2.0,3.0,1\n1.0,2.0,1\n0.0,1.0,1\n") == wanted
    assert edges("5,6\n4,5\n3,4\n2,3\n1,2\n", graph_format="edges") == wanted
    # Numbers that no line has are columns without a link.
    assert edges(head + "3,0,1\n") == ["DA"]
    counted = read(tmp_path / "n.csv", head + "6,1,1\n", ids=ids, match="position")
    assert look_lines(counted)[0] == "look: n.csv counts its sensors from 1: number 1 is the first column 'A'"
    assert edges("from,to,distance\n5,4,10\n0,1,20\n") == ["AB", "FE"]
    for text, message in (
        ("1,2,1\n", r"it numbers its sensors 1 to 2, for 6 columns: counted from 0 or from 1\?"),
        ("0,6,1\n", "needs the numbers 0 to 5 for 6 columns, this list goes up to 6"),
        ("317842,318711,1\n", "this list goes up to 318711: they are ids"),
        ("A,B,1\n", "needs a list that calls its sensors by number .*'A'"),
        ("00,01,1\n", "needs a list that calls its sensors by number .*'00'"),
    ):
        with pytest.raises(UserError, match=message):
            edges(head + text)
    with pytest.raises(UserError, match="the series calls its columns by number too, in another order"):
        read(tmp_path / "n.csv", head + "0,1,1\n", ids=("2", "0", "1"), match="position")
    with pytest.raises(UserError, match=r"sensors by number \('4', '5'.*--match position lays number i on column i"):
        read(tmp_path / "n.csv", head + "4,5,1\n3,4,1\n0,1,1\n", ids=ids)


def test_numbered_nodes_go_by_their_number_in_every_format(tmp_path: Path) -> None:
    ids = ("A", "B", "C")
    text = ",2,0,1\n2,0,1,0\n0,0,0,1\n1,0,0,0\n"  # 2 > 0 > 1
    graph = match_graph(read(tmp_path / "m.csv", text, ids=ids, match="position"), ids, "position")
    assert [ids[i] + ids[j] for i, j in zip(*graph.adjacency.nonzero(), strict=True)] == ["AB", "CA"]
    same = match_graph(read_graph(config(tmp_path / "m.csv"), ids=("2", "0", "1")), ("2", "0", "1"), "position")
    assert same.adjacency.toarray().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    places = "index,latitude,longitude\n2,3,0\n0,1,0\n1,2,0\n"
    graph = match_graph(read(tmp_path / "p.csv", places, ids=ids, match="position", nearest=1), ids, "position")
    assert graph.positions_N2 is not None
    assert graph.positions_N2[:, 0].tolist() == [1, 2, 3]


def test_sensors_that_a_list_never_names() -> None:
    ids = tuple(f"s{i}" for i in range(20))
    start, end = ids[:17], ids[1:18]
    graph = from_edges(start, end, [1.0] * 17, ids=ids)
    assert look_lines(graph) == ["look: 2 of 20 sensors have no link to another (isolated): 's18', 's19'"]
    # With other names in the list, two of twenty may be misspelt; one may be.
    with pytest.raises(UserError, match=r"2 of the 20 sensors are not in the list: 's18', 's19'; .* 'other'"):
        from_edges([*start, "other"], [*end, "s0"], [1.0] * 18, ids=ids)
    graph = from_edges([*start, "other"], [*end, "s18"], [1.0] * 18, ids=ids)
    assert look_lines(graph)[0] == (
        "look: 1 sensors stand in no line of the list ('s19'), which names 1 others ('other')"
    )
    for name in ("019", "19.0", " 19"):
        numbered = tuple(map(str, range(20)))
        with pytest.raises(UserError, match="compared as text: '19' is not"):
            from_edges([*numbered[:17], name], [*numbered[1:18], "18"], [1.0] * 18, ids=numbered)


@pytest.mark.parametrize(
    "header",
    ["upstream,downstream", "Upstream_ID,Downstream ID", "node_from,node_to", "start,end", "origin,destination",
     "from_station,to_station", "source node,target node", "node1,node2", "site_a,site_b", "von,nach"],
)  # fmt: skip
def test_a_header_is_no_edge(header: str, tmp_path: Path) -> None:
    for ids in (("g1", "g2", "g3"), None if header != "von,nach" else ("g1", "g2", "g3")):
        graph = read(tmp_path / "r.csv", f"{header}\ng1,g2\ng2,g3\n", ids=ids)
        assert graph.ids == ("g1", "g2", "g3")
        assert [graph.ids[i] + graph.ids[j] for i, j in zip(*graph.adjacency.nonzero(), strict=True)] == [
            "g1g2",
            "g2g3",
        ]
        assert graph.account is not None
        assert (graph.account.given, graph.account.unknown) == (2, 0)
    turned = ",".join(header.split(",")[::-1])
    if header != "von,nach":
        graph = read(tmp_path / "r.csv", f"{turned}\ng2,g1\ng3,g2\n", ids=("g1", "g2", "g3"))
        assert graph.adjacency[0, 1] == 1
        assert graph.adjacency[1, 0] == 0


def test_lists_are_no_matrices(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", "a,b\nb,c\n").ids == ("a", "b", "c")
    assert read(tmp_path / "e.csv", "1,2\n2,3\n3,4\n4,5\n").num_edges == 4
    with pytest.raises(UserError, match="three columns could be distances"):
        read(tmp_path / "e.csv", "a,b,0.5\nb,c,0.5\nc,a,0.5\n")
    assert read(tmp_path / "e.csv", "0,1\n1,0\n").num_nodes == 2
