"""An exchange before a diffusion, and how an operator finds it.

An operator's schema takes tensors and numbers, autograd keeps tensors, and a model's buffers are tensors. So a
rank's part of a graph is one int64 tensor, of which the first number names what is registered here:

    name, most nodes of a part, number of partners G,
    rows of a panel forward, rows sent to each of G, rows received from each of G,
    the same of the transposed operators,
    the own rows that are sent forward (for partner 0, then for partner 1, ..), those sent by the transposed operators

The rows of a panel are the own nodes', the received ones, and those that only a recursion computes.

Shape legend: N own nodes, R columns of anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from dcrnn_fast.kernels.halo.partners import Partners

_name = count(1)
_halos: dict[int, "Halo"] = {}
"""never forgotten: a backward may come when the model is gone"""


@dataclass(frozen=True, slots=True)
class Route:
    """The rows that travel in one direction of diffusion.

    Attributes:
        panel_rows: of a panel that holds own and received rows, and those that only a recursion computes.
        sent_row: int64, own rows: for partner 0, then for partner 1, ..
        sent, received: how many rows go to, and come from, each partner; received ones stand behind the own rows in
            the partners' order.
    """

    panel_rows: int
    sent_row: Tensor
    sent: list[int]
    received: list[int]

    def start(self, x_NR: Tensor, partners: Partners) -> Callable[[], Tensor]:
        """Begins the exchange of a contiguous x's rows; the function that is returned waits for those received."""
        sent_R = x_NR.index_select(0, self.sent_row.to(x_NR.device))
        received_R = x_NR.new_empty(sum(self.received), x_NR.shape[1])
        wait = partners.start(sent_R, self.sent, received_R, self.received)

        def finish() -> Tensor:
            wait()
            return received_R

        return finish


@dataclass(frozen=True, slots=True)
class Halo:
    """One rank's exchanges."""

    partners: Partners
    forward: Route
    transposed: Route
    most_nodes: int

    def register(self) -> Tensor:
        """The tensor by which operators find this."""
        name = next(_name)
        _halos[name] = self
        routes = (self.forward, self.transposed)
        header = [name, self.most_nodes, self.partners.size]
        for route in routes:
            header += [route.panel_rows, *route.sent, *route.received]
        return torch.cat([torch.tensor(header, dtype=torch.int64), *(route.sent_row for route in routes)])

    def route(self, *, transposed: bool) -> Route:
        """The exchange before a diffusion by the operators, or by the transposed ones."""
        return self.transposed if transposed else self.forward


def halo_of(tensor: Tensor) -> Halo:
    """What ``Halo.register`` registered, in this process.

    Raises:
        ValueError: a tensor of another process, or none of ``register``.
    """
    return halo_named(int(tensor[0]))


def halo_named(name: int) -> Halo:
    """The same, by the tensor's first number."""
    if name not in _halos:
        raise ValueError("the terms' halo is of another process: divide the graph again with partition_terms")
    return _halos[name]
