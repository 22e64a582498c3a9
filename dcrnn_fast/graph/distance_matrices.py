"""Matrices of distances: distinguished from weights, and turned into weights.

Shape legend: N nodes, E pairs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.csr import canonical_csr
from dcrnn_fast.graph.kernel import Kernel, weigh
from dcrnn_fast.graph.sensor_graph import SensorGraph, require_square

_LARGE_WEIGHT = 5.0
_TRIANGLES_OF = 200
"""sensors among which the triangle inequality is looked at"""


def require_no_distances(matrix: Any) -> None:
    """Refuses a matrix that could as well hold distances, naming both readings.

    It looks so if the diagonal is 0, and off it a value is infinite, or values differ and most are above 1 or one is
    above 5, or all are positive, symmetric and obey the triangle inequality over more than a factor of 2.

    Raises:
        UserError: it does, or it is not square.
    """
    entries = canonical_csr(require_square(matrix))
    if (entries.diagonal() != 0).any() or entries.nnz == 0 or np.isnan(entries.data).any():
        return
    finite = entries.data[np.isfinite(entries.data)]
    infinite = finite.size < entries.nnz
    if not infinite:
        smallest, largest = float(finite.min()), float(finite.max())
        if smallest < 0 or largest <= smallest * (1 + 1e-9):
            return
        large = float(np.median(finite)) > 1 or largest > _LARGE_WEIGHT
        if not large and not (largest > 2 * smallest and _is_metric(entries)):
            return
    seen = f"{finite.min():g} to {finite.max():g}" if finite.size else "inf"
    if finite.size and infinite:
        seen += " and inf"
    raise UserError(
        f"its diagonal is 0 and off it stand {seen}: distances, or weights (of which the largest links most)? say "
        "--graph-format distance_matrix or --graph-format matrix"
    )


def from_distance_matrix(
    matrix: Any,
    ids: Sequence[str] | None = None,
    positions_N2: np.ndarray | None = None,
    *,
    sigma: float | None = None,
    threshold: float = 0.1,
    allow_lost_links: bool = False,
) -> SensorGraph:
    """The graph of an (N, N) matrix of directed distances, by the kernel of ``from_distances``.

    Infinite is no path. In a matrix without an infinite value 0 off the diagonal is no path too; with one it is a
    distance. A sensor is at distance 0 from itself, which gives it a self loop of weight 1, as published.

    Raises:
        UserError: no square matrix, a NaN or negative distance, a sensor that is not at 0 from itself, errors of
            ``kernel.weigh``.
    """
    entries = canonical_csr(require_square(matrix))
    if np.isnan(entries.data).any():
        raise UserError("a distance must be a number, got nan; write inf where there is no path")
    num_nodes = entries.shape[0]
    ids = tuple(map(str, range(num_nodes))) if ids is None else tuple(ids)
    if entries.data.min(initial=0.0) < 0:
        raise UserError(
            f"a distance must not be negative, got {entries.data.min():g}; write inf where there is no path"
        )
    if (entries.diagonal() != 0).any():
        node = int(np.flatnonzero(entries.diagonal())[0])
        raise UserError(
            f"a matrix of distances has 0 on its diagonal, got {entries.diagonal()[node]:g} for sensor "
            f"{ids[node] if node < len(ids) else node!r}; are they weights (--graph-format matrix)?"
        )
    zeros = num_nodes * (num_nodes - 1) - entries.nnz
    doubts: tuple[str, ...] = ()
    if np.isinf(entries.data).any():
        rows_E, columns_E = (part.ravel() for part in np.indices(entries.shape))
        distances_E = entries.toarray().ravel()
        if zeros:
            doubts = (f"{zeros} zeros off the diagonal are read as distances of 0, since inf marks where no path is",)
    else:
        listed = entries.tocoo()
        every_N = np.arange(num_nodes)
        rows_E = np.concatenate([listed.row, every_N]).astype(np.int64)
        columns_E = np.concatenate([listed.col, every_N]).astype(np.int64)
        distances_E = np.concatenate([listed.data, np.zeros(num_nodes)])
        if zeros:
            doubts = (f"{zeros} zeros off the diagonal are read as no path, not as a distance of 0",)
    kernel = Kernel(sigma=sigma, threshold=threshold, allow_lost_links=allow_lost_links)
    weighed = weigh(rows_E, columns_E, distances_E, num_nodes, kernel)
    account = weighed.account(
        file="a matrix in memory",
        kind="a matrix of distances between "
        + ("neighbours" if weighed.kind == "neighbours" else "all pairs within a reach"),
        given=len(distances_E),
        doubts=doubts,
    )
    weights: Any = scipy.sparse.coo_array((weighed.weights_E, (rows_E, columns_E)), shape=entries.shape)
    return SensorGraph(weights, ids, positions_N2, account)


def _is_metric(entries: Any) -> bool:
    """Whether all values off the diagonal are positive and symmetric, and no detour is shorter."""
    num_nodes = entries.shape[0]
    if num_nodes < 5 or entries.nnz != num_nodes * (num_nodes - 1):
        return False
    chosen = np.arange(0, num_nodes, -(-num_nodes // _TRIANGLES_OF))
    distances_NN = entries[chosen][:, chosen].toarray()
    slack = 1e-6 * float(distances_NN.max())
    if np.abs(distances_NN - distances_NN.T).max() > slack:
        return False
    return all(bool((distances_NN <= by_N[:, None] + by_N[None, :] + slack).all()) for by_N in distances_NN)
