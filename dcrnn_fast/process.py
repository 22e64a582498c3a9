"""Which process this is, and whether the one that a file names still lives. A leaf: everything may import it."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from all others of all machines, also from a later one with its number.

    Attributes:
        host: the machine's name.
        system: of which start of the machine, and of which container, ``pid`` is a number; "" if the system has no
            /proc.
        pid: its number.
        started: clock ticks from the machine's start to the process's; -1 if the system has no /proc.
    """

    host: str
    system: str
    pid: int
    started: int

    def to_dict(self) -> dict[str, Any]:
        """As files have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Process":
        """``to_dict`` undone.

        Raises:
            ValueError: these are no such values.
        """
        if not isinstance(values, Mapping):
            raise ValueError("no process")
        host, system, pid, started = (values.get(name) for name in ("host", "system", "pid", "started"))
        if (
            type(host) is not str
            or not host.isprintable()
            or type(system) is not str
            or type(pid) is not int
            or type(started) is not int
        ):
            raise ValueError("no process")
        return cls(host, system, pid, started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def can_be_seen(self) -> bool:
        """Whether it runs, or ran, where this process can look: same machine, not restarted since, same container."""
        return (self.host, self.system) == (socket.gethostname(), _system())

    def lives(self) -> bool:
        """Whether it runs here now; call it only if it ``can_be_seen``."""
        if self.pid < 1:
            return False
        if self.started >= 0 and (now := _state(self.pid)) is not None and now[1] != self.started:
            return False
        return is_running(self.pid)


def is_running(pid: int) -> bool:
    """Whether any process of this machine has this number and has not ended."""
    if (now := _state(pid)) is not None:
        return now[0] not in "ZX"  # Z: ended, and only its parent does not know yet
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's, whom /proc may not show
        return True
    return True


def this_process() -> Process:
    """The process that asks; a fork is another one."""
    now = _state(os.getpid())
    return Process(socket.gethostname(), _system(), os.getpid(), -1 if now is None else now[1])


def parent_of(pid: int) -> int:
    """The number of its parent; 0 if /proc does not show it."""
    now = _state(pid)
    return 0 if now is None else now[2]


def _state(pid: int) -> tuple[str, int, int] | None:
    """Its state, a letter, when it started, and its parent; None: /proc shows none."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[19]), int(fields[1])


def _system() -> str:
    try:
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self' / 'ns' / 'pid')}"
    except OSError:
        return ""
