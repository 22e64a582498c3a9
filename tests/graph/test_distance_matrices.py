"""Matrices of distances: told from weights in every format, and read as lists of the same pairs are."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import account_lines, from_distance_matrix, from_distances, look_lines, read_graph
from dcrnn_fast.graph.distance_matrices import require_no_distances

LINE = np.abs(np.arange(6)[:, None] - np.arange(6)) * 500.0
IDS = tuple("abcdef")


def sparse_chain() -> np.ndarray:
    chain = np.zeros((6, 6))
    for i in range(5):
        chain[i, i + 1] = 500 + 5 * i
    return chain


def written(folder: Path, matrix: np.ndarray) -> list[Path]:
    np.save(folder / "w.npy", matrix)
    np.savez(folder / "w.npz", adj=matrix)
    scipy.sparse.save_npz(folder / "s.npz", scipy.sparse.csr_array(matrix))
    np.savetxt(folder / "w.csv", matrix, delimiter=",")
    (folder / "adj.pkl").write_bytes(pickle.dumps([list(IDS), {n: i for i, n in enumerate(IDS)}, matrix]))
    (folder / "bare.pkl").write_bytes(pickle.dumps(matrix))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("matrix", [LINE, LINE / 2500, LINE / 500, sparse_chain(), np.where(LINE > 1000, np.inf, LINE)])
def test_what_looks_like_distances_is_asked_back(matrix: np.ndarray, tmp_path: Path) -> None:
    for path in written(tmp_path, matrix):
        with pytest.raises(UserError) as caught:
            read_graph(GraphConfig(graph=str(path)), ids=IDS)
        message = str(caught.value)
        assert path.name in message
        assert "\n" not in message
        assert "distances, or weights" in message
        assert "--graph-format distance_matrix or --graph-format matrix" in message
        distances = read_graph(GraphConfig(graph=str(path), graph_format="distance_matrix"), ids=IDS)
        assert distances.adjacency[0, 1] >= distances.adjacency[0, 2]
        if np.isfinite(matrix).all():
            weights = read_graph(GraphConfig(graph=str(path), graph_format="matrix"), ids=IDS)
            np.testing.assert_allclose(weights.adjacency.toarray(), matrix)


@pytest.mark.parametrize(
    "matrix",
    [
        np.roll(np.eye(6), 1, axis=1),
        700 * np.roll(np.eye(6), 1, axis=1),
        np.exp(-np.square(LINE / 1000)),
        np.exp(-np.square(LINE / 1000)) - np.eye(6),
        LINE + np.eye(6),
        np.zeros((6, 6)),
        np.random.default_rng(0).random((6, 6)) * (1 - np.eye(6)),
    ],
)
def test_weights_are_not_asked_back(matrix: np.ndarray) -> None:
    require_no_distances(matrix)
    require_no_distances(scipy.sparse.csr_array(matrix))


def test_a_complete_matrix_is_the_list_of_its_pairs() -> None:
    places_N2 = np.random.default_rng(1).random((40, 2)) * 1000
    matrix = np.hypot(*(places_N2[:, None] - places_N2[None]).transpose(2, 0, 1))
    names = tuple(map(str, range(40)))
    rows, columns = (part.ravel() for part in np.indices(matrix.shape))
    listed = from_distances([names[i] for i in rows], [names[j] for j in columns], matrix.ravel(), ids=names)
    made = from_distance_matrix(matrix, names)
    np.testing.assert_allclose(made.adjacency.toarray(), listed.adjacency.toarray(), rtol=1e-12)
    assert made.account is not None
    assert made.account.kind == "a matrix of distances between all pairs within a reach"
    assert made.account.sigma == pytest.approx(matrix.std())
    assert "1600 pairs given" in account_lines(made)[0]


def test_a_matrix_of_neighbours_keeps_its_links() -> None:
    made = from_distance_matrix(sparse_chain(), IDS)
    assert made.num_edges == 5 + 6
    assert look_lines(made) == ["look: 25 zeros off the diagonal are read as no path, not as a distance of 0"]
    unreachable = np.where(sparse_chain() == 0, np.inf, sparse_chain())
    np.fill_diagonal(unreachable, 0)
    told = from_distance_matrix(unreachable, IDS)
    assert told.digest() == made.digest()
    assert look_lines(told) == []
    unreachable[2, 0] = 0
    assert from_distance_matrix(unreachable, IDS).adjacency[2, 0] == 1
    with pytest.raises(UserError, match=r"5 of the 5 listed links fall below the threshold .*--allow-lost-links"):
        from_distance_matrix(sparse_chain(), IDS, sigma=100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 1, np.nan), "a distance must be a number, got nan; write inf"),
        ((0, 1, -1.0), "a distance must not be negative, got -1; write inf"),
        ((2, 2, 0.5), r"0 on its diagonal, got 0.5 for sensor 'c'; are they weights \(--graph-format matrix\)"),
    ],
)
def test_no_distances(change: tuple[int, int, float], message: str) -> None:
    matrix = LINE.copy()
    matrix[change[:2]] = change[2]
    for form in (matrix, scipy.sparse.csr_array(matrix)):
        with pytest.raises(UserError, match=message):
            from_distance_matrix(form, IDS)


def test_distances_beside_a_series_are_asked_back(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"data": np.ones((30, 6)), "ids": np.array(IDS), "adj": LINE}
    np.savez(tmp_path / "s.npz", **arrays)
    data = DataConfig(data=str(tmp_path / "s.npz"), start="2024-01-01", freq="1h")
    with pytest.raises(UserError, match="distances, or weights"):
        read_source(data, GraphConfig())
    graph = read_graph(GraphConfig(graph=str(tmp_path / "s.npz"), graph_format="distance_matrix"), ids=IDS)
    assert graph.ids == IDS
