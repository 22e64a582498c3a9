"""Ports of this machine: is one free, and which process holds it."""

import os
import socket
from pathlib import Path

_LISTENS = "0A"


def listen(port: int) -> socket.socket:
    """A socket that listens at the port, on all addresses of this machine; 0: any free port.

    Raises:
        OSError: another process has the port, or this one may not use it.
    """
    both = socket.has_dualstack_ipv6()
    return socket.create_server(
        ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=512
    )


def holder_of(port: int, proc: Path = Path("/proc")) -> str:
    """The process that listens at the port, in words; "" if none does, or the system does not show it."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(proc / "net" / table, port)}
    if not sockets:
        return ""
    for process in proc.iterdir():
        if process.name.isdigit() and _links(process / "fd") & sockets:
            return f"process {process.name} ({_command(process)})"
    return "a process that this user may not see"


def _listening(table: Path, port: int) -> list[str]:
    """The sockets, as numbers of inodes, that listen at the port."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _links(folder: Path) -> set[str]:
    found = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(folder / name))
    except OSError:  # it ended, or is another user's
        pass
    return found


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    text = " ".join(word.decode(errors="backslashreplace") for word in words).strip()
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:80] or "?"
