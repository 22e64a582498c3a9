"""Colours of a map's values; a page without a map has them in its style, and needs no numpy for it."""

STEPS = ("#5a55b5", "#3f76b5", "#2a93a6", "#24ab8a", "#58bd62", "#a3c93f", "#d9c532")
"""from low to high, each lighter than the one before"""
