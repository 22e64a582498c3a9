"""Graphs of sensors near each other, and tables of positions as people write them."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import from_positions, haversine_km, read_positions


def random_positions(num_nodes: int, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    return np.array([34.0, -118.0]) + np.random.default_rng(seed).normal(0, spread, (num_nodes, 2))


def names(num_nodes: int) -> tuple[str, ...]:
    return tuple(f"s{i}" for i in range(num_nodes))


def all_distances(positions_N2: np.ndarray) -> np.ndarray:
    return haversine_km(positions_N2[:, None, :], positions_N2[None, :, :])


def test_haversine_against_known_distances() -> None:
    quarter = np.pi / 2 * 6371.0088
    start = np.array([[0.0, 0.0], [0.0, 0.0], [90.0, 17.0], [0.0, 179.5], [51.5007, -0.1246], [10.0, 20.0]])
    end = np.array([[0.0, 90.0], [90.0, 0.0], [90.0, -99.0], [0.0, -179.5], [40.6892, -74.0445], [-10.0, 200.0]])
    wanted = np.array([quarter, quarter, 0.0, quarter / 90, 5574.8, 2 * quarter])
    np.testing.assert_allclose(haversine_km(start, end), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("nearest", [1, 4, 29])
def test_nearest_against_brute_force(nearest: int) -> None:
    positions_N2 = random_positions(30)
    graph = from_positions(positions_N2, names(30), nearest=nearest, threshold=0)
    distances = all_distances(positions_N2)
    sigma = distances[~np.eye(30, dtype=bool)].std()
    wanted = np.zeros((30, 30))
    for node in range(30):
        order = [other for other in np.argsort(distances[node], kind="stable") if other != node][:nearest]
        wanted[node, order] = np.exp(-((distances[node, order] / sigma) ** 2))
    np.testing.assert_allclose(graph.adjacency.toarray(), wanted, rtol=1e-12)
    np.testing.assert_array_equal(graph.positions_N2, positions_N2)
    assert np.all(np.diff(graph.adjacency.indptr) == nearest)


@pytest.mark.parametrize("radius_km", [1.0, 20.0, 50.0, 30_000.0])
def test_radius_against_brute_force(radius_km: float) -> None:
    positions_N2 = random_positions(30)
    distances = all_distances(positions_N2)
    graph = from_positions(positions_N2, names(30), radius_km=radius_km, sigma=25, threshold=0.1)
    weights = np.exp(-((distances / 25) ** 2))
    wanted = np.where((distances <= radius_km) & (weights >= 0.1) & ~np.eye(30, dtype=bool), weights, 0)
    np.testing.assert_allclose(graph.adjacency.toarray(), wanted, rtol=1e-12)
    np.testing.assert_allclose(graph.adjacency.toarray(), graph.adjacency.toarray().T)


def test_both_limits() -> None:
    positions_N2 = random_positions(40)
    both = from_positions(positions_N2, names(40), nearest=5, radius_km=15, sigma=100).adjacency.toarray()
    by_count = from_positions(positions_N2, names(40), nearest=5, sigma=100).adjacency.toarray()
    by_radius = from_positions(positions_N2, names(40), radius_km=15, sigma=100).adjacency.toarray()
    np.testing.assert_array_equal(both, np.where((by_count > 0) & (by_radius > 0), by_count, 0))
    assert 0 < (both > 0).sum() < (by_count > 0).sum()


def test_neighbours_across_the_date_line_and_the_pole() -> None:
    positions_N2 = np.array([[0.0, 179.9], [0.0, -179.9], [0.0, 170.0], [89.9, 0.0], [89.9, 180.0]])
    graph = from_positions(positions_N2, names(5), nearest=1, sigma=100, allow_lost_links=True)
    assert graph.adjacency.nonzero()[1].tolist()[:2] == [1, 0]
    assert graph.adjacency[3, 4] > 0.9
    assert graph.adjacency[4, 3] > 0.9


def test_links_to_the_nearest_are_kept_unless_the_flags_say_otherwise() -> None:
    # The far sensor's link to its nearest is longer than the deviation of all distances allows.
    far_N2 = np.array([[0.0, i / 100] for i in range(20)] + [[0.0, 1.0]])
    graph = from_positions(far_N2, names(21), nearest=1)
    assert graph.num_edges == 21
    assert graph.account is not None
    assert graph.account.below == 0
    assert graph.adjacency[20, 19] == pytest.approx(0.1)
    with pytest.raises(UserError, match=r"21 of the 21 listed links .* --sigma [0-9.]+ keeps all; --allow-lost-links"):
        from_positions(far_N2, names(21), nearest=1, sigma=0.5)
    # A radius says which pairs to look at; the threshold may take them as long as sensors keep a link.
    assert from_positions(far_N2, names(21), radius_km=200, sigma=60.0).account.below > 0  # type: ignore[union-attr]
    with pytest.raises(UserError, match="21 of 21 sensors lose their last link"):
        from_positions(far_N2, names(21), radius_km=200, sigma=0.5)


def test_ties_go_to_the_earlier_sensors() -> None:
    # A cross around sensor 2, each arm equally long; many sensors on one spot.
    cross = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    graph = from_positions(cross, names(5), nearest=2, sigma=200)
    assert graph.adjacency[[2]].indices.tolist() == [0, 1]
    heap = np.concatenate([np.zeros((9, 2)), [[1.0, 1.0]]])
    graph = from_positions(heap, names(10), nearest=2)
    assert graph.adjacency[[0]].indices.tolist() == [1, 2]
    assert graph.adjacency[[8]].indices.tolist() == [0, 1]
    assert graph.adjacency[0, 1] == 1.0


def test_default_sigma_leaves_a_regular_network_connected() -> None:
    # The nearest distances are all alike: their own deviation would leave no edge.
    line = np.stack([np.linspace(34, 35, 50), np.full(50, -118.0)], axis=1)
    assert from_positions(line, names(50), nearest=2).num_edges == 100


def test_sigma_of_many_sensors_is_taken_from_some() -> None:
    positions_N2 = random_positions(5000)
    graph = from_positions(positions_N2, names(5000), nearest=1, threshold=0)
    some = all_distances(positions_N2[::2][:500])
    sigma = some[~np.eye(500, dtype=bool)].std()
    edge = graph.adjacency.tocoo()
    distances = haversine_km(positions_N2[edge.row], positions_N2[edge.col])
    chosen = np.argmax(distances)
    assert np.log(edge.data[chosen]) == pytest.approx(-((distances[chosen] / sigma) ** 2), rel=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs --nearest .* or --radius-km"),
        ({"nearest": 3}, "below the number of sensors 3, got 3"),
        ({"nearest": 0}, "at least 1 .* got 0"),
        ({"radius_km": -1.0}, r"radius_km must be positive, got -1\.0"),
        ({"nearest": 1, "sigma": 0.0}, "sigma must be positive"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_positions(random_positions(3), names(3), **options)


def test_positions_without_a_spread() -> None:
    with pytest.raises(UserError, match=r"all pairs of sensors are 0 km apart: .* --sigma"):
        from_positions(np.zeros((3, 2)), names(3), nearest=1)
    assert from_positions(np.zeros((3, 2)), names(3), nearest=1, sigma=1).num_edges == 3
    with pytest.raises(UserError, match="below the number of sensors 1"):
        from_positions(np.zeros((1, 2)), names(1), nearest=1)
    assert from_positions(np.zeros((1, 2)), names(1), radius_km=1, sigma=1).num_edges == 0


IDS = ("00123", "773869.0", "717 447")
POSITIONS = np.array([[34.15497, -118.31829], [34.11621, -118.23799], [-34.5, 151.0]])
ROWS = [f"{node},{latitude},{longitude}" for node, (latitude, longitude) in zip(IDS, POSITIONS, strict=True)]
SWAPPED = ["{2},{1},{0},x".format(*row.split(",")) for row in ROWS]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(ROWS, id="no_header"),
        pytest.param(["sensor_id,latitude,longitude", *ROWS], id="header"),
        pytest.param(["index,sensor_id,latitude,longitude", *(f"{i},{r}" for i, r in enumerate(ROWS))], id="published"),
        pytest.param([",Station ID,Lat,Lng", *(f"{i},{r}" for i, r in enumerate(ROWS))], id="pandas_index"),
        pytest.param(["LON,LAT,Id,Type", *SWAPPED], id="another_order"),
        pytest.param(["index,site_no,lat,lon", *(f"{i},{r}" for i, r in enumerate(ROWS))], id="gauges"),
        pytest.param([",lat,lon", *ROWS], id="ids_as_pandas_index"),
        pytest.param(["sensor_id,latitude,longitude", *(r.replace(",", " , ") for r in ROWS)], id="spaces"),
    ],
)
def test_tables(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "p.csv"
    for delimiter, ends, encoding in product(",;\t", ["\n", "\r\n"], ["utf-8", "utf-8-sig", "utf-16"]):
        path.write_bytes((ends.join(lines) + ends).replace(",", delimiter).encode(encoding))
        ids, positions_N2 = read_positions(path)
        assert ids == IDS
        np.testing.assert_array_equal(positions_N2, POSITIONS)
        ids, positions_N2 = read_positions(path, ids=IDS[:0:-1])
        assert ids == IDS[:0:-1]
        np.testing.assert_array_equal(positions_N2, POSITIONS[:0:-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("id,latitude,longitude\n", "a header and no lines"),
        ("id,north,east\na,1,2\n", "no columns sensor_id, latitude, longitude in the header 'id, north, east'"),
        ("latitude,longitude\n1,2\n", "no columns sensor_id"),
        ("a,1,2\nb,1\n", "line 2 has 2 columns and line 1 has 3"),
        ("a,1,2,5\n", "without a header have the columns id, latitude, longitude, got 4"),
        ("a,1,2\nb,x,2\n", "line 2, column 2: a latitude must be a number .* got 'x'"),
        ("id,lat,lon\na,1,\n", "line 2, column 3: a longitude must be a number .* got ''"),
        ("a,1,2\na,1,3\n", "more than once: 'a'"),
        ("a,1,2\n,1,3\n", "non-empty text"),
        ("a,-118.3,34.1\n", "'a' is not on the globe.*swapped"),
        ("a,inf,2\n", "'a' is not on the globe"),
        (b"\xff\x00\xfe", "not a text file"),
    ],
)
def test_table_mistakes(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=message) as caught:
        read_positions(path)
    assert "\n" not in str(caught.value)
    assert "p.csv" in str(caught.value)


def test_sensors_without_a_position(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("\n".join(ROWS))
    with pytest.raises(UserError, match="1 of the 2 sensors have no position: '123'; the file has '00123'"):
        read_positions(tmp_path / "p.csv", ids=("123", "00123"))
    with pytest.raises(UserError, match="cannot read"):
        read_positions(tmp_path / "none.csv")
