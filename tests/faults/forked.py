"""Commands in forked processes: each has its own memory limit and deadline, and none pays for the imports again."""

import ctypes
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SPARE_BYTES = 3 << 30
"""address space that a command may take beyond what this process has: no file here is worth more"""


@dataclass(frozen=True)
class Outcome:
    """What a command left.

    Attributes:
        code: exit code; negative: the signal that ended it.
        late: it was still running at its deadline.
    """

    code: int
    out: str
    err: str
    late: bool

    @property
    def one_line(self) -> bool:
        """Refused as a user's mistake ought to be: exit code 2 and one line, the last; notes may precede it."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if ": error: " in line]
        noise = any(word in self.err for word in ("Traceback", "Warning"))
        return self.code == 2 and errors == lines[-1:] and not noise and len(self.err) < 4000


def command(*words: str, folder: Path, seconds: float = 60.0) -> Outcome:
    """``dcrnn-fast WORDS`` in ``folder``."""
    from dcrnn_fast.cli import main

    return call(lambda: main(list(words)), folder, seconds)


def call(body: Callable[[], int], folder: Path, seconds: float = 60.0) -> Outcome:
    """The exit code and the output of ``body`` in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _be_child(body, folder, Path(name))
        deadline = time.monotonic() + seconds
        late = False
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if late := time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                ended = os.waitpid(pid, 0)
                break
            time.sleep(0.005)
        out, err = ((Path(name) / stream).read_text(errors="replace") for stream in ("out", "err"))
        return Outcome(os.waitstatus_to_exitcode(ended[1]), out, err, late)


def _be_child(body: Callable[[], int], folder: Path, streams: Path) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan when the program is interrupted
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + SPARE_BYTES, -1))
        code = body()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def scratch():
    """A folder that goes with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
