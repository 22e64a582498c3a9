"""The complete DCRNN encoder-decoder, one autograd node."""

from dcrnn_fast.kernels.dcrnn_seq2seq.function import dcrnn_seq2seq

__all__ = ["dcrnn_seq2seq"]
