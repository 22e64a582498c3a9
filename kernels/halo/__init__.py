"""A graph divided among ranks: each computes its own nodes' rows and gets the rows that they read of the others.

    partners.py    what this package wants of those that share a graph: an exchange of tensors
    divide.py      one rank's terms: its rows, the columns that they read, and the rows that travel
    exchange.py    an exchange before a diffusion, and how an operator, which takes tensors only, finds it

The operators are the same for a part as for a complete graph: x, states and forecasts are of the rank's own nodes, and
before each diffusion the rows of what is diffused travel. The backward diffuses gradients by the transposed operators,
so that it exchanges rows too, and nothing is scattered back. Weights' gradients are a rank's share: the sum over the
partners is the complete graph's.
"""

from dcrnn_fast.kernels.halo.divide import partition_terms, without_partners
from dcrnn_fast.kernels.halo.partners import Absent, Partners

__all__ = ["Absent", "Partners", "partition_terms", "without_partners"]
