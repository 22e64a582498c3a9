"""Stacked DCGRU cells over a sequence."""

from dcrnn_fast.kernels.dcgru_sequence.function import dcgru_sequence

__all__ = ["dcgru_sequence"]
