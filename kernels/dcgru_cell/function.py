"""Public function of the DCGRU cell.

Shape legend: B batch, N nodes, C input channels, H units, M diffusion terms.
"""

from torch import Tensor

from dcrnn_fast.kernels.checks import require_nodes
from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights


def dcgru_cell(
    x_BNC: Tensor,
    h_BNH: Tensor,
    terms: DiffusionTerms,
    weights: CellWeights,
    *,
    backend: str = "auto",
    precision: str = "exact",
) -> Tensor:
    """One step of the diffusion convolutional GRU (Li et al. 2018, section 2.2): a sequence of one step, one layer.

    Args:
        x_BNC: the step's input.
        h_BNH: the state before it, in x's dtype.
        terms: the graph's M operators, float32, or float64 when x is.
        weights: the cell's parameters, in x's dtype (``CellWeights`` has their layout).
        backend: "auto", or one to insist on.
        precision: "exact" or "bf16x3", as ``dcgru_sequence``.

    Returns:
        The state after it, (B, N, H), in x's dtype (under autocast: in autocast's).

    Raises:
        ValueError, TypeError, NotImplementedError: as ``dcgru_sequence``.
    """
    require_nodes("dcgru_cell", "x", x_BNC, 3, terms)
    require_nodes("dcgru_cell", "h", h_BNH, 3, terms)
    states_BTNH, _ = dcgru_sequence(
        x_BNC.unsqueeze(1), terms, [weights], h_BNH.unsqueeze(0), backend=backend, precision=precision
    )
    return states_BTNH[:, 0]
