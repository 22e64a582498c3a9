"""The published graphs: read from their pickles, and made again from distances."""

from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.graph import (
    SensorGraph,
    build_supports,
    diffusion_operators,
    graph_operators,
    match_graph,
    read_graph,
    read_pickle,
)


def assert_rebuilt(made: SensorGraph, published: SensorGraph) -> None:
    assert made.ids == published.ids
    assert made.num_edges == published.num_edges
    assert abs(made.adjacency - published.adjacency).max() <= 1e-6


@pytest.mark.parametrize(
    ("pickle", "distances", "num_nodes", "nnz_of_terms", "widest"),
    [
        ("metr_la_graph/adj_mx.pkl", "metr_la_graph/distances_la_2012.csv", 207, [1722, 4822, 4203, 7889], 19),
        ("pems_bay_graph/adj_mx_bay.pkl", "pems_bay_graph/distances_bay_2017.csv", 325, [2694, 5170, 6503, 11126], 23),
    ],
    ids=["metr_la", "pems_bay"],
)
def test_published_graphs(
    real_data: Path, pickle: str, distances: str, num_nodes: int, nnz_of_terms: list[int], widest: int
) -> None:
    published = read_pickle(real_data / pickle)
    assert (published.num_nodes, published.num_edges) == (num_nodes, nnz_of_terms[0])
    assert np.diff(published.adjacency.indptr).max() == widest
    terms = graph_operators(published, GraphConfig())
    assert [term.nnz for term in terms] == [num_nodes, *nnz_of_terms]
    config = GraphConfig(graph=str(real_data / distances), graph_format="distances")
    assert_rebuilt(read_graph(config, ids=published.ids), published)
    backwards = published.ids[::-1]
    assert_rebuilt(read_graph(config, ids=backwards), published.take(backwards))
    assert_rebuilt(match_graph(read_graph(config), published.ids, "id"), published)


def test_the_hague_from_its_costs(real_data: Path) -> None:
    published = read_pickle(real_data / "the_hague" / "adj_mx.pkl")
    costs = GraphConfig(graph=str(real_data / "the_hague" / "denhaag_cost.csv"))
    assert_rebuilt(read_graph(costs), published)
    assert (published.num_nodes, published.num_edges) == (123, 2224)
    # Its series has other labels: by position they still come together.
    labels = tuple(f"column {i}" for i in range(123))
    assert match_graph(read_graph(costs), labels, "position").ids == labels


def test_the_port_puts_most_values_on_the_wrong_edge(real_data: Path) -> None:
    adjacency = read_pickle(real_data / "metr_la_graph" / "adj_mx.pkl").adjacency
    correct = build_supports(adjacency, kind="random_walk")[0]
    port = build_supports(adjacency, kind="random_walk", edge_order="pytorch_port")[0]
    assert correct.nnz == 1722
    assert np.array_equal(correct.indices, port.indices)
    assert int((np.abs(correct.data - port.data) > 1e-6).sum()) == 1618


def test_laplacian_and_its_operators_stay_bounded(real_data: Path) -> None:
    adjacency = read_pickle(real_data / "pems_bay_graph" / "adj_mx_bay.pkl").adjacency
    (support,) = build_supports(adjacency, kind="laplacian")
    assert np.abs(np.linalg.eigvalsh(support.toarray())).max() <= 1 + 1e-12
    for term in diffusion_operators([support], hops=4):
        assert np.abs(np.linalg.eigvalsh(term.toarray())).max() <= 1 + 1e-9


def test_los_loop_matrix(real_data: Path) -> None:
    ids = read_pickle(real_data / "metr_la_graph" / "adj_mx.pkl").ids
    graph = read_graph(GraphConfig(graph=str(real_data / "los_loop" / "los_adj.csv")), ids=ids)
    assert (graph.ids, graph.num_edges) == (ids, 2833)
    assert abs(graph.adjacency - graph.adjacency.T).max() == 0


@pytest.mark.parametrize(
    ("path", "num_nodes", "first"),
    [
        ("metr_la_graph/graph_sensor_locations.csv", 207, "773869"),
        ("pems_bay_graph/graph_sensor_locations_bay.csv", 325, "400001"),
        ("the_hague/graph_sensor_locations.csv", 123, "120022"),
    ],
)
def test_published_positions(real_data: Path, path: str, num_nodes: int, first: str) -> None:
    graph = read_graph(GraphConfig(graph=str(real_data / path), graph_format="positions", nearest=5))
    assert (graph.num_nodes, graph.num_edges, graph.ids[0]) == (num_nodes, 5 * num_nodes, first)


def test_winds_on_a_grid_around_the_globe(real_data: Path) -> None:
    graph = read_graph(GraphConfig(graph=str(real_data / "navy_winds" / "monthly_navy_winds.cdf")))
    assert graph.num_nodes == 73 * 144
    assert graph.num_edges == 2 * 144 * (73 + 3 * 72)
    assert (graph.ids[0], graph.ids[-1]) == ("-90_20", "90_377.5")
