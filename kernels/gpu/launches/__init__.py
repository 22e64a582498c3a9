"""Launches of the Triton kernels: arguments, constants, grids; each module imports triton."""
