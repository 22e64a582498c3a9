"""Everything that the GPU backends "triton" and "cuda" share, below the operators and without any operator's schema.

devices, available      which GPU, driver and Triton there are, or why they cannot be used
words, plan             how a call diffuses and multiplies: the user's words, else rules
tiles, chain, layout    the graph, and activations, as the kernels read them
primitives, segment     the pieces of a step, and the order of steps
table_triton            the primitives in Triton: launches/, blocks (their sizes), kernels/ (the code that it compiles)
table_cuda              the same, two of them in CUDA C++
"""

from dcrnn_fast.kernels.gpu.devices import gpu_facts, why_no_gpu

__all__ = ["gpu_facts", "why_no_gpu"]
