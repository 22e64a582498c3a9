"""DCRNN as the widely used PyTorch port computes it: the yardstick of every measurement, and an oracle for imports."""

from bench.reference.loss import masked_mae
from bench.reference.model import ReferenceDCRNN
from bench.reference.supports import build_reference_supports, dual_random_walk_of_large_graph, sparse_support

__all__ = [
    "ReferenceDCRNN", "build_reference_supports", "dual_random_walk_of_large_graph", "masked_mae", "sparse_support",
]  # fmt: skip
