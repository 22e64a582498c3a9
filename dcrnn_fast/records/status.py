"""status.json: where a run is, for programs; and how it is read, also after the run was killed."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import beside
from dcrnn_fast.messages import first_few
from dcrnn_fast.process import Process, this_process
from dcrnn_fast.records.events import (
    BadStep,
    Calibrating,
    Ended,
    EpochDone,
    Event,
    Failed,
    Started,
    Starting,
    Stepped,
    Validating,
)
from dcrnn_fast.records.lock import is_held_by
from dcrnn_fast.records.watcher import FIRST, Place, Watcher

STATUS = "status.json"
GOING_ON = ("starting", "running")
OVER = ("finished", "stopped", "failed", "nan")
KILLED = "killed"
"""what a reader makes of a run that says it goes on, and whose process is gone"""
_EVERY = 1.0
"""seconds between two writes while nothing but the step changes"""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run is.

    Attributes:
        state: starting, running, finished, stopped (by a signal, everything saved), failed, nan (a loss or gradient
            that is not finite); read from a file also killed (the process is gone and did not say why).
        time: of writing, UTC; since: when the run, or its resumption, began.
        epoch, epochs: finished and configured ones; step: optimiser steps so far.
        signal: of stopped: the one that asked; error: of failed and nan: its line; else "".
        windows, times: of nan: first rows, and times of the first targets, of the windows of that step.
        process: that writes, or wrote, the file.
    """

    state: str
    time: str
    since: str
    epoch: int
    epochs: int
    step: int
    signal: str
    error: str
    windows: tuple[int, ...]
    times: tuple[str, ...]
    process: Process

    def to_dict(self) -> dict[str, Any]:
        """As the file has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Status":
        """``to_dict`` undone.

        Raises:
            ValueError: a part is missing, or of another type; the message names it.
        """
        if not isinstance(values, Mapping):
            raise ValueError("no JSON object")
        for name, kind in _PLAIN.items():
            if type(values.get(name)) is not kind:
                raise ValueError(f"{name} must be a {kind.__name__}, got {values.get(name)!r:.80}")
        for name, kind in _LISTS.items():
            if type(values.get(name)) is not list or any(type(item) is not kind for item in values[name]):
                raise ValueError(f"{name} must be a list of {kind.__name__}, got {values.get(name)!r:.80}")
        if values["state"] not in (*GOING_ON, *OVER):
            raise ValueError(f"state must be one of {first_few((*GOING_ON, *OVER), 9)}, got {values['state']!r:.80}")
        lists: dict[str, Any] = {name: tuple(values[name]) for name in _LISTS}
        plain = {name: values[name] for name in _PLAIN}
        return cls(process=Process.from_dict(values.get("process")), **plain, **lists)


_TEXTS = ("state", "time", "since", "signal", "error")
_PLAIN: dict[str, type] = dict.fromkeys(_TEXTS, str) | dict.fromkeys(("epoch", "epochs", "step"), int)
_LISTS: dict[str, type] = {"windows": int, "times": str}


def read_status(folder: str | Path) -> Status | None:
    """Where the run of a results folder is; None: no run has begun there, or it was of a version without status.json.

    A run whose process is gone is ``killed``, whatever the file says; of a process on another machine that is known
    from its lock file, which it touches while it lives.

    Raises:
        UserError: the file cannot be read, or is none of a run's.
    """
    path = Path(folder, STATUS)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a run's status: it is no file")
    try:
        status = Status.from_dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a run's status: {error}") from error
    process = status.process
    if status.state in GOING_ON:
        lives = process.lives() if process.can_be_seen else is_held_by(Path(folder), process)
        return status if lives else replace(status, state=KILLED)
    return status


class StatusFile(Watcher):
    """Writes status.json: at each change of state, else about once a second."""

    lasting = True
    files = (STATUS,)

    def __init__(self, config: Config, place: Place = FIRST) -> None:
        now = _now()
        self._path = Path(config.output.results, STATUS)
        self._status = Status("starting", now, now, 0, config.training.epochs, 0, "", "", (), (), this_process())
        self._bad: BadStep | None = None
        self._written = 0.0
        self._begun = False

    def see(self, event: Event) -> None:
        """Raises UserError when the file cannot be written, or is another program's."""
        match event:
            case Starting():
                read_status(self._path.parent)  # refuses another program's file, which then stays
                self._begun = True
                self._write(state="starting")
            case _ if not self._begun:
                return  # the file there is an earlier run's
            case Started():
                self._write(state="running", epoch=event.epoch, step=event.step)
            case Stepped():
                self._write_if_time(epoch=event.epoch, step=event.step)
            case Validating():
                self._write_if_time(epoch=event.epoch)
            case Calibrating():
                self._write_if_time()
            case EpochDone(row):
                self._write_if_time(epoch=row.epoch, step=row.step)
            case BadStep() if event.ends_run:
                self._bad = event
            case Ended():
                over = event.reason in ("finished", "stalled")
                state, signal = ("finished", "") if over else ("stopped", event.reason)
                self._write(state=state, signal=signal, epoch=event.epoch, step=event.step)
            case Failed(error) if self._bad is not None:
                bad = self._bad
                self._write(state="nan", error=error, step=bad.step, windows=bad.windows, times=bad.times)
            case Failed(error):
                self._write(state="failed", error=error)

    def _write_if_time(self, **changes: Any) -> None:
        if time.monotonic() - self._written >= _EVERY:
            self._write(**changes)
        else:
            self._status = replace(self._status, **changes)

    def _write(self, **changes: Any) -> None:
        self._status = replace(self._status, time=_now(), **changes)
        self._written = time.monotonic()
        # Not synced: once a second that would cost a disk more than the run. After a power cut the process is gone.
        temporary = beside(self._path)
        try:
            temporary.write_text(json.dumps(self._status.to_dict(), indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(f"cannot write {self._path}: {error.strerror or error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
