"""Graph diffusion convolution: y = sum over m of P_m x W_m, plus bias."""

from dcrnn_fast.kernels.diffusion_conv.function import diffusion_conv

__all__ = ["diffusion_conv"]
