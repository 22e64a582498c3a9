"""Measurements: how fast and how large the project's own paths are beside what most people run."""
