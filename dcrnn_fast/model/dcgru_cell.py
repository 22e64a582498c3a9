"""The diffusion convolutional GRU cell.

Shape legend: B batch, N nodes, C input channels, H units, M diffusion terms.
"""

import torch
from torch import Tensor, nn

from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_cell
from dcrnn_fast.model.graph_buffers import GraphBuffers


class CellParameters(nn.Module):
    """The four parameters of one cell, made at once, in the released layout (``CellWeights``)."""

    def __init__(
        self,
        input_channels: int,
        hidden_units: int,
        num_terms: int,
        dtype: torch.dtype | None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        rows = (input_channels + hidden_units) * num_terms
        self.gate_weight = nn.Parameter(torch.empty(rows, 2 * hidden_units, dtype=dtype, device=device))
        self.gate_bias = nn.Parameter(torch.empty(2 * hidden_units, dtype=dtype, device=device))
        self.candidate_weight = nn.Parameter(torch.empty(rows, hidden_units, dtype=dtype, device=device))
        self.candidate_bias = nn.Parameter(torch.empty(hidden_units, dtype=dtype, device=device))
        if device != "meta":
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform weights, gate biases 1 (the state is kept at first), candidate biases 0, as released."""
        nn.init.xavier_uniform_(self.gate_weight)
        nn.init.xavier_uniform_(self.candidate_weight)
        nn.init.ones_(self.gate_bias)
        nn.init.zeros_(self.candidate_bias)

    def weights(self) -> CellWeights:
        """The parameters, as the operators take them."""
        return CellWeights(self.gate_weight, self.gate_bias, self.candidate_weight, self.candidate_bias)


class DCGRUCell(nn.Module):
    """One DCGRU step as a module (Li et al. 2018, section 2.2).

    Args:
        terms: the graph's diffusion terms.
        input_channels, hidden_units: C and H.
        backend: "auto", or one to insist on.
        dtype: of the parameters; left out: PyTorch's default. The terms must be float64 for float64, else float32.
    """

    def __init__(
        self,
        terms: DiffusionTerms,
        *,
        input_channels: int,
        hidden_units: int,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden_units = hidden_units
        self.backend = backend
        self.diffusion = GraphBuffers(terms)
        self.cell = CellParameters(input_channels, hidden_units, terms.num_terms, dtype)

    def forward(self, x_BNC: Tensor, h_BNH: Tensor | None = None) -> Tensor:
        """The state after the step, (B, N, H); without a state before it, from zeros.

        Raises:
            ValueError, TypeError, NotImplementedError: as ``dcrnn_fast.kernels.dcgru_cell``.
        """
        if h_BNH is None:
            h_BNH = x_BNC.new_zeros(*x_BNC.shape[:2], self.hidden_units)
        return dcgru_cell(x_BNC, h_BNH, self.diffusion.terms(), self.cell.weights(), backend=self.backend)
