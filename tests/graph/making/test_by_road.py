"""Road distances between stations: equal to networkx's on the same streets, cut at the same places."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import haversine_km
from dcrnn_fast.graph.making.by_road import by_road, read_roads
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import read_stations
from tests.graph.making.made_roads import Line, geojson, graphml, random_city, sumo, wkt, write_stations


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


BLOCK = {"a": (8.4, 49.0), "b": (8.402, 49.0), "c": (8.402, 49.001), "d": (8.4, 49.001)}
"""about 146 m by 111 m"""
ROUND = [(a, b, {"osmid": 7, "highway": "residential", "oneway": True}) for a, b in ("ab", "bc", "cd", "da")]
ONE = metres([BLOCK["a"], BLOCK["b"]])
ALL = metres([*BLOCK.values(), BLOCK["a"]])


def test_a_station_behind_another_one_is_round_the_block(tmp_path: Path) -> None:
    places = {"first": (8.4005, 49.0), "second": (8.4015, 49.0)}
    found = table(made(tmp_path, graphml(BLOCK, ROUND), places))
    assert found["first", "second"] == pytest.approx(ONE / 2, abs=0.01)
    assert found["second", "first"] == pytest.approx(ALL - ONE / 2, abs=0.01)
    assert found["first", "first"] == 0


def test_a_street_for_both_directions(tmp_path: Path) -> None:
    both = [("a", "b", {}), ("b", "a", {"reversed": True})]
    places = {"first": (8.4005, 49.0), "second": (8.4015, 49.0)}
    found = table(made(tmp_path, graphml(BLOCK, both), places))
    assert found["first", "second"] == found["second", "first"] == pytest.approx(ONE / 2, abs=0.01)
    undirected = table(made(tmp_path, graphml(BLOCK, both[:1], directed=False), places))
    assert undirected == pytest.approx(found)


def test_a_one_way_street_of_an_undirected_graph_leads_as_osmnx_notes(tmp_path: Path) -> None:
    """networkx writes the ends of an undirected edge in any order; OSMnx notes it as from and to."""
    places = {"first": (8.4005, 49.0), "second": (8.4015, 49.0)}
    start, end = ROUND[0][:2]
    noted = {"oneway": "True", "from": start, "to": end}
    for edge in ((start, end, noted), (end, start, noted)):
        found = table(made(tmp_path, graphml(BLOCK, [edge], directed=False), places))
        assert found["first", "second"] == pytest.approx(ONE / 2, abs=0.01)
        assert ("second", "first") not in found
    result = made(tmp_path, graphml(BLOCK, [(start, end, {"oneway": "True"})], directed=False), places)
    assert any(note.startswith("look: an undirected graph with 1 one-way edge") for note in result.notes)


def test_paths_for_others_than_cars_are_no_roads_in_graphml(tmp_path: Path) -> None:
    """OSMnx's network_type "all" has sidewalks, which lie nearer to a station than its street."""
    (start, end, _), *rest = ROUND
    walk = [(start, end, {"highway": "footway"}), (start, end, {"highway": "['steps', 'path']"})]
    street = (start, end, {"highway": "['path', 'residential']", "length": 3 * ONE})
    found = made(tmp_path, graphml(BLOCK, [*walk, street, *rest]), {"first": (8.4005, 49.0), "second": (8.4015, 49.0)})
    assert table(found)["first", "second"] == pytest.approx(3 * ONE / 2, abs=0.01)
    assert any("2 edges for others than cars left out" in note for note in found.notes)


@pytest.mark.parametrize("order", [1, -1])
def test_a_station_at_a_corner_belongs_to_all_its_streets(order: int, tmp_path: Path) -> None:
    """Two streets lead to the corner m and two away from it, all one way; the station stands at m itself."""
    nodes = {"m": (8.4, 49.0), "w": (8.399, 49.0), "s": (8.4, 48.999), "e": (8.401, 49.0), "n": (8.4, 49.001)}
    streets = [("w", "m", {}), ("s", "m", {}), ("m", "e", {}), ("m", "n", {})][::order]
    middle = {name: ((x + 8.4) / 2, (y + 49.0) / 2) for name, (x, y) in nodes.items() if name != "m"}
    found = table(made(tmp_path, graphml(nodes, streets), {"corner": nodes["m"], **middle}))
    halves = {name: metres([nodes["m"], place]) for name, place in middle.items()}
    wanted = {("w", "corner"): halves["w"], ("s", "corner"): halves["s"]}
    wanted |= {("corner", "e"): halves["e"], ("corner", "n"): halves["n"]}
    assert {pair: value for pair, value in found.items() if "corner" in pair and pair[0] != pair[1]} == pytest.approx(
        wanted, abs=0.02
    )


