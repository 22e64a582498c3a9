"""GAL and GWT files as GeoDa, spdep and libpysal write them."""

from pathlib import Path

import pytest

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, account_lines, look_lines, read_graph

GAL = "0 4 columbus POLYID\n1 2\n2 3 \n2 1\n1\n3 1\n1\n4 0\n\n"


def read(path: Path, text: str, ids: tuple[str, ...] | None = None) -> SensorGraph:
    path.write_text(text)
    return read_graph(GraphConfig(graph=str(path)), ids=ids)


@pytest.mark.parametrize(
    "text",
    [GAL, GAL.replace("0 4 columbus POLYID", "4"), GAL.replace("\n\n", "\n"), GAL.replace("columbus", '"a b"')],
    ids=["GeoDa", "libpysal", "no blank line", "quotes"],
)
def test_gal(text: str, tmp_path: Path) -> None:
    graph = read(tmp_path / "n.gal", text)
    assert graph.ids == ("1", "2", "3", "4")
    assert graph.adjacency.toarray().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert account_lines(graph)[0].startswith("graph: n.gal, a list of neighbours (GAL): 5 pairs given, 4 links used")
    assert look_lines(graph) == ["look: 1 of 4 sensors have no link to another (isolated): '4'"]


def test_gal_ids_with_spaces_stand_in_quotes(tmp_path: Path) -> None:
    graph = read(tmp_path / "n.gal", '2\n"New York" 1\n"New Jersey"\n"New Jersey" 1\n"New York"\n')
    assert graph.ids == ("New York", "New Jersey")


def test_gal_in_the_order_of_the_series(tmp_path: Path) -> None:
    graph = read(tmp_path / "n.gal", GAL, ids=("3", "1", "4"))
    assert graph.ids == ("3", "1", "4")
    assert graph.adjacency.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_gwt_holds_distances(tmp_path: Path) -> None:
    graph = read(tmp_path / "n.gwt", "0 3 sids FIPSNO\n1 2 100.5\n2 1 100.5\n2 3 250\n3 2 250\n")
    weights = graph.adjacency.toarray()
    assert weights[1, 2] == pytest.approx(0.1)
    assert weights[0, 1] == pytest.approx(0.1 ** ((100.5 / 250) ** 2), rel=1e-6)
    assert "a list of distances (GWT)" in account_lines(graph)[0]


def test_gwt_may_hold_weights(tmp_path: Path) -> None:
    assert read(tmp_path / "n.gwt", "3\n1 2 1.0\n2 3 1.0\n").adjacency.toarray()[1, 2] == 1
    graph = read(tmp_path / "n.gwt", "0 2 a b\n1 1 1\n1 2 0.25\n2 1 0.25\n2 2 1\n")
    assert graph.adjacency.toarray().tolist() == [[1, 0.25], [0.25, 1]]
    part = read(tmp_path / "n.gwt", "0 5 a b\n1 2 7.5\n2 1 7.5\n")
    assert [line for line in look_lines(part) if "of 5 areas and names 2: the others have no neighbours" in line]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("n.gal", "", "the file is empty"),
        ("n.gal", GAL[:25], "area '1' has 2 neighbours, the file ends after"),
        ("n.gal", GAL.replace("0 4 ", "0 5 "), "its first line says 5 areas, it has 4; is it truncated"),
        ("n.gal", GAL.replace("\n3 1\n1", "\n2 1\n1"), "the area '2' comes twice"),
        ("n.gal", GAL.replace("\n3 1\n1", "\n3 1\n9"), "names 1 neighbour that are no areas of it: '9'"),
        ("n.gal", "from,to\na,b\n", "its first line must be N or 0 N SHAPEFILE ID_VARIABLE"),
        ("n.gal", "2\na b\nc d\n", "area 'a': wanted its number of neighbours, got 'b'"),
        ("n.gwt", "2\n1 2 5\n2 1\n", "line 3: wanted area, neighbour and a number, got '2 1'"),
        ("n.gwt", "2\n1 2 5\n2 3 5\n", "its first line says 2 areas, it names 3"),
        ("n.gwt", "2\n1 2 -5\n", "-5"),
    ],
)
def test_mistakes_are_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path / name, text)
    assert str(raised.value).startswith(str(tmp_path / name))
