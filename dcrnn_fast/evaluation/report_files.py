"""Names of a report's files, without the libraries that write them."""

import re
from collections.abc import Sequence

TEXTS = ("report.txt", "report.json", "horizons.csv", "sensors.csv")
PICTURES = ("horizons", "worst_and_best", "forecasts", "map", "intervals")
"""stems; a picture of one of several channels adds its name"""
PAGE = "run.html"
"""of a run, with the report in it: by training at its end, and by ``dcrnn-fast report``"""
REPORT = (*TEXTS, *(f"{stem}*.png" for stem in PICTURES), PAGE)
"""patterns of all of them"""

_LONGEST = 80


def picture_names(stem: str, channels: Sequence[str]) -> list[str]:
    """A picture's name for each channel, all different."""
    if len(channels) == 1:
        return [f"{stem}.png"]
    words: list[str] = []
    for channel in channels:
        word = re.sub(r"\W+", "_", channel)[:_LONGEST]
        same = sum(other == word or other.startswith(f"{word}-") for other in words)
        words.append(f"{word}-{same + 1}" if same else word)
    return [f"{stem}_{word}.png" for word in words]
