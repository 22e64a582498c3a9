"""events.jsonl: one JSON object a line, appended at once, with the time and the kind of event."""

import json
import math
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcrnn_fast.config.plain import shown
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular, write_bytes
from dcrnn_fast.records.columns import read_text
from dcrnn_fast.records.events import BadStep, Ended, EpochDone, Event, Overflow, Said, Saved, Started, Straggler
from dcrnn_fast.records.lines import append
from dcrnn_fast.records.watcher import FIRST, Place, Watcher
from dcrnn_fast.system import machine, usable_cores

EVENTS = "events.jsonl"


class EventsFile(Watcher):
    """Writes events.jsonl; an earlier part of the same run stays above."""

    lasting = True
    files = (EVENTS,)

    def __init__(self, config: Config, place: Place = FIRST) -> None:
        self._path = Path(config.output.results, EVENTS)
        self._unwritten = b""
        self._epochs: int | None = None
        self._begun = False
        """until then the file there is an earlier run's, and what is said waits"""

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written; the next event then brings this one along."""
        self._begun |= not isinstance(event, Said)
        if (entry := entry_of(event)) is None:
            return
        kind, facts = entry
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        facts = {name: None if _is_not_finite(value) else value for name, value in facts.items()}
        self._unwritten += json.dumps({"time": now, "event": kind, **facts}, allow_nan=False).encode() + b"\n"
        if not self._begun:
            return
        try:
            if isinstance(event, Started) and event.resumed and self._path.is_file():
                self._epochs = event.epoch
            if self._epochs is not None:
                self._clear(self._epochs)
                self._epochs = None
            append(self._path, self._unwritten)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror or error}") from error
        self._unwritten = b""

    def _clear(self, epochs: int) -> None:
        """Removes a line that a kill has torn, and the epochs that this run trains again."""
        with open_regular(self._path) as stream:
            content = stream.read()
        kept = b"".join(line + b"\n" for line in content.splitlines() if _stays(line, epochs))
        if kept != content:
            write_bytes(self._path, kept)


def entry_of(event: Event) -> tuple[str, dict[str, Any]] | None:
    """(kind, facts) as the file has them; None for an event that it does not have."""
    match event:
        case Said(line) if "\n" not in line:  # the configuration, which has lines of its own, is in config.yaml
            return "note", {"line": line}
        case Started():
            kind = "resume" if event.resumed else "start"
            facts = {"epoch": event.epoch, "step": event.step, "ranks": event.ranks}
            here = {"host": socket.gethostname(), "cpu": machine()["cpu"], "cores": usable_cores()}
            return kind, facts | here | {"device": event.device}
        case EpochDone(row):
            return "epoch", row.cells()
        case Straggler():
            return "straggler", asdict(event)
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


def read_events(path: Path) -> list[dict[str, Any]]:
    """The lines of an events.jsonl, of this or another version; a half one at the end is left out.

    Raises:
        UserError: it cannot be read, or a line is no event; the message names file and line.
    """
    events = []
    text = read_text(path)
    for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], start=1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: no JSON, got {shown(line)}") from error
        if not (isinstance(event, dict) and all(isinstance(event.get(name), str) for name in ("time", "event"))):
            raise UserError(f"{path}, line {number}: no event with a time, got {shown(line)}")
        events.append(event)
    return events


def _stays(line: bytes, epochs: int) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(entry, dict):
        return False
    epoch = entry.get("epoch")
    return not (entry.get("event") == "epoch" and isinstance(epoch, int) and epoch > epochs)


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
