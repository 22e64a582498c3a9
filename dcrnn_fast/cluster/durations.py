"""Durations as Slurm writes them, and as PBS does."""

import re

from dcrnn_fast.errors import UserError

_FORMS = re.compile(
    r"(?:(?P<days>\d{1,5})-(?P<day_hours>\d{1,2})(?::(?P<day_minutes>\d{1,2})(?::(?P<day_seconds>\d{1,2}))?)?"
    r"|(?P<hours>\d{1,7}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})"
    r"|(?P<only_minutes>\d{1,9})(?::(?P<only_seconds>\d{1,2}))?)",
    re.ASCII,
)


def seconds_of(text: str) -> int:
    """The seconds of Slurm's M, M:SS, H:MM:SS, D-H, D-H:MM and D-H:MM:SS.

    Raises:
        UserError: it is none of them, or no time at all (which Slurm takes for no limit).
    """
    found = _FORMS.fullmatch(text)
    part = {name: int(value or 0) for name, value in found.groupdict().items()} if found else {}
    seconds = (
        86_400 * part.get("days", 0)
        + 3_600 * (part.get("day_hours", 0) + part.get("hours", 0))
        + 60 * (part.get("day_minutes", 0) + part.get("minutes", 0) + part.get("only_minutes", 0))
        + (part.get("day_seconds", 0) + part.get("seconds", 0) + part.get("only_seconds", 0))
    )
    if seconds == 0:
        raise UserError(
            f"--time must be a duration as Slurm writes it (90 for minutes, 30:00, 12:00:00, 2-12, 2-12:30 or "
            f"2-12:30:00), got {text!r:.80}"
        )
    return seconds


def walltime(seconds: int) -> str:
    """Hours, minutes and seconds, as PBS wants them."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
