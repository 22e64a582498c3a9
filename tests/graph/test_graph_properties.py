"""What must hold for every graph and every file: written tables come back, and no bytes do more than fail.

Shape legend: N nodes.
"""

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import (
    SensorGraph,
    build_supports,
    diffusion_operators,
    from_distances,
    from_matrix,
    match_graph,
    read_distances,
    read_edges,
    read_graph,
    read_grid,
    read_land_mask,
    read_matrix,
    read_pickle,
    read_positions,
)
from dcrnn_fast.graph.making.by_polygon import by_polygon
from dcrnn_fast.graph.making.by_river import by_river
from dcrnn_fast.graph.making.by_road import read_roads
from dcrnn_fast.graph.making.stations import read_stations

# Any text that a table can hold as an id: letters of all scripts, digits, dots, quotes and delimiters.
ids_text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text != ""
)
node_ids = st.lists(ids_text, min_size=2, max_size=6, unique=True)
weights = st.floats(0, 1e6, allow_nan=False).filter(lambda weight: weight == 0 or weight > 1e-300)


@st.composite
def graphs(draw: Callable[[Any], Any]) -> SensorGraph:
    ids = draw(node_ids)
    cells = draw(st.lists(weights, min_size=len(ids) ** 2, max_size=len(ids) ** 2))
    return SensorGraph(np.reshape(cells, (len(ids), len(ids))), tuple(ids))


@st.composite
def dialects(draw: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        "delimiter": draw(st.sampled_from(",;\t")),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    }


def write(rows: list[list[Any]], encoding: str, **dialect: Any) -> Path:
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(rows)
    return write_bytes(text.getvalue().encode(encoding), ".csv")


def write_bytes(content: bytes, ending: str) -> Path:
    with tempfile.NamedTemporaryFile(suffix=ending, delete=False) as file:
        file.write(content)
    return Path(file.name)


@settings(max_examples=50)
@given(graphs(), dialects())
def test_matrix_tables_come_back(graph: SensorGraph, dialect: dict[str, Any]) -> None:
    rows = [[node, *map(repr, row)] for node, row in zip(graph.ids, graph.adjacency.toarray().tolist(), strict=True)]
    path = write([["", *graph.ids], *rows], **dialect)
    # Delimiters inside quoted ids may outnumber the real ones in the header: that is told apart from nothing else.
    header = path.read_text(dialect["encoding"]).splitlines()[0]
    assume(max("\t;,", key=header.count) == dialect["delimiter"])
    try:
        assert read_matrix(path).digest() == graph.digest()
    finally:
        path.unlink()


@settings(max_examples=50)
@given(graphs(), dialects(), st.randoms())
def test_edge_lists_come_back_in_any_order(graph: SensorGraph, dialect: dict[str, Any], random: Any) -> None:
    dense = graph.adjacency.toarray().tolist()
    rows = [[a, b, repr(dense[i][j])] for i, a in enumerate(graph.ids) for j, b in enumerate(graph.ids)]
    random.shuffle(rows)
    path = write([["from", "to", "weight"], *rows], **dialect)
    try:
        assert read_edges(path, ids=graph.ids).digest() == graph.digest()
        assert match_graph(read_edges(path), graph.ids, "id").digest() == graph.digest()
    finally:
        path.unlink()


@given(graphs())
def test_distances_without_a_threshold_keep_every_finite_pair(graph: SensorGraph) -> None:
    edges = graph.adjacency.tocoo()
    pairs = [
        (graph.ids[i], graph.ids[j], d) for i, j, d in zip(edges.row, edges.col, edges.data, strict=True) if i != j
    ]
    listed = [*pairs, *((node, node, np.inf) for node in graph.ids)]
    start, end, distances = ([pair[part] for pair in listed] for part in range(3))
    made = from_distances(start, end, distances, ids=graph.ids, sigma=1e6, threshold=0)
    assert made.num_edges == len(pairs)
    assert np.all((made.adjacency.data > 0) & (made.adjacency.data <= 1))


