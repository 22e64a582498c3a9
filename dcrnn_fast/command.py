"""Shared by all commands: a user's mistake becomes one line and exit code 2."""

import errno
import io
import os
import select
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.errors import MISTAKE, ToldElsewhereError, exit_code_of, is_of_the_user
from dcrnn_fast.messages import one_line
from dcrnn_fast.system import available_mib, is_out_of_memory

INTERRUPTED = 130
NOBODY_READS = 141
"""the exit code that a shell reports for a program ended by SIGPIPE"""
STDOUT = 1
_LONGEST = 300
"""characters of another library's words"""


def run_command(name: str, body: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Calls ``body(argv)`` and returns the command's exit code.

    A ``UserError``, or the error of a ``DCRNN_FAST_*`` variable, prints ``dcrnn-fast NAME: error: ...`` on stderr,
    without a traceback, and yields its exit code, mostly 2; memory that runs out and a name that no file can have yield
    2. Ctrl-C yields 130. Of the ranks of a run, which all see the same mistake, the first prints it. If the reader of
    stdout has closed it (``dcrnn-fast --help | head -1``), the command stops quietly: 141. Any other exception is a bug
    of ours and keeps its traceback.
    """
    try:
        try:
            with _any_text_on_stdout():
                return body(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except ValueError as error:
        if not is_of_the_user(error):
            raise
        if not isinstance(error, ToldElsewhereError):
            print(f"dcrnn-fast {name}: error: {one_line(error)}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        # The interpreter's own last flush would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return NOBODY_READS
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if (said := _limit_of_the_machine(error)) is None:
            raise
        print(f"dcrnn-fast {name}: error: {said}", file=sys.stderr)  # on every rank: the others may have room
        return MISTAKE


@contextmanager
def _any_text_on_stdout() -> Iterator[None]:
    """A name that the terminal's encoding lacks is printed in escapes, as on stderr, instead of ending the command."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def _limit_of_the_machine(error: BaseException) -> str | None:
    """What to print for an allocation that failed, or a name that is too long for a file; None: it is neither."""
    text = one_line(error)[:_LONGEST]
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"a file cannot have this name: {text}"
    if not is_out_of_memory(error):
        return None
    return f"out of memory ({available_mib() / 1024:.3g} GiB available to this process): {text}"


def let_stdout_go(code: int) -> int:
    """``code``, after a last try to write what a full disk behind stdout has held back: its loss ends no command."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        # The interpreter's own last flush would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return code


def command_line(name: str, *words: object) -> str:
    """The words that run a command of this installation from this folder, with any PATH."""
    python = Path(sys.executable)
    script = python.with_name("dcrnn-fast")
    if (found := shutil.which("dcrnn-fast")) is not None and Path(found).parent == python.parent:
        start = ["dcrnn-fast", name]
    elif script.is_file():
        start = [_as_typed(script), name]
    else:
        start = [_as_typed(python), "-m", f"dcrnn_fast.{name}"]
    return shlex.join([*start, *map(str, words)])


def _as_typed(path: Path) -> str:
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    return os.path.join("." if path.parent == Path.cwd() else "", path.relative_to(Path.cwd()))


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
