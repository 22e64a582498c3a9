"""The processes of one training run: who they are, what they add up, how they stop together, how one that fails tells
the others."""
