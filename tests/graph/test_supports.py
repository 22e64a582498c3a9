"""Supports against the reference's numbers and against dense float64 written from the formulas.

Shape legend: N nodes.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import build_supports
from tests.graph.dense_formulas import dense_laplacian, dense_random_walk, random_adjacency

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.npz"))


def test_all_golden_files_are_here() -> None:
    assert len(GOLDEN) == 9


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_supports(path: Path) -> None:
    golden = np.load(path)
    config = json.loads(str(golden["config"]))
    supports = build_supports(golden["adjacency"], kind=config["filter_type"], edge_order=config["edge_order"])
    assert len(supports) == sum(key.startswith("support/") for key in golden)
    for index, support in enumerate(supports):
        wanted = golden[f"support/{index}"]
        assert np.abs(support.toarray() - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_golden_port_differs_from_correct() -> None:
    golden = np.load(next(path for path in GOLDEN if path.stem.startswith("edge_order")))
    correct = build_supports(golden["adjacency"], kind="dual_random_walk")
    assert np.abs(correct[0].toarray() - golden["support/0"]).max() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_random_walks_match_the_formula(seed: int) -> None:
    adjacency = random_adjacency(seed=seed)
    out_walk, in_walk = dense_random_walk(adjacency), dense_random_walk(adjacency.T)
    for kind, orientation, wanted in (
        ("dual_random_walk", "released", [out_walk.T, in_walk.T]),
        ("random_walk", "released", [out_walk.T]),
        ("dual_random_walk", "paper", [out_walk, in_walk]),
        ("random_walk", "paper", [out_walk]),
    ):
        got = build_supports(scipy.sparse.coo_array(adjacency), kind=kind, orientation=orientation)  # type: ignore[arg-type]
        assert len(got) == len(wanted)
        for support, dense in zip(got, wanted, strict=True):
            np.testing.assert_allclose(support.toarray(), dense, rtol=0, atol=1e-15)


@pytest.mark.parametrize("orientation", ["released", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_laplacian_matches_the_formula(seed: int, orientation: str) -> None:
    adjacency = random_adjacency(seed=seed)
    (support,) = build_supports(adjacency, kind="laplacian", orientation=orientation)  # type: ignore[arg-type]
    np.testing.assert_allclose(support.toarray(), dense_laplacian(adjacency), rtol=0, atol=1e-13)
    assert np.linalg.eigvalsh(support.toarray()).max() == pytest.approx(1.0)


@pytest.mark.parametrize("num_nodes", [1, 2, 3])
def test_laplacian_of_very_small_graphs(num_nodes: int) -> None:
    adjacency = np.eye(num_nodes, k=1) + np.eye(num_nodes, k=-1)
    (support,) = build_supports(adjacency, kind="laplacian")
    np.testing.assert_allclose(support.toarray(), dense_laplacian(adjacency), rtol=0, atol=1e-14)


def test_laplacian_of_self_loops_alone_is_finite() -> None:
    (support,) = build_supports(np.diag([1.0, 2.0, 0.3]), kind="laplacian")
    np.testing.assert_array_equal(support.toarray(), -np.eye(3))


@pytest.mark.parametrize("num_nodes", [1000, 1001, 1500], ids=["dense", "lanczos", "lanczos_even"])
def test_largest_eigenvalue_of_a_ring_on_both_paths(num_nodes: int) -> None:
    # L of a ring has the eigenvalues 1 - cos(2 pi k / N), crowded at the top: the hard case for Lanczos.
    ring = scipy.sparse.diags_array(np.ones(num_nodes - 1), offsets=1).tolil()
    ring[num_nodes - 1, 0] = 1
    largest = 2.0 if num_nodes % 2 == 0 else 1 + np.cos(np.pi / num_nodes)
    (first,) = build_supports(ring, kind="laplacian")
    (second,) = build_supports(ring, kind="laplacian")
    assert first.diagonal()[0] + 1 == pytest.approx(2 / largest, rel=1e-12)
    np.testing.assert_array_equal(first.data, second.data)


@pytest.mark.parametrize("kind", ["random_walk", "dual_random_walk"])
def test_released_walks_are_column_stochastic(kind: str) -> None:
    for support in build_supports(random_adjacency(), kind=kind):  # type: ignore[arg-type]
        sums_N = support.sum(axis=0)
        assert np.all(np.isclose(sums_N, 1) | (sums_N == 0))
        assert support.has_sorted_indices
        assert np.all(support.data != 0)


def test_port_reverses_each_column_and_leaves_the_laplacian() -> None:
    adjacency = random_adjacency()
    correct = build_supports(adjacency, kind="dual_random_walk")
    port = build_supports(adjacency, kind="dual_random_walk", edge_order="pytorch_port")
    for right, wrong in zip(correct, port, strict=True):
        for column in range(len(adjacency)):
            rows = np.flatnonzero(right.toarray()[:, column])
            np.testing.assert_array_equal(wrong.toarray()[rows, column], right.toarray()[rows, column][::-1])
        assert wrong.nnz == right.nnz
    plain, same = (
        build_supports(adjacency, kind="laplacian", edge_order=order)[0] for order in ("correct", "pytorch_port")
    )
    np.testing.assert_array_equal(plain.toarray(), same.toarray())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "gcn"}, "supports must be one of dual_random_walk"),
        ({"kind": "random_walk", "orientation": "sideways"}, "orientation must be one of released, paper"),
        ({"kind": "random_walk", "edge_order": "random"}, "edge_order must be one of correct, pytorch_port"),
        ({"kind": "random_walk", "edge_order": "pytorch_port", "orientation": "paper"}, "needs orientation released"),
    ],
)
def test_unknown_choices(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_supports(np.eye(3), **wrong)
