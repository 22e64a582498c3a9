"""The processes of one training run: their numbers, their sums, how they stop together, how one that fails informs the
others."""