def test_the_files_own_length_counts(tmp_path: Path) -> None:
    long = [(a, b, facts | ({"length": 3 * ONE} if a == "a" else {})) for a, b, facts in ROUND]
    found = table(made(tmp_path, graphml(BLOCK, long), {"first": (8.4005, 49.0), "second": (8.4015, 49.0)}))
    assert found["first", "second"] == pytest.approx(3 * ONE / 2, abs=0.01)


def test_a_direction_chooses_the_carriageway(tmp_path: Path) -> None:
    """Two carriageways, 20 m apart: the station is nearer to the southern one, which leads east."""
    nodes = {"a": (8.40, 49.0), "b": (8.41, 49.0), "c": (8.41, 49.00018), "d": (8.40, 49.00018)}
    edges = [(a, b, {"osmid": number}) for number, (a, b) in enumerate(("ab", "bc", "cd", "da"))]
    (tmp_path / "roads.graphml").write_text(graphml(nodes, edges))
    network = read_roads(tmp_path / "roads.graphml", on_globe=True)
    rows = (
        "id,lat,lon,dir\nwest,49.00005,8.405,W\neast,49.00005,8.405,E\nnone,49.00005,8.405,\nnorth,49.00005,8.405,NB\n"
    )
    (tmp_path / "s.csv").write_text(rows)
    one = by_road(read_stations(tmp_path / "s.csv"), network, source="x", max_distance=1e5, max_snap=50)
    assert one.roads_N == ("way 2", "way 0", "way 0", "way 0")
    assert one.distance_N == pytest.approx([14.5, 5.6, 5.6, 5.6], abs=0.2)
    assert [note for note in one.notes if "direction of 1 station" in note and "'north'" in note]
    assert table(one)["west", "east"] > 700


def test_a_station_between_two_carriageways_is_named(tmp_path: Path) -> None:
    """Neither one whose street has one line for both directions, nor one that has a direction itself."""
    nodes = {"a": (8.40, 49.0), "b": (8.41, 49.0), "c": (8.41, 49.00018), "d": (8.40, 49.00018), "e": (8.42, 49.0)}
    edges: list[tuple[str, str, dict[str, object]]] = [(a, b, {}) for a, b in ("ab", "bc", "cd", "da", "be", "eb")]
    (tmp_path / "roads.graphml").write_text(graphml(nodes, edges))
    network = read_roads(tmp_path / "roads.graphml", on_globe=True)
    rows = ["id,lat,lon,dir", "amid,49.00009,8.405,", "told,49.00009,8.405,W", "near,49.00004,8.405,"]
    (tmp_path / "s.csv").write_text("\n".join([*rows, "street,49.0,8.415,", "corner,49.0,8.41,", ""]))
    one = by_road(read_stations(tmp_path / "s.csv"), network, source="x", max_distance=1e5, max_snap=50)
    said = "look: 1 station put on one of two carriageways that are as near and lead against each other: 'amid'; "
    assert [note for note in one.notes if "carriageways" in note] == [f"{said}a column bearing or direction says which"]


def test_what_is_far_and_what_no_road_joins_is_named(tmp_path: Path) -> None:
    island = {"x": (8.45, 49.0), "y": (8.451, 49.0)}
    edges = [*ROUND, ("x", "y", {})]
    places = {"town": (8.4005, 49.0), "back": (8.401, 49.001), "island": (8.4505, 49.0), "sea": (8.43, 49.0)}
    one = made(tmp_path, graphml(BLOCK | island, edges), places, max_snap=20.0)
    notes = "\n".join(one.notes)
    assert "look: no road is near 1 station, without a link: 'sea' (1,4" in notes
    assert "look: 4 pairs of stations that no road joins: town to island, back to island, island to town ..." in notes
    assert "pairs: 6, 2 of them within --max-distance 1e+09 m by road, 0 farther, 4 that no road joins" in notes
    assert set(table(one)) == {("sea", "sea"), ("island", "island"), ("town", "town"), ("back", "back")} | {
        ("town", "back"),
        ("back", "town"),
    }


def test_the_limit_is_one_of_metres_by_road(tmp_path: Path) -> None:
    places = {"first": (8.4005, 49.0), "second": (8.4015, 49.0)}
    one = made(tmp_path, graphml(BLOCK, ROUND), places, max_distance=ALL / 2)
    assert ("first", "second") in table(one)
    assert ("second", "first") not in table(one)


