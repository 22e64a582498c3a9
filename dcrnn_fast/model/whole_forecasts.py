"""The whole graph's forecasts from a model of which each process computes a part of the nodes.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels,
K known channels.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dcrnn_fast.model.dcrnn import DCRNN


class WholeForecasts(nn.Module):
    """A shared model that is called with the whole graph's inputs, and gives the whole graph's forecasts; by all
    partners at once, for evaluation and forecasts.

    Args:
        model: of this process's nodes alone.
        nodes: their numbers in the whole graph, int64; num_nodes: of the whole graph.
        sum_: sums a tensor over the partners in place; the text names it in messages.
    """

    def __init__(self, model: DCRNN, nodes: np.ndarray, num_nodes: int, sum_: Callable[[Tensor, str], None]) -> None:
        super().__init__()
        self.model = model
        self._num_nodes = num_nodes
        self._sum = sum_
        self.register_buffer("_nodes", torch.from_numpy(nodes).to(next(model.parameters()).device), persistent=False)

    def forward(self, x_BPNC: Tensor, known_BFNK: Tensor | None = None) -> Tensor:
        """The scaled forecast (B, F, N, O) of all nodes, float32, on every partner.

        Args:
            x_BPNC: scaled inputs of all nodes; known_BFNK: scaled known inputs, as the model takes them.
        """
        nodes = self.get_buffer("_nodes")
        own_known_BFNK = None if known_BFNK is None else known_BFNK[:, :, nodes]
        own_BFNO = self.model(x_BPNC[:, :, nodes], known_BFNK=own_known_BFNK)
        batch, steps, _, channels = own_BFNO.shape
        forecast_BFNO = own_BFNO.new_zeros(batch, steps, self._num_nodes, channels, dtype=torch.float32)
        forecast_BFNO[:, :, nodes] = own_BFNO.float()
        self._sum(forecast_BFNO, "gathering forecasts")
        return forecast_BFNO
