"""What every command shares: a user's mistake becomes one line and exit code 2."""

import os
import sys
from collections.abc import Callable

from dcrnn_fast.errors import UserError

MISTAKE = 2
INTERRUPTED = 130


def run_command(name: str, body: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Calls ``body(argv)`` and returns the command's exit code.

    A ``UserError`` prints ``dcrnn-fast NAME: error: ...`` on stderr, without a traceback, and yields 2; Ctrl-C yields
    130. Every rank of a distributed run sees the same mistake: only rank 0 (torchrun's RANK) prints it. Any other
    exception is a bug of ours and keeps its traceback.
    """
    try:
        return body(sys.argv[1:] if argv is None else list(argv))
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":
            line = " ".join(str(error).split())
            print(f"dcrnn-fast {name}: error: {line}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
