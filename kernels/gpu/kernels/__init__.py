"""The code that Triton compiles, and nothing else."""
