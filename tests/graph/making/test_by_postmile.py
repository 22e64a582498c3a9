"""Stations along freeways: the metadata of PeMS and other tables of routes and places."""

from pathlib import Path

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.by_position import by_position
from dcrnn_fast.graph.making.by_postmile import by_postmile
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import Stations, read_stations

MILE = 1609.344
HEADER = [
    "ID",
    "Fwy",
    "Dir",
    "District",
    "County",
    "City",
    "State_PM",
    "Abs_PM",
    "Latitude",
    "Longitude",
    "Length",
    "Type",
    "Lanes",
    "Name",
]
PEMS = [
    # id, freeway, direction, postmile, latitude, longitude, type, name
    ("715918", "5", "N", "117.05", "33.8804", "-118.0218", "ML", 'ARTESIA "2"'),
    ("715920", "5", "N", "117.49", "33.8822", "-118.0270", "ML", '"QUOTED" FIRST'),
    ("715929", "5", "N", "118.5", "33.8931", "-118.0420", "ML", "ROSECRANS"),
    ("715930", "5", "N", "117.6", "", "", "OR", "RAMP"),
    ("716001", "5", "S", "117.1", "33.8805", "-118.0220", "ML", "ARTESIA"),
    ("716002", "5", "S", "118.4", "33.8930", "-118.0421", "ML", "ROSECRANS"),
    ("717001", "10", "E", "3.25", "34.0201", "-118.4211", "ML", "SAWTELLE"),
]


def pems(path: Path, rows: list[tuple[str, ...]] = PEMS) -> Path:
    lines = ["\t".join([*HEADER, "User_ID_1", "User_ID_2", "User_ID_3", "User_ID_4"])]
    for number, way, direction, place, latitude, longitude, kind, name in rows:
        cells = [number, way, direction, "7", "37", "", "R1.2", place, latitude, longitude, ".5", kind, "4", name]
        lines.append("\t".join([*cells, "1", "", "", ""]))
    path.write_text("\n".join([*lines, ""]))
    return path


def links(made: MadeList) -> dict[tuple[str, str], float]:
    pairs = zip(made.rows_E.tolist(), made.columns_E.tolist(), made.values_E.tolist(), strict=True)
    return {(made.ids[a], made.ids[b]): value for a, b, value in pairs if a != b}


def csv_of(tmp_path: Path, text: str) -> Stations:
    (tmp_path / "s.csv").write_text(text)
    return read_stations(tmp_path / "s.csv")


def test_pems_stations_lead_downstream(tmp_path: Path) -> None:
    stations = read_stations(pems(tmp_path / "d07_text_meta_2024_01_01.txt"), types=["ML"])
    made = by_postmile(stations, source="d07")
    assert links(made) == pytest.approx(
        {
            ("715918", "715920"): 0.44 * MILE,
            ("715920", "715929"): 1.01 * MILE,
            ("716002", "716001"): 1.3 * MILE,
        }
    )
    assert made.rows_E.tolist().count(5) == 1, "the lone station has a line of its own"
    assert "look: 1 station alone on a carriageway, without a link: '717001'" in made.notes
    assert "stations: 6 of type ML, of 7 in the file" in made.notes


def test_several_next_ones_and_a_limit(tmp_path: Path) -> None:
    stations = read_stations(pems(tmp_path / "meta.txt"), types=["ml"])
    two = links(by_postmile(stations, source="x", nearest=2))
    assert two["715918", "715929"] == pytest.approx(1.45 * MILE)
    assert len(two) == 4
    assert set(links(by_postmile(stations, source="x", max_distance=0.5 * MILE))) == {("715918", "715920")}


def test_ramps_between_are_pointed_out(tmp_path: Path) -> None:
    stations = read_stations(pems(tmp_path / "meta.txt"))
    assert "look: stations of several types: 6 ML, 1 OR; --station-type takes some alone" in stations.notes
    with pytest.raises(UserError, match=r"no station is of the type HV; the file has 'ML', 'OR'"):
        read_stations(tmp_path / "meta.txt", types=["HV"])


