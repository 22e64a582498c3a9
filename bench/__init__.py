"""Measurements: speed and memory of the project's own paths beside the code that most people run."""
