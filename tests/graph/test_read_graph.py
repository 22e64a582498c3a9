"""One door for all graph files: which reader a file gets, and how ids and options reach it."""

import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import scipy.sparse

from dcrnn_fast.config.data import GraphConfig, GraphFormat
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import from_distances, from_grid, from_positions, read_graph
from dcrnn_fast.graph.formats import FORMATS, find_format

MATRIX = np.array([[0, 0.5, 0], [0, 1, 0.25], [0.125, 0, 0]])
IDS = ("00123", "773869.0", "c")
DISTANCES = "from,to,cost\n00123,00123,0\n00123,773869.0,1000\n773869.0,c,2500\nc,00123,inf\n"
POSITIONS = "sensor_id,latitude,longitude\n00123,34,-118\n773869.0,34.1,-118\nc,34.3,-118.2\n"


def config(path: Path, **options: Any) -> GraphConfig:
    return GraphConfig(graph=str(path), **options)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "matrix.npy", MATRIX)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_array(MATRIX))
    np.savez(tmp_path / "dense.npz", adj=MATRIX)
    np.savez(tmp_path / "grid.npz", latitude=[0.0, 1.0], longitude=[5.0, 6.0])
    np.savez(tmp_path / "matrix_with_places.npz", adj=MATRIX, lat=np.zeros((3, 1)), lon=np.zeros((3, 1)))
    (tmp_path / "adj.pkl").write_bytes(pickle.dumps([list(IDS), {n: i for i, n in enumerate(IDS)}, MATRIX]))
    (tmp_path / "matrix.csv").write_text("0,0.5,0,0\n0,1,0.25,0\n0.125,0,0,0\n0,0,0,0\n")
    (tmp_path / "matrix_ids.CSV").write_text(",a,b\na,0,1\nb,1,0\n")
    (tmp_path / "matrix.txt").write_text("0 0.5\n0 1\n")
    (tmp_path / "distances.csv").write_text(DISTANCES)
    (tmp_path / "distances.tsv").write_text(DISTANCES.replace(",", "\t").replace("cost", "Distance"))
    (tmp_path / "edges.csv").write_text("from,to,weight\na,b,0.5\n")
    (tmp_path / "pairs.csv").write_text("source,target\na,b\n")
    (tmp_path / "positions.csv").write_text(POSITIONS)
    return tmp_path


