"""SensorGraph: its checks, its digest, its state, and how it is matched to a series."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, from_matrix, match_graph

MATRIX = np.array([[0.0, 0.5, 0.0], [0.0, 1.0, 0.25], [0.125, 0.0, 0.0]])
POSITIONS = np.array([[34.1, -118.2], [34.2, -118.3], [34.3, -118.4]])


def graph(ids: tuple[str, ...] = ("00123", "773869.0", "c d")) -> SensorGraph:
    return SensorGraph(MATRIX, ids, POSITIONS)


def test_any_matrix_becomes_one_canonical_form() -> None:
    unsorted = scipy.sparse.csr_array((np.array([0.25, 1.0, 0.5]), np.array([2, 1, 1]), np.array([0, 0, 2, 3])))
    doubled = scipy.sparse.coo_array((np.array([0.2, 0.3, 0.0]), ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert SensorGraph(doubled, ("a", "b")).adjacency.toarray().tolist() == [[0, 0.5], [0, 0]]
    assert SensorGraph(doubled, ("a", "b")).num_edges == 1
    made = SensorGraph(unsorted, ("a", "b", "c")).adjacency
    assert made.indices.tolist() == [1, 2, 1]
    assert made.dtype == np.float64
    for kind in (MATRIX, MATRIX.astype(np.float32), scipy.sparse.csc_matrix(MATRIX), scipy.sparse.lil_array(MATRIX)):
        assert from_matrix(kind).digest() == from_matrix(MATRIX).digest()
    assert from_matrix(MATRIX > 0).adjacency.toarray().tolist() == (MATRIX > 0).astype(float).tolist()


def test_the_given_matrix_is_copied() -> None:
    given = scipy.sparse.csr_array(MATRIX)
    made = from_matrix(given)
    given.data[:] = 7
    assert made.adjacency.toarray().tolist() == MATRIX.tolist()


def test_digest_sees_ids_structure_and_values_only() -> None:
    base = graph().digest()
    assert base == SensorGraph(MATRIX, graph().ids).digest()
    assert base != graph(("00123", "773869", "c d")).digest()
    assert base != SensorGraph(MATRIX * (1 + 1e-15), graph().ids).digest()
    assert base != SensorGraph(MATRIX.T, graph().ids).digest()
    # The digest is part of checkpoints: it must not change between versions.
    assert base == "c37668e18c2efe2230474d6be3ae7b0a364c385499e8eea917fa4c8062212a77"


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_state_round_trip(convert: object) -> None:
    state = {key: convert(value) if key != "ids" else value for key, value in graph().to_state().items()}  # type: ignore[operator]
    back = SensorGraph.from_state(state)
    assert back.digest() == graph().digest()
    assert back.ids == graph().ids
    assert back.positions_N2 is not None
    np.testing.assert_array_equal(back.positions_N2, POSITIONS)
    assert "positions_N2" not in from_matrix(MATRIX).to_state()
    assert SensorGraph.from_state(from_matrix(MATRIX).to_state()).positions_N2 is None


def test_copies_and_pickles() -> None:
    for same in (copy.deepcopy(graph()), pickle.loads(pickle.dumps(graph()))):
        assert same.digest() == graph().digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": np.array([1, 1, 2, 99])}, "the saved graph is damaged"),
        ({"indices": np.array([1, 1, 2, -1])}, "the saved graph is damaged"),
        ({"indptr": np.array([0, 9, 3, 4])}, "the saved graph is damaged"),
        ({"data": np.array([1.0])}, "the saved graph is damaged"),
        ({"data": np.array([1.0, 1.0, np.nan, 1.0])}, "got nan from '773869.0' to 'c d'"),
        ({"ids": ["a", "b"]}, "the saved graph is damaged"),
        ({"ids": ["a", "b", "b"]}, "come more than once: 'b'"),
        ({"data": None}, "lacks data"),
    ],
)
def test_damaged_states(change: dict, message: str) -> None:
    state = {**graph().to_state(), **change}
    with pytest.raises(UserError, match=message):
        SensorGraph.from_state({key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize(
    ("matrix", "ids", "message"),
    [
        (np.ones((2, 3)), ("a", "b"), r"must be square \(N, N\), got shape \(2, 3\)"),
        (np.ones(4), ("a", "b", "c", "d"), r"must be square"),
        (np.zeros((0, 0)), (), "at least one node"),
        (np.array([["x"]]), ("a",), "must hold real numbers, got dtype <U1"),
        (np.array([[1j]]), ("a",), "must hold real numbers"),
        (np.eye(2), ("a",), "2 nodes but 1 ids"),
        (np.eye(3), ("a", "b", "a"), "come more than once: 'a'"),
        (np.eye(2), ("a", " "), "must be non-empty text"),
        (np.eye(2), ("a", 7), "must be non-empty text"),
        (np.array([[0, np.nan], [0, 0]]), ("a", "b"), "got nan from 'a' to 'b'"),
        (np.array([[0, 1], [-0.5, -1]]), ("a", "b"), "got -0.5 from 'b' to 'a' and 1 more such edges"),
        (np.array([[0, 1], [0, np.inf]]), ("a", "b"), "got inf from 'b' to 'b'"),
        (scipy.sparse.coo_array(([np.nan], ([1], [0])), shape=(2, 2)), ("a", "b"), "got nan from 'b' to 'a'"),
    ],
)
def test_mistakes_are_named(matrix: object, ids: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SensorGraph(matrix, ids)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((2, 2)), r"of 3 sensors, got shape \(2, 2\)"),
        (POSITIONS[:, ::-1], "'00123' is not on the globe.*swapped"),
        (np.where(POSITIONS == 34.3, np.nan, POSITIONS), "'c d' is not on the globe"),
        (POSITIONS * 1000, "'00123' is not on the globe"),
    ],
)
def test_positions_must_be_on_the_globe(positions: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SensorGraph(MATRIX, graph().ids, positions)


def test_self_loops_are_added_only_where_there_is_none() -> None:
    looped = graph().with_self_loops()
    assert looped.adjacency.diagonal().tolist() == [1, 1, 1]
    assert SensorGraph(MATRIX * 0.5, graph().ids).with_self_loops().adjacency.diagonal().tolist() == [1, 0.5, 1]
    assert looped.with_self_loops().digest() == looped.digest()
    assert looped.positions_N2 is not None


def test_take_is_the_sub_graph_in_the_order_asked_for() -> None:
    part = graph().take(["c d", "00123"])
    assert part.adjacency.toarray().tolist() == [[0, 0.125], [0, 0]]
    assert part.ids == ("c d", "00123")
    assert part.positions_N2 is not None
    assert part.positions_N2[:, 0].tolist() == [34.3, 34.1]
    with pytest.raises(UserError, match="no node 'x'"):
        graph().take(["00123", "x"])
    with pytest.raises(UserError, match="more than once: '00123'"):
        graph().take(["00123", "00123"])


def test_match_by_id_reorders() -> None:
    matched = match_graph(graph(), ("c d", "773869.0", "00123"), "id")
    assert matched.adjacency.toarray().tolist() == MATRIX[::-1, ::-1].tolist()
    assert match_graph(graph(), graph().ids, "id").digest() == graph().digest()


def test_match_by_id_leaves_out_nodes_without_a_series() -> None:
    assert match_graph(graph(), ("c d", "00123"), "id").ids == ("c d", "00123")


def test_match_by_position_takes_the_series_ids() -> None:
    matched = match_graph(graph(), ("x", "y", "z"), "position")
    assert matched.ids == ("x", "y", "z")
    assert matched.adjacency.toarray().tolist() == MATRIX.tolist()
    with pytest.raises(UserError, match="got 3 nodes and 2 columns"):
        match_graph(graph(), ("x", "y"), "position")


def test_ids_that_do_not_match_are_named() -> None:
    many = tuple(f"s{i}" for i in range(9))
    with pytest.raises(UserError, match=r"9 of the 9 series ids .*: 's0', 's1', 's2', 's3', 's4' and 4 more"):
        match_graph(graph(), many, "id")
    with pytest.raises(UserError, match=r"graph ids without a series: '773869.0'"):
        match_graph(graph(), ("00123", "c d", "other"), "id")
    with pytest.raises(UserError, match="more than once"):
        match_graph(graph(), ("00123", "00123"), "id")
    with pytest.raises(UserError, match="match must be one of id, position"):
        match_graph(graph(), graph().ids, "name")  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", ["773869", "123", "C D", " 00123"])
def test_ids_are_text_and_near_misses_are_pointed_out(spelling: str) -> None:
    with pytest.raises(UserError, match=f"compared as text: '{spelling}' is not "):
        match_graph(graph(), (spelling,), "id")
