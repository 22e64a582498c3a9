"""The diffusion convolution of ``backend=cuda``: Triton's kernels, since CUDA C++ has nothing better for it."""

from dcrnn_fast.kernels.diffusion_conv.triton import define_diffusion_conv, triton_table

diffusion_conv_cuda = define_diffusion_conv("cuda", triton_table)
