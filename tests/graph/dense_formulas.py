"""The supports' formulas in dense float64, to test against.

Shape legend: N nodes.
"""

import numpy as np


def random_adjacency(num_nodes: int = 17, seed: int = 0) -> np.ndarray:
    """Directed, with some self loops, one node without outgoing and one without incoming edges, one without any."""
    rng = np.random.default_rng(seed)
    adjacency = np.where(rng.random((num_nodes, num_nodes)) < 0.3, rng.random((num_nodes, num_nodes)), 0.0)
    adjacency[3, :] = 0
    adjacency[:, 5] = 0
    adjacency[7, :] = adjacency[:, 7] = 0
    return adjacency


def dense_random_walk(adjacency: np.ndarray) -> np.ndarray:
    degree_N = adjacency.sum(axis=1, keepdims=True)
    return np.divide(adjacency, degree_N, out=np.zeros_like(adjacency), where=degree_N > 0)


def dense_laplacian(adjacency: np.ndarray) -> np.ndarray:
    undirected = np.maximum(adjacency, adjacency.T)
    degree_N = undirected.sum(axis=1)
    root_N = np.array([degree**-0.5 if degree > 0 else 0.0 for degree in degree_N])
    laplacian = np.eye(len(adjacency)) - root_N[:, None] * undirected * root_N[None, :]
    return 2 / np.linalg.eigvalsh(laplacian).max() * laplacian - np.eye(len(adjacency))
