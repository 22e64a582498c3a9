"""The other file of a results folder, beside those of the watchers and of the report."""

CONFIG = "config.yaml"
