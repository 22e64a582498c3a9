"""``dcrnn-fast launch --scheduler local``: several ranks on this machine, watched as those of many hosts are."""

import shlex
import socket
import sys
from pathlib import Path

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.cluster.link import Place, place_words
from dcrnn_fast.cluster.settings import result_folder, training_words
from dcrnn_fast.cluster.watch import run_places
from dcrnn_fast.errors import UserError

_MASTER = "127.0.0.1"


def run_here(flags: LaunchFlags) -> int:
    """Prints the command that starts the ranks, or with ``--submit`` runs them.

    Returns:
        0, 2, 85 or 1, as ``run_places``.
    Raises:
        UserError: more than one node is asked for; the logs cannot be written.
    """
    if flags.nodes != 1:
        raise UserError(f"--nodes is {flags.nodes}: --scheduler local has this machine only; --scheduler ssh has more")
    words, world = training_words(flags), flags.tasks_per_node
    port = _free_port() if flags.submit else 0
    command = place_words([sys.executable], (0, world), world, (_MASTER, port), "", words)
    if not flags.submit:
        print(shlex.join(command))
        return 0
    results = Path(result_folder(flags))
    print(f"dcrnn-fast launch: {world} ranks here; logs: {results / 'logs'}", file=sys.stderr, flush=True)
    return run_places([Place(socket.gethostname(), 0, world, tuple(command))], results)


def _free_port() -> int:
    with socket.create_server((_MASTER, 0)) as server:
        port: int = server.getsockname()[1]
        return port
