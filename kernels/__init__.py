"""The operators of DCRNN, one folder each: public function, plain-PyTorch specification, and the other backends.

    diffusion_conv    sum over diffusion terms m of P_m x W_m, plus bias
    dcgru_cell        one GRU step whose matrix products are diffusion convolutions
    dcgru_sequence    stacked cells over a sequence
    dcrnn_seq2seq     the whole encoder-decoder, one autograd node

Every function takes ``backend=``: "auto", or one to insist on (``dispatch.py``). ``specification`` is what all
others must equal; it is plain PyTorch under autograd and runs in any precision. ``manual`` is plain PyTorch with a
hand-written backward: it saves less memory, and is the oracle for fused backends. ``cpu`` is compiled from ``csrc/``.
"""

from dcrnn_fast.kernels.dcgru_cell import dcgru_cell
from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.dcrnn_seq2seq import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv import diffusion_conv
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

__all__ = ["CellWeights", "DiffusionTerms", "dcgru_cell", "dcgru_sequence", "dcrnn_seq2seq", "diffusion_conv"]
