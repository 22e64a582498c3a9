"""Whether every host can be reached and would run the same code, before anything has started on any."""

import json
import platform
import shlex
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from dcrnn_fast import __version__
from dcrnn_fast.cluster.code import code_digest
from dcrnn_fast.cluster.hosts import Host, over_ssh
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line, some

T = TypeVar("T")
_MARK = "dcrnn_fast preflight "
_SECONDS = 180.0
"""for a login and a start of Python, on a machine that is busy"""
_AT_ONCE = 32
# Runs in the host's Python, which may be of any version and have nothing installed.
_ASK = """
import json, platform, socket, sys
found = {"python": platform.python_version(), "package": "", "code": "", "torch": "", "taken": []}
try:
    from importlib.metadata import version
    found["torch"] = version("torch")
except Exception:
    pass
try:
    import dcrnn_fast
    found["package"] = dcrnn_fast.__version__
    from dcrnn_fast.cluster.code import code_digest
    found["code"] = code_digest()
except Exception:
    pass
try:
    listening = open("/proc/net/tcp").readlines()[1:] + open("/proc/net/tcp6").readlines()[1:]
    found["taken"] = sorted({int(line.split()[1].split(":")[1], 16) for line in listening if line.split()[3] == "0A"})
except Exception:
    pass
print("dcrnn_fast preflight " + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a host has: versions ("" if absent), the code's digest, and the TCP ports that something listens on."""

    python: str
    package: str
    code: str
    torch: str
    taken_ports: tuple[int, ...]


def look_at(hosts: Sequence[Host], start: str, ssh: str, *, pushed: bool) -> list[Found]:
    """Asks all hosts at once.

    Args:
        start: the line of sh that runs Python there, without Python's own words.
        pushed: the package is brought along, and need not be there.
    Raises:
        UserError: one cannot be reached or would not run the same; the message names it.
    """

    def ask(host: Host) -> Found:
        return _found(_answer(host, f"{start} -c {shlex.quote(_ASK)}", ssh))

    found = on_all(hosts, ask)
    for host, one in zip(hosts, found, strict=True):
        _require_same(host, one, pushed)
    return found


def on_all(hosts: Sequence[Host], body: Callable[[Host], T]) -> list[T]:
    """``body`` for all hosts at once; their results in order.

    Raises:
        UserError: it failed for one or more; the message has each one's.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(body, host) for host in hosts]
    problems = []
    for host, one in zip(hosts, running, strict=True):
        if (error := one.exception()) is not None:
            if not isinstance(error, UserError):
                raise error
            problems.append(f"host {host.name}: {error}")
    if problems:
        raise UserError(f"{some(problems, 4)}; nothing was started on any host")
    return [one.result() for one in running]


def _answer(host: Host, script: str, ssh: str) -> str:
    try:
        done = subprocess.run(
            over_ssh(host, script, ssh), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"no answer within {_SECONDS:g} s") from error
    except OSError as error:
        raise UserError(f"cannot start {ssh}: {error.strerror or error}") from error
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(_MARK):
            return line.removeprefix(_MARK)
    said = last_words(done.stderr)
    if done.returncode == 255:  # ssh's own
        raise UserError(f"ssh cannot log in: {said or 'it gives no reason'}")
    raise UserError(
        f"Python does not start there ({said or f'exit code {done.returncode}'}); DCRNN_PYTHON names another"
    )


def last_words(stderr: bytes) -> str:
    """The last line that is not empty."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _found(text: str) -> Found:
    try:
        values: dict[str, Any] = json.loads(text)
        taken = tuple(int(port) for port in values["taken"])
        return Found(str(values["python"]), str(values["package"]), str(values["code"]), str(values["torch"]), taken)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"its answer is damaged: {one_line(error)}") from error


def _require_same(host: Host, found: Found, pushed: bool) -> None:
    """Raises UserError if ranks there would run other code than here."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    wanted = [("Python", found.python.rpartition(".")[0], platform.python_version().rpartition(".")[0])]
    if torch:  # a login node may have none
        wanted.append(("torch", found.torch, torch))
    if not pushed:
        wanted.append(("dcrnn_fast", found.package, __version__))
    for what, there, here in wanted:
        if there != here:
            raise UserError(
                f"host {host.name} has {what} {there or 'not installed'}, this machine {here}: give all the same; "
                "nothing was started on any host"
            )
    if not pushed and found.code != code_digest():
        raise UserError(
            f"host {host.name} has other code of dcrnn_fast {__version__} than this machine: install the same there, "
            "or --push brings it; nothing was started on any host"
        )
