"""The other files of a results folder, beside those of the watchers."""

CONFIG = "config.yaml"
REPORT = (
    *("report.txt", "report.json", "horizons.csv", "sensors.csv"),
    *("horizons*.png", "worst_and_best*.png", "forecasts*.png", "map*.png"),
)
"""patterns of the files of ``train`` and ``evaluate`` (a picture of one of several channels adds its name)"""