@settings(max_examples=50)
@given(graphs(), st.randoms())
def test_renaming_and_reordering_change_nothing_else(graph: SensorGraph, random: Any) -> None:
    order = list(graph.ids)
    random.shuffle(order)
    shuffled = match_graph(graph, order, "id")
    assert match_graph(shuffled, graph.ids, "id").digest() == graph.digest()
    assert SensorGraph.from_state(graph.to_state()).digest() == graph.digest()
    index = [graph.ids.index(node) for node in order]
    for kind in ("dual_random_walk", "laplacian"):
        plain, moved = (
            diffusion_operators(build_supports(some.adjacency, kind=kind), hops=2)  # type: ignore[arg-type]
            for some in (graph, shuffled)
        )
        for one, other in zip(plain, moved, strict=True):
            np.testing.assert_allclose(one.toarray()[np.ix_(index, index)], other.toarray(), rtol=0, atol=1e-9)


@settings(max_examples=50)
@given(graphs())
def test_supports_are_finite_and_stochastic(graph: SensorGraph) -> None:
    for support in build_supports(graph.adjacency, kind="dual_random_walk"):
        sums_N = support.sum(axis=0)
        assert np.all(np.isclose(sums_N, 1) | (sums_N == 0))
    for kind in ("dual_random_walk", "laplacian"):
        for term in diffusion_operators(build_supports(graph.adjacency, kind=kind), hops=3):  # type: ignore[arg-type]
            assert np.isfinite(term.data).all()


READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": read_matrix,
    ".npz": read_matrix,
    ".csv": read_matrix,
    ".edges": read_edges,
    ".distances": read_distances,
    ".positions": read_positions,
    ".pkl": read_pickle,
    ".nc": read_grid,
    ".mask": read_land_mask,
    ".gal": lambda path: read_graph(GraphConfig(graph=str(path))),
    ".gwt": lambda path: read_graph(GraphConfig(graph=str(path))),
    ".stations": read_stations,
    ".roads": lambda path: read_roads(path, on_globe=True),
    ".rivers": lambda path: by_river(path, None),
    ".areas": lambda path: by_polygon(path, contiguity="rook", tolerance=1.0),
    ".txt": lambda path: read_graph(GraphConfig(graph=str(path), nearest=1)),
}
STARTS = [
    b"",
    b"\x93NUMPY\x01\x00",
    b"PK\x03\x04",
    b"CDF\x01",
    b"CDF\x02",
    b"\x89HDF\r\n\x1a\n",
    b"\x80\x02",
    b"\xff\xfe",
    b"2\n1 1\n",
    b"from,to,length_m\na,b,",
    b"ID\tFwy\tDir\tAbs_PM\tLatitude\tLongitude\n",
    b"<graphml><key id='a' attr.name='x'/><graph><node id='1'><data key='a'>",
    b"<net><edge id='a' from='b' to='c'><lane id='a_0' length='1' shape='",
    b'{"type":"Polygon","coordinates":[[[1,2],[1,3],[2,3],[1,2]]]}',
    b'{"type":"Feature","id":1,"properties":{},"geometry":{"type":"LineString","coordinates":[[1,2],[1,',
]
TABLE_BYTES = st.lists(st.sampled_from([b"0", b"1", b"a", b",", b"\n", b".", b"-", b'"', b"inf", b"nan", b"e", b" "]))


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(READERS)),
    st.sampled_from(STARTS),
    st.one_of(st.binary(max_size=300), TABLE_BYTES.map(b"".join)),
)
def test_no_bytes_do_more_than_fail(ending: str, start: bytes, rest: bytes) -> None:
    path = write_bytes(start + rest, ending)
    try:
        READERS[ending](path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.unlink()


@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2), min_size=2, max_size=2)
)
def test_matrices_are_taken_or_refused(cells: list[list[float]]) -> None:
    legal = all(0 <= cell < np.inf for row in cells for cell in row)
    try:
        assert from_matrix(np.array(cells)).adjacency.toarray().tolist() == cells
        assert legal
    except UserError:
        assert not legal