def test_ways_of_openstreetmap_meet_in_their_middle(tmp_path: Path) -> None:
    """Two ways cross at a vertex in the middle of both; a bridge crosses without a vertex of its own."""
    main: Line = [(8.4, 49.0), (8.401, 49.0), (8.402, 49.0)]
    side: Line = [(8.401, 48.999), (8.401, 49.0), (8.401, 49.001)]
    bridge: Line = [(8.4015, 48.999), (8.4015, 49.001)]
    ways = [
        (main, {"osm_id": "1", "highway": "primary", "other_tags": '"oneway"=>"yes","lanes"=>"2"'}),
        (side, {"osm_id": "2", "highway": "residential"}),
        (bridge, {"osm_id": "3", "highway": "motorway"}),
        ([(8.4, 49.0), (8.4, 49.001)], {"osm_id": "4", "highway": "footway"}),
    ]
    (tmp_path / "ways.geojson").write_text(geojson(ways))
    network = read_roads(tmp_path / "ways.geojson", on_globe=True)
    assert network.num_arcs == 2 + 4 + 1
    places = {"west": (8.4005, 49.0), "east": (8.4018, 49.0), "side": (8.401, 49.0005), "over": (8.4015, 49.0005)}
    stations = read_stations(write_stations(tmp_path / "s.csv", places))
    found = table(by_road(stations, network, source="x", max_distance=1e5, max_snap=5))
    assert found["west", "side"] == pytest.approx(metres([places["west"], main[1], places["side"]]), abs=0.01)
    assert found["side", "east"] == pytest.approx(metres([places["side"], main[1], places["east"]]), abs=0.01)
    assert {pair for pair in found if pair[0] != pair[1]} == {("west", "side"), ("west", "east"), ("side", "east")}


