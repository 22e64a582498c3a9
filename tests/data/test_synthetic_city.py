"""The built-in city: the same bytes for the same seed, a directed graph of the wanted size, jams that move upstream."""

import hashlib

import numpy as np
import pytest

from dcrnn_fast.data.city import STEPS_PER_DAY, synthetic_city
from dcrnn_fast.data.city_roads import build_roads


def test_the_same_seed_gives_the_same_bytes() -> None:
    def digest(seed: int) -> str:
        series, graph = synthetic_city(nodes=30, days=2, seed=seed)
        return hashlib.sha256(series.values_TNC.tobytes()).hexdigest() + graph.digest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_more_days_begin_with_the_same_days() -> None:
    short, _ = synthetic_city(nodes=20, days=2, seed=0)
    long, _ = synthetic_city(nodes=20, days=3, seed=0)
    assert np.array_equal(long.values_TNC[: 2 * STEPS_PER_DAY], short.values_TNC)


@pytest.mark.parametrize("nodes", [2, 3, 7, 50, 207])
def test_any_size(nodes: int) -> None:
    series, graph = synthetic_city(nodes=nodes, days=1, seed=0)
    assert series.values_TNC.shape == (STEPS_PER_DAY, nodes, 1)
    assert graph.ids == series.ids
    assert (graph.adjacency.diagonal() == 1).all()
    assert graph.adjacency.data.min() >= 0.1 - 1e-12
    seen = series.values_TNC[series.observed_TNC]
    assert seen.min() >= 3
    assert seen.max() <= 80
    assert (seen * 8 == np.round(seen * 8)).all()


@pytest.mark.parametrize("nodes", [20, 50, 207])
def test_links_are_as_many_as_in_the_sensor_network_of_los_angeles(nodes: int) -> None:
    """METR-LA has 9.86 links a sensor; fewer than 20 sensors have not so many neighbours to choose from."""
    assert synthetic_city(nodes=nodes, days=1, seed=0)[1].num_edges == round(9.86 * nodes)


@pytest.mark.parametrize("nodes", [4, 7, 50, 207])
def test_links_are_directed(nodes: int) -> None:
    """Up to three sensors are on one road and back."""
    graph = synthetic_city(nodes=nodes, days=1, seed=0)[1]
    assert (graph.adjacency != graph.adjacency.T).nnz > 0


def test_a_network_of_the_size_of_pems() -> None:
    series, graph = synthetic_city(nodes=11160, days=1, seed=0)
    assert graph.num_edges == pytest.approx(110_000, rel=0.02)
    assert series.values_TNC.shape == (288, 11160, 1)


def test_rhythm_and_gaps() -> None:
    series, _ = synthetic_city(nodes=50, days=14, seed=0)
    assert 0.01 < 1 - series.observed_TNC.mean() < 0.06
    speed = np.where(series.observed_TNC, series.values_TNC, np.nan)[..., 0].reshape(14, 24, 12, 50)
    by_hour = np.nanmean(speed, axis=(2, 3))
    workday, weekend = by_hour[[0, 1, 2, 3, 4, 7, 8, 9, 10, 11]].mean(0), by_hour[[5, 6, 12, 13]].mean(0)
    assert workday[17] < workday[3] - 5
    assert workday[8] < workday[3] - 5
    assert weekend[8] > workday[8] + 3


def test_congestion_travels_upstream() -> None:
    """A sensor follows the one ahead of it on the road, and not the one behind it."""
    series, _ = synthetic_city(nodes=60, days=14, seed=0)
    roads = build_roads(60, np.random.default_rng([0, 60]))
    speed_TN = np.where(series.observed_TNC[..., 0], series.values_TNC[..., 0], np.nan)
    change_TN = speed_TN[6:] - speed_TN[:-6]
    ahead, behind = [], []
    for upstream in range(59):
        downstream = upstream + 1
        if roads.length_NN[upstream, downstream] == 0 or downstream in roads.line_starts:
            continue
        ahead.append(_correlation(change_TN[1:, upstream], change_TN[:-1, downstream]))
        behind.append(_correlation(change_TN[1:, downstream], change_TN[:-1, upstream]))
    assert np.mean(ahead) > np.mean(behind) + 0.1
    assert np.mean(ahead) > 0.4


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    return float(np.corrcoef(a[both], b[both])[0, 1])
