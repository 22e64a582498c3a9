"""A graph like that of all of California's freeway detectors: 11,160 sensors in pairs along lines, linked by nearness.

The real positions are not public; spacing and radius are such that a row has as many entries as theirs has (7.7).

Shape legend: N nodes.
"""

from typing import Any

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

SPACING_KM, RADIUS_KM, SIDE_KM = 0.55, 1.6, 900.0


def freeway_adjacency(nodes: int, seed: int = 0) -> Any:
    """scipy csr (N, N) float64, symmetric, with self loops: exp(-(distance / 1 km)^2) within 1.6 km; shuffled."""
    generator = np.random.default_rng(seed)
    lines: list[np.ndarray] = []
    placed = 0
    while placed < nodes:
        length = int(generator.integers(30, 120))
        direction = generator.uniform(0, 2 * np.pi) + generator.normal(0, 0.05, length).cumsum()
        along_km = generator.lognormal(np.log(SPACING_KM), 0.5, length).cumsum()
        one_way = np.stack([np.cos(direction), np.sin(direction)], axis=1) * along_km[:, None]
        one_way += generator.uniform(0, SIDE_KM, 2)
        both_ways = np.concatenate([one_way, one_way + generator.normal(0, 0.02, one_way.shape)])[: nodes - placed]
        lines.append(both_ways)
        placed += len(both_ways)
    position_N2 = generator.permutation(np.concatenate(lines))
    pairs = cKDTree(position_N2).query_pairs(RADIUS_KM, output_type="ndarray")
    distance = np.linalg.norm(position_N2[pairs[:, 0]] - position_N2[pairs[:, 1]], axis=1)
    half = scipy.sparse.coo_array((np.exp(-(distance**2)), (pairs[:, 0], pairs[:, 1])), shape=(nodes, nodes))
    return scipy.sparse.csr_array(half + half.T + scipy.sparse.eye_array(nodes))
