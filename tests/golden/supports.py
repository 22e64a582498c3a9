"""The reference's diffusion matrices, in dense float64 from the written formulas, independent of ``dcrnn_fast.graph``.

Shape legend: N nodes. Row = from, column = to in an adjacency; supports are applied as ``support @ x``.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def build_reference_supports(adjacency_NN: NDArray[np.generic], kind: str, edge_order: str = "correct") -> list[Matrix]:
    """The supports of Li et al. 2018 as released.

    Args:
        adjacency_NN: weighted, directed, any float dtype.
        kind: "dual_random_walk", "random_walk" or "laplacian".
        edge_order: "correct", or "pytorch_port" for the supports that the port really builds: in each column the
            non-zero values stand in reversed row order. (A symmetric matrix, the Laplacian, comes out right there.)
    Returns:
        float64 (N, N) matrices in the order in which they are applied.
    Raises:
        ValueError: an unknown kind or edge order.
    """
    exact_NN = np.asarray(adjacency_NN, dtype=np.float64)
    if kind == "laplacian":
        return [_scaled_laplacian(exact_NN)]
    if kind == "random_walk":
        supports = [_random_walk(exact_NN).T]
    elif kind == "dual_random_walk":
        supports = [_random_walk(exact_NN).T, _random_walk(exact_NN.T).T]
    else:
        raise ValueError(f"kind must be dual_random_walk, random_walk or laplacian, got {kind!r}")
    if edge_order == "correct":
        return supports
    if edge_order == "pytorch_port":
        return [_values_reversed_in_each_column(support) for support in supports]
    raise ValueError(f"edge_order must be correct or pytorch_port, got {edge_order!r}")


def _random_walk(adjacency_NN: Matrix) -> Matrix:
    out_degree_N = adjacency_NN.sum(axis=1)
    inverse_N = np.divide(1.0, out_degree_N, out=np.zeros_like(out_degree_N), where=out_degree_N != 0)
    return inverse_N[:, None] * adjacency_NN


def _scaled_laplacian(adjacency_NN: Matrix) -> Matrix:
    symmetric_NN = np.maximum(adjacency_NN, adjacency_NN.T)
    degree_N = symmetric_NN.sum(axis=1)
    scale_N = np.divide(1.0, np.sqrt(degree_N), out=np.zeros_like(degree_N), where=degree_N != 0)
    identity_NN = np.eye(len(symmetric_NN))
    laplacian_NN = identity_NN - scale_N[:, None] * symmetric_NN * scale_N[None, :]
    return 2.0 / np.linalg.eigvalsh(laplacian_NN).max() * laplacian_NN - identity_NN


def _values_reversed_in_each_column(support_NN: Matrix) -> Matrix:
    misplaced_NN = np.zeros_like(support_NN)
    for column in range(support_NN.shape[1]):
        rows = np.flatnonzero(support_NN[:, column])
        misplaced_NN[rows, column] = support_NN[rows[::-1], column]
    return misplaced_NN
