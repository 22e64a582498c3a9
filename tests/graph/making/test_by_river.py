"""Gauges on rivers: sums of reaches downstream, equal to networkx's; circles are named."""

from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.by_river import by_river
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import Stations, read_stations

#   a - 3 km -> j -> 2 km -> c -> 4 km -> mouth     b - 1.5 km -> j
RIVER = "upstream,downstream,length_km\na,j,3\nb,j,1.5\nj,c,2\nc,mouth,4\n"


def links(made: MadeList) -> dict[tuple[str, str], float]:
    pairs = zip(made.rows_E.tolist(), made.columns_E.tolist(), made.values_E.tolist(), strict=True)
    return {(made.ids[a], made.ids[b]): value for a, b, value in pairs if a != b}


def river(tmp_path: Path, text: str = RIVER) -> Path:
    (tmp_path / "river.csv").write_text(text)
    return tmp_path / "river.csv"


def gauges(tmp_path: Path, *names: str) -> Stations:
    (tmp_path / "gauges.csv").write_text("\n".join(["gauge,note", *(f"{name},x" for name in names), ""]))
    return read_stations(tmp_path / "gauges.csv")


def test_next_gauges_downstream(tmp_path: Path) -> None:
    made = by_river(river(tmp_path), gauges(tmp_path, "a", "b", "c", "mouth"))
    assert links(made) == {("a", "c"): 5000, ("b", "c"): 3500, ("c", "mouth"): 4000}


def test_all_gauges_downstream_within_a_limit(tmp_path: Path) -> None:
    made = by_river(river(tmp_path), gauges(tmp_path, "a", "b", "c", "mouth"), max_distance=8000)
    assert links(made) == {("a", "c"): 5000, ("b", "c"): 3500, ("b", "mouth"): 7500, ("c", "mouth"): 4000}
    nearest = by_river(river(tmp_path), gauges(tmp_path, "a", "mouth"), nearest=1)
    assert links(nearest) == {("a", "mouth"): 9000}


def test_every_end_is_a_gauge_without_a_table_of_them(tmp_path: Path) -> None:
    made = by_river(river(tmp_path), None)
    assert links(made) == {("a", "j"): 3000, ("b", "j"): 1500, ("j", "c"): 2000, ("c", "mouth"): 4000}


def test_a_station_and_the_next_one(tmp_path: Path) -> None:
    text = "HYRIV_ID,NEXT_DOWN,MAIN_RIV,LENGTH_KM\n1,3,9,2.5\n2,3,9,1\n3,0,9,7\n"
    made = by_river(river(tmp_path, text), None)
    assert links(made) == {("1", "3"): 2500, ("2", "3"): 1000}
    assert "rivers: river.csv: 2 reaches, 1 outlet" in made.notes
    assert "rivers: river.csv: 1 reach, 0 outlets" in by_river(river(tmp_path, "from,to,km\na,b,2\n"), None).notes
    plain = by_river(river(tmp_path, "station,next_downstream\na,b\nb,\n"), None)
    assert plain.holds == "weights"
    assert links(plain) == {("a", "b"): 1}


def test_the_sea_is_0_only_where_no_gauge_is_called_so(tmp_path: Path) -> None:
    """Also beside integers that pandas wrote as floats."""
    floats = "COMID,NextDownID,lengthkm\n7.0,9.0,1.5\n9.0,0.0,2\n10.0,,1\n"
    made = by_river(river(tmp_path, floats), None)
    assert links(made) == {("7", "9"): 1500}
    assert made.ids == ("7", "9", "10"), "10 flows into the sea and nothing into it"
    counted = "station,next_downstream,length_km\n2,0,1\n0,1,2\n1,-1,1\n"
    assert links(by_river(river(tmp_path, counted), None)) == {("2", "0"): 1000, ("0", "1"): 2000}
    ends = "from,to,length_km\n2,1,5\n1,0,4\n0,,1\n"
    assert links(by_river(river(tmp_path, ends), None)) == {("2", "1"): 5000, ("1", "0"): 4000}
    assert links(by_river(river(tmp_path, ends.replace("0,,1\n", "")), None)) == {("2", "1"): 5000, ("1", "0"): 4000}


def test_sums_are_those_of_another_program(tmp_path: Path) -> None:
    """A braided river of 120 ends, a third of them gauges."""
    import networkx

    rng = np.random.default_rng(5)
    truth = networkx.DiGraph()
    lines = ["from,to,length_m"]
    for end in range(119):
        for other in rng.choice(np.arange(end + 1, min(end + 9, 120)), size=min(2, 119 - end), replace=False):
            metres = round(float(rng.uniform(10, 900)), 2)
            truth.add_edge(f"e{end}", f"e{other}", weight=metres)
            lines.append(f"e{end},e{other},{metres}")
    names = [f"e{end}" for end in sorted(rng.choice(120, 40, replace=False))]
    found = links(by_river(river(tmp_path, "\n".join(lines)), gauges(tmp_path, *names), max_distance=5000))
    wanted = {}
    for name in names:
        reached = networkx.single_source_dijkstra_path_length(truth, name, cutoff=5000) if name in truth else {}
        wanted |= {(name, other): metres for other, metres in reached.items() if other in names and other != name}
    assert len(wanted) > 300
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RIVER + "c,a,1\n", "river.csv: the water runs in a circle: a to j to c to a; correct the direction"),
        ("upstream,downstream,length_km\na,a,3\n", "runs in a circle: a to a"),
        ("upstream,downstream,length_km\na,b,-3\n", "line 2: a length must be a finite number, not negative, got -3"),
        ("upstream,downstream,length_km\na,b,long\n", "line 2, column 3: a length must be a number"),
        ("upstream,downstream,length_km\na,b\n", "line 2 has 2 columns.*is the file truncated"),
        ("station,next\na,\n", "no line leads downstream"),
        ("x,y\na,b\n", "no columns upstream, downstream, or station, next_downstream in the header 'x, y'"),
    ],
)
def test_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        by_river(river(tmp_path, text), None)


def test_gauges_off_the_river_are_named(tmp_path: Path) -> None:
    made = by_river(river(tmp_path), gauges(tmp_path, "a", "c", "lake"))
    assert "look: no reach names 1 gauge, without a link: 'lake'" in made.notes
    with pytest.raises(UserError, match=r"none of the gauges 'A' is an end of a reach.*'A' is not 'a'"):
        by_river(river(tmp_path), gauges(tmp_path, "A"))
