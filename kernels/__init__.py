"""The operators of DCRNN, one folder each, with the same files in each.

    diffusion_conv    sum over diffusion terms m of P_m x W_m, plus bias
    dcgru_cell        one GRU step whose matrix products are diffusion convolutions
    dcgru_sequence    stacked cells over a sequence
    dcrnn_seq2seq     the complete encoder-decoder, one autograd node

    function.py         the public function: checks, then ``operator.run``
    specification.py    plain PyTorch under autograd, in any precision: the others are tested against it
    manual.py           plain PyTorch with a hand-written backward: saves less memory, the oracle of fused backends
    cpu.py              the operator of the compiled kernels (``csrc/``)
    gpu.py              the operators of "triton" and "cuda", made from ``gpu/``
    gradients.py        the fakes and gradients that the operators share

Every function takes ``backend=``: "auto", or one to insist on (``dispatch.py``). ``selfcheck/`` stands above them: it
compares a GPU backend with PyTorch before its first use.
"""

from dcrnn_fast.kernels.dcgru_cell import dcgru_cell
from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.dcrnn_seq2seq import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv import diffusion_conv
from dcrnn_fast.kernels.dispatch import refuse_by
from dcrnn_fast.kernels.selfcheck import failure
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

__all__ = ["CellWeights", "DiffusionTerms", "dcgru_cell", "dcgru_sequence", "dcrnn_seq2seq", "diffusion_conv"]

refuse_by(failure)
