"""Checkpoints: the one dict that is a checkpoint, and the files that hold it; needed for inference as for training."""
