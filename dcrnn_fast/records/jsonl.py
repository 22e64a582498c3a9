"""events.jsonl: one JSON object a line, appended at once, with the time and the kind of event."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.events import BadStep, Ended, EpochDone, Event, Overflow, Saved, Started
from dcrnn_fast.records.watcher import Watcher

EVENTS = "events.jsonl"


class EventsFile(Watcher):
    """Writes events.jsonl; an earlier part of the same run stays above."""

    needed = True
    files = (EVENTS,)

    def __init__(self, config: Config) -> None:
        self._path = Path(config.output.results, EVENTS)

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written."""
        if isinstance(event, Started) and self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._append("\n")  # a run that was killed in mid-line
        if (entry := entry_of(event)) is None:
            return
        kind, facts = entry
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        facts = {name: None if _is_not_finite(value) else value for name, value in facts.items()}
        self._append(json.dumps({"time": now, "event": kind, **facts}, allow_nan=False) + "\n")

    def _append(self, text: str) -> None:
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror or error}; free space and resume") from error


def entry_of(event: Event) -> tuple[str, dict[str, Any]] | None:
    """(kind, facts) as the file has them; None for an event that it does not have."""
    match event:
        case Started():
            kind = "resume" if event.resumed else "start"
            return kind, {"epoch": event.epoch, "step": event.step, "ranks": event.ranks}
        case EpochDone(row):
            return "epoch", row.to_dict()
        case Saved():
            return "save", {"step": event.step, "files": list(event.files)}
        case BadStep():
            norm = str(event.gradient_norm)
            return "bad_step", {"step": event.step, "gradient_norm": norm, "windows": list(event.windows)}
        case Overflow():
            return "overflow", {"step": event.step, "loss_scale": event.loss_scale}
        case Ended():
            return "end", {"reason": event.reason, "epoch": event.epoch, "step": event.step}
    return None


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