def test_choices_docs_and_settings_are_those_of_the_table() -> None:
    assert get_args(GraphFormat) == ("auto", *(one.name for one in FORMATS))
    docs = (Path(__file__).resolve().parents[2] / "docs" / "graphs.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", docs, re.MULTILINE))
    assert list(rows) == [one.name for one in FORMATS]
    assert all(f"`{ending}`" in rows[one.name] for one in FORMATS for ending in one.endings)
    assert {setting for one in FORMATS for setting in one.uses} <= {field.name for field in fields(GraphConfig)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("matrix.npy", "matrix"),
        ("sparse.npz", "matrix"),
        ("dense.npz", "matrix"),
        ("grid.npz", "grid"),
        ("matrix_with_places.npz", "matrix"),
        ("adj.pkl", "pickle"),
        ("matrix.csv", "matrix"),
        ("matrix_ids.CSV", "matrix"),
        ("matrix.txt", "matrix"),
        ("distances.csv", "distances"),
        ("distances.tsv", "distances"),
        ("edges.csv", "edges"),
        ("pairs.csv", "edges"),
        ("positions.csv", "positions"),
    ],
)
def test_formats_are_found(files: Path, name: str, kind: str) -> None:
    assert find_format(files / name).name == kind
    options: dict[str, Any] = {"nearest": 1} if kind == "positions" else {}
    found = read_graph(config(files / name, **options))
    told = read_graph(config(files / name, graph_format=kind, **options))
    assert found.digest() == told.digest()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "1,2,0.5\n2,3,0.5\n1,3,1\n4,2,1\n5,2,1\n", "three columns could be distances, .* set --graph-format"),
        ("a.csv", "1,2,0.5\n2,3,0.5\n1,3,1\n", "three columns could be distances, .* set --graph-format"),
        ("a.csv", "x,y,z\n1,2,0.5\n2,3,0.5\n1,3,1\n4,2,1\n", "three columns could be distances"),
        ("a.csv", "from,to,value\n1,2,0.5\n", "does not say whether it lists distances or weights"),
        ("a.csv", "from,to,distance,weight\n1,2,0.5,1\n", "does not say whether it lists distances or weights"),
        ("a.csv", "", "the file is empty"),
        ("a.dat", "0,1\n1,0\n", "the ending '.dat' does not say what the graph file holds"),
        ("graph", "0,1\n1,0\n", r"the ending '\(none\)' does not say"),
        ("a.csv", "speed\n1\n2\n3\n", "no square matrix"),
    ],
)
def test_what_cannot_be_told_is_asked_for(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_graph(config(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_small_matrices_with_ids_are_no_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c\n0,1,0\n0,0,1\n1,0,0\n")
    assert read_graph(config(tmp_path / "a.csv")).ids == ("a", "b", "c")
    (tmp_path / "a.csv").write_text(",a,b\na,0,1\nb,1,0\n")
    assert read_graph(config(tmp_path / "a.csv")).ids == ("a", "b")


def test_no_file() -> None:
    with pytest.raises(UserError, match="no graph file given: name one with --graph"):
        read_graph(GraphConfig())


@pytest.mark.parametrize("name", ["none.npy", "none.npz", "none.csv", "none.pkl", "none.nc"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"cannot read .*{name}: No such file"):
        read_graph(config(tmp_path / name))


def test_options_reach_the_readers(files: Path) -> None:
    pairs = (["00123", "00123", "773869.0", "c"], ["00123", "773869.0", "c", "00123"], [0, 1000, 2500, np.inf])
    for options in ({}, {"sigma": 2000.0}, {"threshold": 0.01}, {"sigma": 900.0, "allow_lost_links": True}):
        assert (
            read_graph(config(files / "distances.csv", **options)).digest()
            == from_distances(*pairs, **options).digest()
        )  # type: ignore[arg-type]
    places = np.array([[34, -118], [34.1, -118], [34.3, -118.2]])
    for more in ({"nearest": 1}, {"radius_km": 15.0}, {"nearest": 2, "radius_km": 25.0, "sigma": 20.0}):
        wanted = from_positions(places, IDS, **more)  # type: ignore[arg-type]
        assert read_graph(config(files / "positions.csv", **more)).digest() == wanted.digest()
    with pytest.raises(UserError, match=r"positions.csv: a graph from positions needs --nearest"):
        read_graph(config(files / "positions.csv"))
    np.save(files / "mask.npy", np.array([[True, True], [True, False]]))
    read = read_graph(config(files / "grid.npz", grid_neighbours=4, land_mask=str(files / "mask.npy")))
    mask_YX = np.load(files / "mask.npy")
    assert read.digest() == from_grid([0, 1], [5, 6], neighbours=4, mask_YX=mask_YX).digest()


def test_self_loops_are_added_on_request(files: Path) -> None:
    assert read_graph(config(files / "matrix.npy")).adjacency.diagonal().tolist() == [0, 1, 0]
    assert read_graph(config(files / "matrix.npy", self_loops="add")).adjacency.diagonal().tolist() == [1, 1, 1]


def test_a_matrix_without_ids_takes_the_series_ids(files: Path) -> None:
    for name in ("matrix.npy", "sparse.npz", "dense.npz"):
        assert read_graph(config(files / name), ids=IDS).ids == IDS
        with pytest.raises(UserError, match=f"{name}: a 3 x 3 matrix without ids, for 2 sensors"):
            read_graph(config(files / name), ids=IDS[:2])
    assert read_graph(config(files / "adj.pkl"), ids=("x", "y", "z")).ids == IDS


def test_lists_are_read_for_the_series_by_id(files: Path) -> None:
    by_id = read_graph(config(files / "distances.csv"), ids=("773869.0", "00123"))
    assert by_id.ids == ("773869.0", "00123")
    # sigma is that of the two sensors' distances, 0 and 1000
    assert by_id.adjacency[1, 0] == pytest.approx(0.1)
    with pytest.raises(
        UserError, match=r"1 of the 2 sensors are not in the list: '123'.*'123' is not '00123'"
    ) as caught:
        read_graph(config(files / "distances.csv"), ids=("123", "c"))
    # The order of a list's lines is no order of sensors.
    assert "--match position" not in str(caught.value)
    with pytest.raises(UserError, match=r"--match position needs a list that calls its sensors by number.*'00123'"):
        read_graph(config(files / "distances.csv", match="position"), ids=("x", "y", "z"))
    # Only the wanted sensors are each other's neighbours.
    places = read_graph(config(files / "positions.csv", nearest=1, sigma=50.0), ids=("c", "00123"))
    assert places.ids == ("c", "00123")
    assert places.adjacency.toarray().astype(bool).tolist() == [[False, True], [True, False]]


def test_positions_may_accompany_any_graph(files: Path) -> None:
    graph = read_graph(config(files / "adj.pkl", sensor_positions=str(files / "positions.csv")))
    assert graph.positions_N2 is not None
    assert graph.positions_N2.tolist() == [[34, -118], [34.1, -118], [34.3, -118.2]]
    with pytest.raises(UserError, match=r"positions.csv: 2 of the 2 sensors have no position: 'a', 'b'"):
        read_graph(config(files / "edges.csv", sensor_positions=str(files / "positions.csv")))
