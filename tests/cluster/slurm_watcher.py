"""Removes a test's Slurm when the process that has started it closes stdin, or is gone: slurm_watcher.py FOLDER."""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db")
HOSTS = Path("/etc/hosts")


def mark(folder: Path) -> str:
    """What follows the names of its nodes in /etc/hosts."""
    return f"# a virtual node of {folder}"


def _processes(folder: Path) -> dict[int, bool]:
    """Which are daemons, and which of a job; not a shell that only knows the cluster."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                names = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "comm").read_text().strip()
                if f"SLURM_CONF={folder}/slurm.conf".encode() in names:
                    is_daemon = command in DAEMONS
                    of_a_job = command == "slurmstepd" or any(name.startswith(b"SLURM_JOB_ID=") for name in names)
                    if is_daemon or of_a_job:
                        found[int(entry.name)] = is_daemon
    return found


def _clean_up(folder: Path) -> None:
    asked: set[int] = set()
    kill_at = time.monotonic() + 20
    while left := _processes(folder):
        for pid, is_daemon in left.items():
            with suppress(ProcessLookupError):
                if not is_daemon or time.monotonic() > kill_at:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in asked:
                    os.kill(pid, signal.SIGTERM)
        asked |= set(left)
        time.sleep(0.1)
    lines = HOSTS.read_text().splitlines(keepends=True)
    HOSTS.write_text("".join(line for line in lines if not line.rstrip().endswith(mark(folder))))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _clean_up(Path(sys.argv[1]))
