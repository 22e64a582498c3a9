"""The DCRNN encoder-decoder with the candidate in CUDA C++ (``dcgru_sequence/cuda.py``)."""

from dcrnn_fast.kernels.dcgru_sequence.cuda import cuda_table
from dcrnn_fast.kernels.dcrnn_seq2seq.triton import define_dcrnn_seq2seq

dcrnn_seq2seq_cuda = define_dcrnn_seq2seq("cuda", cuda_table)
