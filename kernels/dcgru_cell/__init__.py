"""One GRU step whose matrix products are diffusion convolutions."""

from dcrnn_fast.kernels.dcgru_cell.function import dcgru_cell

__all__ = ["dcgru_cell"]
