"""DCRNN as the widely used PyTorch port computes it: the yardstick of every measurement."""

from bench.reference.loss import masked_mae
from bench.reference.model import ReferenceDCRNN
from bench.reference.supports import dual_random_walk, sparse_support

__all__ = ["ReferenceDCRNN", "dual_random_walk", "masked_mae", "sparse_support"]
