"""One GRU step whose matrix products are diffusion convolutions.

It has no backend of its own: it is a sequence of one step, and its specification is in ``dcgru_sequence`` too.
"""

from dcrnn_fast.kernels.dcgru_cell.function import dcgru_cell

__all__ = ["dcgru_cell"]
