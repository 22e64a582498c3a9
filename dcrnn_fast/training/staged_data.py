"""The data's files on each node's own storage: copied by the first rank of a node, read by all of its ranks."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.staging import NotStagedError, Staged, stage
from dcrnn_fast.messages import sized
from dcrnn_fast.ranks.group import Ranks


@contextmanager
def staged(config: Config, ranks: Ranks, asked_to_stop: Callable[[], bool]) -> Iterator[Staged | None]:
    """The copies that this rank reads; None: the files as the configuration names them, and a line says why.

    The copies are removed when the body ends, on whichever way: by then the data is open.
    """
    if config.data.stage == "off":
        yield None
        return
    began, mine, why = time.monotonic(), None, ""
    try:
        if ranks.local_rank == 0:
            try:
                mine = stage(config.data, config.graph, asked_to_stop)
            except NotStagedError as error:
                why = str(error)
        here = {"host": socket.gethostname(), "staged": mine and asdict(mine), "why": why}
        nodes = ranks.exchange("staging the data", here)
        if ranks.is_first:
            _print_lines(nodes, time.monotonic() - began)
        yield _found(nodes)
    finally:
        if mine is not None:
            mine.remove()


def _found(nodes: list[dict]) -> Staged | None:
    """The copies of this node that this rank can see."""
    for node in nodes:
        if node["staged"] and node["host"] == socket.gethostname():
            copies = Staged(**node["staged"])
            if copies.can_be_seen():
                return copies
    return None


def _print_lines(nodes: list[dict], seconds: float) -> None:
    copied = [node for node in nodes if node["staged"]]
    if copied:
        size = sized(copied[0]["staged"]["size"])
        where = ", ".join(f"{node['host']}:{node['staged']['folder']}" for node in copied[:3])
        more = f" and on {len(copied) - 3} more" if len(copied) > 3 else ""
        print(f"stage: {size} copied to {where}{more}, checksums verified, in {seconds:.2g} s", flush=True)
    for node in nodes:
        if node["why"]:
            print(f"warning: stage: {node['host']}: {node['why']}; it reads the shared files", flush=True)
