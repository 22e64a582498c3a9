"""Graphs that are made: from roads, postmiles, rivers, polygons and positions to a list that ``--graph`` reads."""
