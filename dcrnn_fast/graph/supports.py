"""From an adjacency to the support matrices that a diffusion convolution applies.

Shape legend: N nodes. A support S is (N, N) float64, applied as ``S @ x`` with nodes on rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dcrnn_fast.config.data import EdgeOrder, Orientation, SupportKind
from dcrnn_fast.config.plain import require_choice
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.csr import canonical_csr

_DENSE_EIGENVALUES_UP_TO = 1000
"""nodes: LAPACK on the dense matrix is exact and takes under half a second; Lanczos needs N well above its basis"""


def build_supports(
    adjacency: Any,
    *,
    kind: SupportKind,
    orientation: Orientation = "released",
    edge_order: EdgeOrder = "correct",
    ids: Sequence[str] = (),
) -> list[Any]:
    """The supports of one graph.

    With P(A) = D⁻¹ A, D the row sums of A (1/0 becomes 0; self loops stay):

    - ``random_walk``: [P(A)ᵀ]; ``dual_random_walk``: [P(A)ᵀ, P(Aᵀ)ᵀ], both column-stochastic, as the released code
      builds them. ``orientation="paper"`` gives [P(A)] and [P(A), P(Aᵀ)], equation 2 of Li et al. 2018 as printed.
    - ``laplacian``: A ← max(A, Aᵀ); L = I − D^-½ A D^-½; S = (2 / λmax) L − I. It is symmetric, so that the orientation
      does not matter. If L is 0 (every node linked to itself only) there is no λmax to scale by, and S = −I.

    ``edge_order="pytorch_port"`` misplaces the random-walk values as the public PyTorch port does: it sorts the
    coordinates and not the values, so that in each support column the non-zeros stand in reversed row order. Weights
    trained with that port need it. Its Laplacian comes out right, being symmetric.

    Args:
        adjacency: (N, N) dense or sparse, row = from, column = to, finite and not negative.
        ids: the nodes' names, for messages.
    Returns:
        One (dual: two) float64 ``csr_array`` with sorted columns and no explicit zeros.
    Raises:
        UserError: an unknown kind, orientation or edge order, or the port's edge order with the paper's orientation
            (no such weights exist), a node whose weights' sum is too large or too small to divide by.
    """
    require_choice("supports", kind, SupportKind)
    require_choice("orientation", orientation, Orientation)
    require_choice("edge_order", edge_order, EdgeOrder)
    if edge_order == "pytorch_port" and orientation == "paper":
        raise UserError("edge_order pytorch_port needs orientation released: the port knows no other")
    forward = scipy.sparse.csr_array(adjacency, dtype=np.float64)
    if kind == "laplacian":
        return [canonical_csr(_scaled_laplacian(forward, ids))]
    walks = [_random_walk(forward, ids)]
    if kind == "dual_random_walk":
        walks.append(_random_walk(forward.T.tocsr(), ids))
    if orientation == "paper":
        return walks
    if edge_order == "pytorch_port":
        walks = [_with_reversed_rows(walk) for walk in walks]
    return [canonical_csr(walk.T) for walk in walks]


def _inverse_or_zero(adjacency: Any, power: float, ids: Sequence[str]) -> np.ndarray:
    """(row sum)^power for each node, 0 where the sum is."""
    with np.errstate(over="ignore"):
        degree_N = np.asarray(adjacency.sum(axis=1)).ravel()
        inverse_N = np.power(degree_N, power, out=np.zeros_like(degree_N), where=degree_N > 0)
    if not (fine_N := np.isfinite(degree_N) & np.isfinite(inverse_N)).all():
        node = int(np.argmin(fine_N))
        raise UserError(
            f"the weights of sensor {ids[node] if ids else node!r} sum to {degree_N[node]:g}, which cannot "
            "be divided by in float64; multiply all weights of the graph by a factor that brings them near 1"
        )
    return inverse_N


def _random_walk(adjacency: Any, ids: Sequence[str]) -> Any:
    """P(A) = D⁻¹ A, each row summing to 1, or to 0 if the node has no outgoing edge."""
    return canonical_csr(scipy.sparse.diags_array(_inverse_or_zero(adjacency, -1.0, ids)) @ adjacency)


def _with_reversed_rows(walk: Any) -> Any:
    """Each row's values in reversed order on the same columns (rows of the walk are columns of the support)."""
    misplaced = walk.copy()
    for start, stop in zip(walk.indptr[:-1], walk.indptr[1:], strict=True):
        misplaced.data[start:stop] = walk.data[start:stop][::-1]
    return misplaced


def _scaled_laplacian(adjacency: Any, ids: Sequence[str]) -> Any:
    undirected = adjacency.maximum(adjacency.T.tocsr())
    num_nodes = undirected.shape[0]
    root = scipy.sparse.diags_array(_inverse_or_zero(undirected, -0.5, ids))
    identity = scipy.sparse.eye_array(num_nodes, format="csr")
    laplacian = scipy.sparse.csr_array(identity - root @ undirected @ root)
    largest = _largest_eigenvalue(laplacian)
    # Rounding leaves about 1e-16 where L is 0 in exact arithmetic; a real graph's λmax is at least N / (N - 1).
    if largest < 1e-9:
        return -identity
    return (2.0 / largest) * laplacian - identity


def _largest_eigenvalue(symmetric: Any) -> float:
    """λmax of a sparse symmetric positive semi-definite matrix; repeats bit for bit (fixed start vector)."""
    num_nodes = symmetric.shape[0]
    if num_nodes <= _DENSE_EIGENVALUES_UP_TO:
        return float(np.linalg.eigvalsh(symmetric.toarray())[-1])
    start_N = np.random.default_rng(0).standard_normal(num_nodes)
    import scipy.sparse.linalg  # 11 MB that only the Laplacian needs

    values = scipy.sparse.linalg.eigsh(
        symmetric, k=1, which="LA", v0=start_N, ncv=64, tol=1e-10, return_eigenvectors=False
    )
    return float(values[0])
