"""DCRNN as the widely used PyTorch port computes it, operation by operation and with its parameter names.

Sparse COO supports, one diffusion for the gates and another for the candidate, the terms joined one at a time, a
permutation into rows of features and terms, one matrix product. It is meant to be as fast as that port and no faster:
a measurement against anything slower would flatter us. The only liberty: all parameters exist from the start. Known
inputs of the decoder are no part of the published function: there are none here.

Shape legend: P past steps, F future steps, B batch, N nodes, C input channels, O output channels, H units,
A = inputs + H (arguments of a convolution), M diffusion terms, L layers. As in the port, time comes first and nodes
and channels are one axis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _Cell(nn.Module):
    """One DCGRU cell; r comes before u in the gates."""

    def __init__(self, supports: Sequence[Tensor], *, num_nodes: int, inputs: int, units: int, hops: int) -> None:
        super().__init__()
        self.supports = list(supports)
        self.num_nodes, self.units, self.hops = num_nodes, units, hops
        self.num_terms = len(self.supports) * hops + 1
        for outputs, bias in ((2 * units, 1.0), (units, 0.0)):
            shape = ((inputs + units) * self.num_terms, outputs)
            weight = nn.Parameter(torch.empty(*shape))
            nn.init.xavier_normal_(weight)
            self.register_parameter(f"gconv_weight_{shape}", weight)
            self.register_parameter(f"gconv_biases_{outputs}", nn.Parameter(torch.full((outputs,), bias)))

    def forward(self, inputs_BX: Tensor, state_BX: Tensor) -> Tensor:
        gates_BNG = torch.sigmoid(self._graph_convolution(inputs_BX, state_BX, 2 * self.units))
        gates_BNG = gates_BNG.reshape(-1, self.num_nodes, 2 * self.units)
        r_BNH, u_BNH = torch.split(gates_BNG, self.units, dim=-1)
        r_BX = r_BNH.reshape(-1, self.num_nodes * self.units)
        u_BX = u_BNH.reshape(-1, self.num_nodes * self.units)
        candidate_BX = torch.tanh(self._graph_convolution(inputs_BX, r_BX * state_BX, self.units))
        return u_BX * state_BX + (1.0 - u_BX) * candidate_BX

    def _graph_convolution(self, inputs_BX: Tensor, state_BX: Tensor, outputs: int) -> Tensor:
        batch = inputs_BX.shape[0]
        inputs_BNC = inputs_BX.reshape(batch, self.num_nodes, -1)
        state_BNH = state_BX.reshape(batch, self.num_nodes, -1)
        arguments_BNA = torch.cat([inputs_BNC, state_BNH], dim=2)
        arguments = arguments_BNA.shape[2]

        before = arguments_BNA.permute(1, 2, 0).reshape(self.num_nodes, arguments * batch)
        terms = before.unsqueeze(0)
        if self.hops > 0:
            for support in self.supports:
                # "before" is not reset for the second support: the published carry-over, which all weights rely on.
                now = torch.sparse.mm(support, before)
                terms = torch.cat([terms, now.unsqueeze(0)], dim=0)
                for _ in range(2, self.hops + 1):
                    after = 2 * torch.sparse.mm(support, now) - before
                    terms = torch.cat([terms, after.unsqueeze(0)], dim=0)
                    now, before = after, now

        terms_MNAB = terms.reshape(self.num_terms, self.num_nodes, arguments, batch)
        rows = terms_MNAB.permute(3, 1, 2, 0).reshape(batch * self.num_nodes, arguments * self.num_terms)
        product = torch.matmul(rows, self.get_parameter(f"gconv_weight_{(arguments * self.num_terms, outputs)}"))
        product += self.get_parameter(f"gconv_biases_{outputs}")
        return product.reshape(batch, self.num_nodes * outputs)


class _Stack(nn.Module):
    """The cells of one time step, bottom first."""

    def __init__(
        self, supports: Sequence[Tensor], *, num_nodes: int, inputs: int, units: int, hops: int, layers: int
    ) -> None:
        super().__init__()
        self.dcgru_layers = nn.ModuleList(
            _Cell(supports, num_nodes=num_nodes, inputs=units if layer else inputs, units=units, hops=hops)
            for layer in range(layers)
        )

    def advance(self, inputs_BX: Tensor, states_LBX: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for cell, state_BX in zip(self.dcgru_layers, states_LBX, strict=True):
            inputs_BX = cell(inputs_BX, state_BX)
            states.append(inputs_BX)
        return inputs_BX, torch.stack(states)


class _Decoder(_Stack):
    def __init__(self, supports: Sequence[Tensor], *, outputs: int, **sizes: int) -> None:
        super().__init__(supports, inputs=outputs, **sizes)
        self.num_nodes, self.outputs, self.units = sizes["num_nodes"], outputs, sizes["units"]
        self.projection_layer = nn.Linear(self.units, outputs)

    def project(self, state_BX: Tensor) -> Tensor:
        return self.projection_layer(state_BX.view(-1, self.units)).view(-1, self.num_nodes * self.outputs)


class ReferenceDCRNN(nn.Module):
    """The port's sequence-to-sequence model; ``state_dict`` has the port's names, shapes and layout.

    Args:
        supports: sparse COO float32 (N, N), applied as ``support @ x``.
        hops: K, diffusion steps for each support.
    """

    def __init__(
        self,
        supports: Sequence[Tensor],
        *,
        num_nodes: int,
        input_channels: int,
        output_channels: int,
        future_steps: int,
        hidden_units: int = 64,
        num_layers: int = 2,
        hops: int = 2,
    ) -> None:
        super().__init__()
        self.num_nodes, self.output_channels = num_nodes, output_channels
        self.hidden_units, self.num_layers, self.future_steps = hidden_units, num_layers, future_steps
        sizes = {"num_nodes": num_nodes, "units": hidden_units, "hops": hops, "layers": num_layers}
        self.encoder_model = _Stack(supports, inputs=input_channels, **sizes)
        self.decoder_model = _Decoder(supports, outputs=output_channels, **sizes)

    def forward(
        self, x_PBNC: Tensor, labels_FBNO: Tensor | None = None, feed_label: Sequence[bool] | None = None
    ) -> Tensor:
        """Forecast in scaled units.

        Args:
            x_PBNC: scaled inputs, time first.
            labels_FBNO, feed_label: after decoder step t the label replaces the prediction as the next input if
                feed_label[t] is true; left out: never (evaluation, and training without scheduled sampling).
        Returns:
            prediction_FBNO.
        """
        steps, batch = x_PBNC.shape[:2]
        x_PBX = x_PBNC.reshape(steps, batch, -1)
        states_LBX = x_PBX.new_zeros(self.num_layers, batch, self.num_nodes * self.hidden_units)
        for x_BX in x_PBX:
            _, states_LBX = self.encoder_model.advance(x_BX, states_LBX)

        fed_BX = x_PBX.new_zeros(batch, self.num_nodes * self.output_channels)
        predictions = []
        for step in range(self.future_steps):
            state_BX, states_LBX = self.decoder_model.advance(fed_BX, states_LBX)
            fed_BX = self.decoder_model.project(state_BX)
            predictions.append(fed_BX)
            if feed_label is not None and labels_FBNO is not None and feed_label[step]:
                fed_BX = labels_FBNO[step].reshape(batch, -1)
        return torch.stack(predictions).view(self.future_steps, batch, self.num_nodes, self.output_channels)
