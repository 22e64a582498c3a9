"""What else stands in a results folder, beside the files of the watchers."""

CONFIG = "config.yaml"
REPORT = (
    *("report.txt", "report.json", "horizons.csv", "sensors.csv"),
    *("horizons*.png", "worst_and_best*.png", "forecasts*.png", "map*.png"),
)
"""patterns of what ``dcrnn-fast train`` and ``evaluate`` write (a picture of one of several channels adds its name)"""
