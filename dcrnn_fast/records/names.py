"""The files of a results folder that no watcher writes, beside those of the report."""

CONFIG = "config.yaml"
PAGE = "run.html"
"""written at the end, and by ``dcrnn-fast report``"""