@pytest.mark.parametrize(
    ("facts", "arcs"),
    [
        ({"oneway": "-1"}, [(1, 0)]),
        ({"oneway": "F"}, [(0, 1)]),
        ({"oneway": "T"}, [(1, 0)]),
        ({"oneway": "B"}, [(0, 1), (1, 0)]),
        ({"oneway": True}, [(0, 1)]),
        ({"oneway": False}, [(0, 1), (1, 0)]),
        ({"junction": "roundabout"}, [(0, 1)]),
        ({"u": 1, "v": 2, "key": 0, "oneway": False}, [(0, 1)]),
        ({}, [(0, 1), (1, 0)]),
    ],
)
def test_directions_of_ways(facts: dict[str, object], arcs: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(geojson([([(8.4, 49.0), (8.41, 49.0)], facts)]))
    network = read_roads(tmp_path / "w.json", on_globe=True)
    assert list(zip(network.tails_A.tolist(), network.heads_A.tolist(), strict=True)) == arcs


def test_only_roads_of_a_kind(tmp_path: Path) -> None:
    ways = [
        ([(8.4, 49.0), (8.41, 49.0)], {"osm_id": "1", "highway": "service"}),
        ([(8.4, 49.0002), (8.41, 49.0002)], {"osm_id": "2", "highway": "motorway"}),
    ]
    (tmp_path / "w.json").write_text(geojson(ways))  # type: ignore[arg-type]
    network = read_roads(tmp_path / "w.json", on_globe=True)
    places = {"a": (8.402, 49.00005), "b": (8.408, 49.00005)}
    stations = read_stations(write_stations(tmp_path / "s.csv", places))
    settings = {"source": "x", "max_distance": 1e5, "max_snap": 50.0}
    assert by_road(stations, network, **settings).roads_N == ("way 1", "way 1")  # type: ignore[arg-type]
    on = by_road(stations, network, snap_to=("motorway",), **settings)  # type: ignore[arg-type]
    assert on.roads_N == ("way 2", "way 2")
    with pytest.raises(UserError, match="no such road: it has 'motorway', 'service'"):
        by_road(stations, network, snap_to=("trunk",), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["net.xml", "net.xml.gz"])
def test_sumo_passes_junctions_where_a_connection_leads(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"cross.{ending}"
    content = sumo().encode()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    network = read_roads(path, on_globe=False)
    # In the middle of each street, on its own side.
    rows = ["win,-55,-1.68", "wout,-55,1.68", "nin,-1.68,55", "nout,1.68,55", "ein,55,1.68", "eout,55,-1.68"]
    (tmp_path / "s.csv").write_text("\n".join(["id,x,y", *rows, ""]))
    one = by_road(read_stations(tmp_path / "s.csv"), network, source="x", max_distance=1e5, max_snap=1)
    assert one.roads_N == tuple(f"edge {name}" for name in ("Win", "Wout", "Nin", "Nout", "Ein", "Eout"))
    links = {pair: round(value) for pair, value in table(one).items() if pair[0] != pair[1]}
    ways = [("win", "eout"), ("nin", "wout"), ("nin", "eout"), ("ein", "wout"), ("ein", "nout")]
    assert links == dict.fromkeys(ways, 110)


def test_sumo_lies_where_its_projection_says(tmp_path: Path) -> None:
    """The Eiffel tower: zone 31, 448251.8 m east, 5411932.7 m north."""
    path = tmp_path / "cross.net.xml"
    path.write_text(sumo("+proj=utm +zone=31 +ellps=WGS84 +datum=WGS84 +units=m +no_defs", "-448251.80,-5411932.68"))
    network = read_roads(path, on_globe=True)
    places = {name: (2.2945 + metres_east / 73_386, 48.8582 - 1.5e-5) for name, metres_east in (("w", -55), ("e", 55))}
    stations = read_stations(write_stations(tmp_path / "s.csv", places))
    one = by_road(stations, network, source="x", max_distance=1e5, max_snap=10)
    assert one.distance_N == pytest.approx([0, 0], abs=0.7)  # grid north is half a degree off
    assert table(one)["w", "e"] == pytest.approx(110, abs=0.5)
    path.write_text(sumo("+proj=tmerc +lat_0=48"))
    with pytest.raises(UserError, match=r"cross.net.xml: has the projection '\+proj=tmerc .* netconvert --proj.utm"):
        read_roads(path, on_globe=True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.graphml", graphml(BLOCK, ROUND)[:-40], "no readable XML.*is the file truncated"),
        ("r.graphml", graphml({"a": (5e5, 4e6), "b": (6e5, 4e6)}, ROUND[:1], crs="epsg:32611"), "projected.*32611"),
        ("r.graphml", graphml({"a": BLOCK["a"]}, ROUND[:1]), "names the node 'b', which is not above it"),
        ("r.graphml", graphml(BLOCK, [("a", "b", {"geometry": "POINT (1 2)"})]), "must be a LINESTRING"),
        ("r.graphml", graphml(BLOCK, [("a", "b", {"length": "long"})]), "length must be a number"),
        ("r.graphml", graphml(BLOCK, []), "holds no road"),
        ("r.graphml", graphml(BLOCK, ROUND).replace('"d0">8.4<', '"d0">west<'), "node 'a' has no numbers x and y"),
        ("r.graphml", '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "b">]><graphml/>', "declares a document type"),
        ("r.json", geojson([([(8.4, 49.0), (8.5, 49.0)], {})])[:-30], "is the file truncated"),
        ("r.json", geojson([([(8.4, 49.0), (8.5, 49.0)], {"oneway": "maybe"})]), "feature 1: oneway is 'maybe'"),
        ("r.json", geojson([([(5e5, 4e6), (5.1e5, 4e6)], {})]), "projected.*ogr2ogr"),
        ("r.json", geojson([], crs={"properties": {"name": "urn:ogc:def:crs:EPSG::32611"}}), "EPSG::32611"),
        ("r.json", '{"type": "Point", "coordinates": [1, 2]}', "holds no LineStrings: 1 Point features left out"),
        ("r.net.xml", sumo().replace('shape="-1.00,0.00 1.00,0.00"', ""), "has no length or no shape"),
        ("r.net.xml", sumo()[:-60], "is the file truncated"),
        ("r.csv", "a,b,c\n1,2,3\n", "none of the known road networks"),
    ],
)  # fmt: skip
def test_a_network_that_is_none_is_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said) as raised:
        read_roads(tmp_path / name, on_globe=not name.endswith(".net.xml"))
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_what_only_unpacks_to_much_is_refused_early(tmp_path: Path) -> None:
    path = tmp_path / "r.graphml.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b"<graphml><key>")
        for _ in range(40):
            file.write(b"x" * (1 << 20))
    with pytest.raises(UserError, match=r"r\.graphml\.gz: no road network: no element begins or ends within 32 MiB"):
        read_roads(path, on_globe=True)


def test_plain_coordinates_need_a_network_of_them(tmp_path: Path) -> None:
    (tmp_path / "r.graphml").write_text(graphml(BLOCK, ROUND))
    with pytest.raises(UserError, match="but the stations have x and y: call these columns longitude and latitude "):
        read_roads(tmp_path / "r.graphml", on_globe=False)


def test_stations_elsewhere_are_told_where_the_roads_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of the 1 stations.*49, 8.4 to 49.001, 8.402|49 to 49.001, 8.4 to 8.402"):
        made(tmp_path, graphml(BLOCK, ROUND), {"swapped": (49.0, 8.4)})
