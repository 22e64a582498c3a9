"""From supports to the M fixed linear operators of a diffusion convolution.

Every recursion that is in use is linear in x, so that a graph yields M matrices P_m, made once in float64, and all
that a layer ever computes is P_m x.

Shape legend: N nodes, K hops, M = (number of supports) * K + 1 diffusion terms.
"""

from collections.abc import Sequence
from typing import Any

import scipy.sparse

from dcrnn_fast.config.data import GraphConfig, Recursion
from dcrnn_fast.config.plain import require_choice
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.csr import canonical_csr
from dcrnn_fast.graph.recursion import DiffusionRecursion, diffusion_recursion
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.graph.supports import build_supports


def graph_operators(graph: SensorGraph, config: GraphConfig) -> list[Any]:
    """The M operators that a configuration asks for: self loops, supports, recursion."""
    return diffusion_operators(_supports(graph, config), hops=config.hops, recursion=config.recursion)


def graph_recursion(graph: SensorGraph, config: GraphConfig) -> DiffusionRecursion:
    """The recursion that makes them, for kernels that apply the supports one after another."""
    supports = [canonical_csr(support) for support in _supports(graph, config)]
    return diffusion_recursion(supports, hops=config.hops, recursion=config.recursion)


def _supports(graph: SensorGraph, config: GraphConfig) -> Sequence[Any]:
    if config.self_loops == "add":
        graph = graph.with_self_loops()
    return build_supports(
        graph.adjacency,
        kind=config.supports,
        orientation=config.orientation,
        edge_order=config.edge_order,
        ids=graph.ids,
    )


def diffusion_operators(supports: Sequence[Any], *, hops: int, recursion: Recursion = "released") -> list[Any]:
    """P_0 .. P_(M-1), with the terms of x being P_m x, in the order [x, S0-terms 1..K, S1-terms 1..K].

    ``powers`` (Li et al. 2018, equation 2), for each support S and k = 1..K:

        T_k = S^k x

    ``chebyshev``, begun anew for each support:

        T_0 = x;  T_1 = S x;  T_k = 2 S T_(k-1) - T_(k-2)

    ``released`` is the same recursion as the released code runs it: the second support does not begin at x but at
    the term before the last of the first support (for K = 1 that is x):

        T_0 = x;         T_1 = S0 x;  T_k = 2 S0 T_(k-1) - T_(k-2)
        U_0 = T_(K-1);   U_1 = S1 U_0;  U_k = 2 S1 U_(k-1) - U_(k-2)

    for K = 2: [x, S0 x, 2 S0² x - x, S1 S0 x, 2 S1² S0 x - S0 x]. Published weights need it.

    Args:
        supports: (N, N) matrices, applied as ``S @ x``.
        hops: K; 0 leaves the identity alone.
    Returns:
        M float64 ``csr_array`` (N, N) with sorted columns and no explicit zeros; the first is the identity.
    Raises:
        UserError: no support, supports of different shapes, a negative K, an unknown recursion.
    """
    require_choice("recursion", recursion, Recursion)
    if hops < 0:
        raise UserError(f"hops must be at least 0, got {hops}")
    matrices = [canonical_csr(support) for support in supports]
    shapes = {matrix.shape for matrix in matrices}
    if len(shapes) != 1 or any(rows != columns for rows, columns in shapes):
        raise UserError(f"supports must be square matrices of one shape, got {[matrix.shape for matrix in matrices]}")
    identity = scipy.sparse.eye_array(matrices[0].shape[0], format="csr")
    operators = [identity]
    if hops == 0:
        return operators
    begin = identity
    for support in matrices:
        if recursion == "powers":
            terms = _powers(support, hops)
        else:
            terms = _chebyshev(support, begin, hops)
        operators += terms
        if recursion == "released":
            begin = terms[-2] if hops >= 2 else begin
    return operators


def _powers(support: Any, hops: int) -> list[Any]:
    """[S, S², .., S^K]."""
    terms = [canonical_csr(support)]
    for _ in range(hops - 1):
        terms.append(canonical_csr(support @ terms[-1]))
    return terms


def _chebyshev(support: Any, begin: Any, hops: int) -> list[Any]:
    """[T_1, .., T_K] as operators on x, where T_0 is ``begin``."""
    before, now = begin, canonical_csr(support @ begin)
    terms = [now]
    for _ in range(hops - 1):
        before, now = now, canonical_csr(2.0 * (support @ now) - before)
        terms.append(now)
    return terms
