"""The clean model: DCRNN as one would write it today in plain PyTorch, for torch.compile to make the most of.

Dense diffusion terms made beforehand and stacked, so that one matrix product diffuses; nodes first, so that it needs no
copy; the terms joined in the last dimension, so that one product convolves. Its parameters are those of
``dcrnn_fast.model.DCRNN``, under the same names.

Shape legend: B batch, P past steps, N nodes, C input channels, O output channels, H units, M diffusion terms,
S = (M-1) N stacked rows, I = C*M weight rows.
"""

import torch
from torch import Tensor, nn

from dcrnn_fast.model import DCRNN


class PlainDCRNN(nn.Module):
    """Shares the parameters of ``model`` and computes the same in evaluation mode."""

    def __init__(self, model: DCRNN) -> None:
        super().__init__()
        self.encoder, self.decoder, self.projection = model.encoder, model.decoder, model.projection
        self.future_steps, self.num_terms, self.units = (
            model.future_steps,
            model.diffusion.num_terms,
            model.hidden_units,
        )
        terms = model.diffusion.terms()
        shape = ((self.num_terms - 1) * terms.num_nodes, terms.num_nodes)
        stack = torch.sparse_csr_tensor(terms.row_start, terms.column, terms.value, shape, check_invariants=False)
        self.register_buffer("stack_SN", stack.to_dense(), persistent=False)

    def forward(self, x_BPNC: Tensor) -> Tensor:
        """The scaled forecast (B, F, N, O)."""
        encoder = [self._in_order_of_terms(cell) for cell in self.encoder]
        decoder = [self._in_order_of_terms(cell) for cell in self.decoder]
        x_PNBC = x_BPNC.permute(1, 2, 0, 3)
        _, N, B, _ = x_PNBC.shape
        states = [x_BPNC.new_zeros(N, B, self.units) for _ in encoder]
        for x_NBC in x_PNBC.unbind(0):
            states = self._step(x_NBC, states, encoder)
        x_NBO = x_BPNC.new_zeros(N, B, self.projection.out_features)
        predictions = []
        for _ in range(self.future_steps):
            states = self._step(x_NBO, states, decoder)
            x_NBO = self.projection(states[-1])
            predictions.append(x_NBO)
        return torch.stack(predictions).permute(2, 0, 1, 3)

    def _step(self, x_NBC: Tensor, states: list[Tensor], cells: list[list[Tensor]]) -> list[Tensor]:
        after = []
        for h_NBH, (gate_weight, gate_bias, candidate_weight, candidate_bias) in zip(states, cells, strict=True):
            gates = torch.sigmoid(self._convolve(torch.cat([x_NBC, h_NBH], -1), gate_weight, gate_bias))
            r_NBH, u_NBH = gates.chunk(2, -1)
            reset = torch.cat([x_NBC, r_NBH * h_NBH], -1)
            candidate = torch.tanh(self._convolve(reset, candidate_weight, candidate_bias))
            x_NBC = u_NBH * h_NBH + (1 - u_NBH) * candidate
            after.append(x_NBC)
        return after

    def _convolve(self, x_NBC: Tensor, weight_IO: Tensor, bias_O: Tensor) -> Tensor:
        N, B, C = x_NBC.shape
        diffused_SBC = (self.stack_SN @ x_NBC.reshape(N, B * C)).view(-1, B, C)
        joined = torch.cat([x_NBC, *diffused_SBC.split(N)], -1)
        return joined @ weight_IO + bias_O

    def _in_order_of_terms(self, cell: nn.Module) -> list[Tensor]:
        """The released layout (row = channel*M + m) as row = m*C + channel, once a step."""
        return [
            parameter.unflatten(0, (-1, self.num_terms)).transpose(0, 1).flatten(0, 1)
            if parameter.dim() == 2
            else parameter
            for parameter in cell.weights()  # type: ignore[operator]
        ]
