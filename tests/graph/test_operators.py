"""The M operators against a float64 brute force that runs each recursion on a random x.

Shape legend: N nodes, C channels, K hops.
"""

from itertools import product

import numpy as np
import pytest

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, build_supports, diffusion_operators, graph_operators
from tests.graph.dense_formulas import dense_laplacian, dense_random_walk, random_adjacency


def dense_supports(adjacency: np.ndarray, kind: str, orientation: str) -> list[np.ndarray]:
    if kind == "laplacian":
        return [dense_laplacian(adjacency)]
    walks = [dense_random_walk(adjacency), dense_random_walk(adjacency.T)][: 1 if kind == "random_walk" else 2]
    return [walk.T if orientation == "released" else walk for walk in walks]


def terms_released(x_NC: np.ndarray, supports: list[np.ndarray], hops: int) -> list[np.ndarray]:
    """As the released code runs: x0 and x1 live on from one support to the next."""
    terms = [x_NC]
    x0 = x_NC
    for support in supports:
        if hops == 0:
            break
        x1 = support @ x0
        terms.append(x1)
        for _ in range(2, hops + 1):
            x2 = 2 * (support @ x1) - x0
            terms.append(x2)
            x1, x0 = x2, x1
    return terms


def terms_chebyshev(x_NC: np.ndarray, supports: list[np.ndarray], hops: int) -> list[np.ndarray]:
    terms = [x_NC]
    for support in supports:
        chain = [x_NC, support @ x_NC]
        while len(chain) <= hops:
            chain.append(2 * (support @ chain[-1]) - chain[-2])
        terms += chain[1 : hops + 1]
    return terms


def terms_powers(x_NC: np.ndarray, supports: list[np.ndarray], hops: int) -> list[np.ndarray]:
    return [x_NC] + [
        np.linalg.matrix_power(support, power) @ x_NC for support in supports for power in range(1, hops + 1)
    ]


BRUTE_FORCE = {"released": terms_released, "chebyshev": terms_chebyshev, "powers": terms_powers}


@pytest.mark.parametrize(
    ("recursion", "kind", "orientation"),
    list(
        product(BRUTE_FORCE, ["dual_random_walk", "random_walk", "laplacian"], ["released", "paper"]),
    ),
)
@pytest.mark.parametrize("hops", range(5))
def test_operators_match_the_recursion(recursion: str, kind: str, orientation: str, hops: int) -> None:
    adjacency = random_adjacency(seed=hops)
    config = GraphConfig(supports=kind, hops=hops, recursion=recursion, orientation=orientation)  # type: ignore[arg-type]
    graph = SensorGraph(adjacency, tuple(map(str, range(len(adjacency)))))
    operators = graph_operators(graph, config)
    x_NC = np.random.default_rng(1).standard_normal((len(adjacency), 3))
    wanted = BRUTE_FORCE[recursion](x_NC, dense_supports(adjacency, kind, orientation), hops)
    assert len(operators) == len(wanted) == (1 if kind != "dual_random_walk" else 2) * hops + 1
    for operator, term_NC in zip(operators, wanted, strict=True):
        np.testing.assert_allclose(operator @ x_NC, term_NC, rtol=0, atol=1e-12)
        assert operator.dtype == np.float64
        assert operator.has_sorted_indices
        assert np.all(operator.data != 0)


def test_released_carries_over_and_chebyshev_does_not() -> None:
    supports = build_supports(random_adjacency(), kind="dual_random_walk")
    released, restarted = (
        diffusion_operators(supports, hops=2, recursion=name)  # type: ignore[arg-type]
        for name in ("released", "chebyshev")
    )
    for index, same in enumerate([True, True, True, False, False]):
        assert np.allclose(released[index].toarray(), restarted[index].toarray()) is same
    one_hop = diffusion_operators(supports, hops=1)
    np.testing.assert_allclose(one_hop[2].toarray(), supports[1].toarray())


def test_self_loops_are_added_where_configured() -> None:
    graph = SensorGraph(np.array([[0, 1.0], [0, 0.5]]), ("a", "b"))
    kept = graph_operators(graph, GraphConfig(hops=1, supports="random_walk"))
    added = graph_operators(graph, GraphConfig(hops=1, supports="random_walk", self_loops="add"))
    np.testing.assert_allclose(kept[1].toarray(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(added[1].toarray(), [[0.5, 0], [0.5, 1]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weight", [1e-320, 1e308])
@pytest.mark.parametrize("supports", ["random_walk", "dual_random_walk", "laplacian"])
def test_operators_are_finite_or_the_sensor_is_named(weight: float, supports: str) -> None:
    graph = SensorGraph(np.array([[1, 1, 0], [0, weight, weight], [0, 0, 1]]), ("a", "b", "c"))
    config = GraphConfig(supports=supports)  # type: ignore[arg-type]
    if (weight, supports) == (1e-320, "laplacian"):
        assert all(np.isfinite(operator.data).all() for operator in graph_operators(graph, config))
        return
    total = "inf" if weight > 1 else "1.99998e-320"
    with pytest.raises(UserError, match=f"^the weights of sensor 'b' sum to {total}, which cannot"):
        graph_operators(graph, config)


@pytest.mark.parametrize(
    ("supports", "options", "message"),
    [
        ([np.eye(3)], {"hops": -1}, "hops must be at least 0"),
        ([np.eye(3)], {"hops": 1, "recursion": "bessel"}, "recursion must be one of"),
        ([], {"hops": 1}, "square matrices of one shape"),
        ([np.eye(3), np.eye(4)], {"hops": 1}, "square matrices of one shape"),
        ([np.ones((2, 3))], {"hops": 1}, "square matrices of one shape"),
    ],
)
def test_mistakes(supports: list, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        diffusion_operators(supports, **options)