def test_any_route_direction_and_place(tmp_path: Path) -> None:
    text = (
        "station,route,direction,km\na,A5,increasing,10.5\nb,A5,increasing,12\nc,A5,decreasing,11\nd,A5,decreasing,10\n"
    )
    assert links(by_postmile(csv_of(tmp_path, text), source="x")) == {("a", "b"): 1500, ("c", "d"): 1000}
    both = "station,route,position_m\na,A5,0\nb,A5,700\n"
    assert links(by_postmile(csv_of(tmp_path, both), source="x")) == {("a", "b"): 700, ("b", "a"): 700}


def test_numbers_of_directions_are_no_bearings(tmp_path: Path) -> None:
    numbered = csv_of(tmp_path, "id,route,direction,km\na,7,1,3\nb,7,1,4\nc,7,2,4.5\nd,7,2,3\n")
    assert numbered.bearing_N is None
    assert links(by_postmile(numbered, source="x")) == {("a", "b"): 1000, ("c", "d"): 1500}
    turned = csv_of(tmp_path, "id,latitude,longitude,direction\na,1,1,270\nb,1,1,5\n").bearing_N
    assert turned is not None
    assert turned.tolist() == [270, 5]


def test_two_at_one_place_are_linked_both_ways(tmp_path: Path) -> None:
    made = by_postmile(csv_of(tmp_path, "id,route,dir,km\na,1,S,5\nb,1,S,5\nc,1,S,3\n"), source="x")
    assert links(made) == {("a", "b"): 0, ("b", "a"): 0, ("b", "c"): 2000}


def test_a_place_without_a_unit_is_pointed_out(tmp_path: Path) -> None:
    stations = csv_of(tmp_path, "id,route,dir,position\na,1,N,5\nb,1,N,7\n")
    assert [note for note in stations.notes if "does not say its unit: taken as metres; --unit km, mi or ft" in note]
    assert links(by_postmile(read_stations(tmp_path / "s.csv", unit="km"), source="x")) == {("a", "b"): 2000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,route,dir,km\na,1,N,5\na,1,N,6\n", "come more than once: 'a'"),
        ("id,route,dir,km\na,1,X,5\nb,1,X,6\n", "has the direction 'x'; known: N, S, E, W"),
        ("id,route,dir,km\na,1,N,5\nb,2,N,6\n", "no pair of stations: 2 stations and no link between them"),
        ("id,route,dir,km\na,1,N,fi\n", "s.csv: line 2, column 4: a place along the route must be a number, got 'fi"),
        ("name,route,dir,km\n", "a header and no lines"),
        ("who,route,dir,km\na,1,N,5\n", "no column sensor_id, station or id in the header 'who, route"),
        ("id,latitude,longitude\na,34,-118\nb,34,-118.1\n", "no columns of a route and a place"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        by_postmile(csv_of(tmp_path, text), source="s.csv")


def test_truncated_metadata_is_named(tmp_path: Path) -> None:
    path = pems(tmp_path / "meta.txt")
    path.write_text(path.read_text()[:-60])
    with pytest.raises(UserError, match=r"meta.txt: line 8 has \d columns, the header 18; is it truncated"):
        read_stations(path)


def test_stations_of_geojson(tmp_path: Path) -> None:
    point = '{"type": "Feature", "id": "%s", "properties": {"dir": "N"}, "geometry": %s}'
    path = tmp_path / "s.geojson"
    features = ",".join(
        [
            point % ("a", '{"type": "Point", "coordinates": [-118.5, 34.1]}'),
            point % ("b", '{"type": "Point", "coordinates": [-118.5, 34.2, 12]}'),
        ]
    )
    path.write_text(f'{{"type": "FeatureCollection", "features": [{features}]}}')
    stations = read_stations(path)
    assert stations.ids == ("a", "b")
    assert stations.positions_N2 is not None
    assert stations.positions_N2.tolist() == [[34.1, -118.5], [34.2, -118.5]]
    assert stations.bearing_N is not None
    assert stations.bearing_N.tolist() == [0, 0]
    made = by_position(stations, source="x", nearest=1)
    assert links(made) == pytest.approx({("a", "b"): 11119.5, ("b", "a"): 11119.5}, abs=0.1)
