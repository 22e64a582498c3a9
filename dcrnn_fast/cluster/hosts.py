"""The hosts of a run: from words, from a file, from PBS; and how each is reached."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

SSH_OPTIONS = (
    "-o", "BatchMode=yes",  # a question for a password would wait for ever
    "-o", "ConnectTimeout=15",
    "-o", "ServerAliveInterval=15",
    "-o", "ServerAliveCountMax=4",
)  # fmt: skip
_HOST = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?(?P<name>[A-Za-z0-9_][\w.-]*|\[?[0-9A-Fa-f:]+\]?)")
_MOST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Host:
    """A host by ssh's name for it (user@name), and the number of ranks that its line in a file asks for."""

    target: str
    slots: int = 1

    @property
    def name(self) -> str:
        """The name without the user."""
        return self.target.rpartition("@")[2].strip("[]")


def read_hosts(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[Host]:
    """The hosts of ``--hosts``: names, with commas or spaces between them, or one file; without: ``PBS_NODEFILE``.

    Raises:
        UserError: there are none, the file cannot be read, a name is none, or a host is named twice.
    """
    words = [word for given in words for word in given.split(",") if word]
    if not words:
        file = environment.get("PBS_NODEFILE", "")
        if not file:
            raise UserError("--hosts is missing: names, or a file with one in each line (PBS_NODEFILE is not set)")
        return _of_file(Path(file))
    if len(words) == 1 and Path(words[0]).is_file():
        return _of_file(Path(words[0]))
    hosts = [Host(_checked(word, "--hosts")) for word in words]
    if twice := sorted({host.target for host in hosts if hosts.count(host) > 1}):
        raise UserError(f"--hosts names {first_few(twice)} more than once: --ntasks-per-node sets the ranks on each")
    return hosts


def _of_file(path: Path) -> list[Host]:
    """One host a line; a line may end in slots=N; a host of several lines has as many slots, as PBS writes it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the host file {path}: {getattr(error, 'strerror', None) or error}") from error
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        target, count = _checked(words[0], f"{path}, line {number}"), 1
        for word in words[1:]:
            found = re.fullmatch(r"(slots|max[-_]slots)=(\d{1,6})", word)
            if found is None or not 1 <= int(found[2]) <= _MOST_SLOTS:
                wanted = f"a host, or a host and slots=1 .. {_MOST_SLOTS}"
                raise UserError(f"{path}, line {number}: wanted {wanted}, got {line.strip()!r:.80}")
            count = int(found[2]) if found[1] == "slots" else count
        slots[target] = slots.get(target, 0) + count
    if not slots:
        raise UserError(f"the host file {path} names no host")
    return [Host(target, count) for target, count in slots.items()]


def _checked(word: str, where: str) -> str:
    if not _HOST.fullmatch(word):
        raise UserError(f"{where}: wanted the name or address of a host, got {word!r:.80}")
    return word


def ssh_program(environment: Mapping[str, str] = os.environ) -> str:
    """The ssh to use: ``DCRNN_SSH``, or the one of the PATH.

    Raises:
        UserError: there is none.
    """
    name = environment.get("DCRNN_SSH") or "ssh"
    if (found := shutil.which(name)) is None:
        raise UserError(f"{name} is not installed or not on the PATH: --scheduler ssh needs it")
    return found if environment.get("DCRNN_SSH") else "ssh"


def over_ssh(host: Host, script: str, program: str) -> list[str]:
    """The words that run a line of sh on a host, whatever the user's login shell there is."""
    return [program, *SSH_OPTIONS, host.target, f"exec sh -c {shlex.quote(script)}"]
