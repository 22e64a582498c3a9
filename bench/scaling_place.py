"""How ``bench.scaling`` divides work among ranks, where it runs, and how it starts the ranks."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Layout:
    """``replicas`` share the batch, ``partners`` share the graph of each; ``threads`` of a rank."""

    replicas: int
    partners: int
    threads: int

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.replicas * self.partners

    @property
    def name(self) -> str:
        """For the table."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        if self.ranks == 1:
            return f"1 rank{threads}"
        if self.partners == 1:
            return f"{self.ranks} data-parallel{threads}"
        if self.replicas == 1:
            return f"{self.ranks} node-parallel{threads}"
        return f"{self.replicas} x {self.partners} node-parallel{threads}"


def layouts_of(most: int, threads: int, batch: int, *, one_machine: bool) -> list[Layout]:
    """All layouts of 1, 2, 4, ... ``most`` ranks whose replicas divide the batch; the first is the yardstick."""
    counts = sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})
    found = [
        Layout(count // partners, partners, threads)
        for count in counts
        for partners in range(1, count + 1)
        if count % partners == 0 and batch % (count // partners) == 0
    ]
    if one_machine and most > 1:
        found.insert(1, Layout(1, 1, threads * most))
    return found


class RankProcess:
    """A rank of a layout: answers each number of steps with a JSON object."""

    def __init__(self, stack: ExitStack, words: Sequence[str], environment: dict[str, str]) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(words, cwd=_ROOT, env=environment, **pipes)
        stack.callback(self.close)

    def ask(self, steps: int) -> None:
        """Begins so many steps."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            UserError: the process ended; its message is on stderr.
        """
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise UserError(f"a rank ended with code {self._process.wait()}; see above")

    def close(self) -> None:
        """Ends it, and waits."""
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process measures.

    Attributes:
        own: the ranks that it starts; world: all of them; local_world: of them on its machine.
        host: rank 0's machine; ports: a free one of it for each layout, the same in all processes.
        wait: waits for the other processes that measure.
    """

    own: Sequence[int]
    world: int
    local_world: int
    host: str
    ports: Sequence[int]
    wait: Callable[[], object]

    @property
    def one_machine(self) -> bool:
        """This process starts all ranks."""
        return len(self.own) == self.world


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def find_place(ranks: Ranks, wanted: int | None, layouts: int) -> Place:
    """By the launcher if there are several tasks, else on this machine."""
    if ranks.world == 1:
        most = wanted or min(2, len(os.sched_getaffinity(0)))
        return Place(range(most), most, most, "127.0.0.1", free_ports(layouts), lambda: None)
    import torch

    ranks.connect(torch.device("cpu"), 600)
    ports = json.loads(bytes(ranks.from_first(json.dumps(free_ports(layouts)).encode())))
    most = min(wanted or ranks.world, ranks.world)
    host = os.environ["MASTER_ADDR"]
    return Place([ranks.rank], most, ranks.local_world, host, ports, lambda: ranks.sum_integers(0))


def start(stack: ExitStack, place: Place, layout: Layout, port: int, task: dict[str, Any]) -> list[RankProcess]:
    """This process's ranks of a layout."""
    processes = []
    threads = str(layout.threads)
    for rank in place.own:
        if rank >= layout.ranks:
            continue
        local = {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": layout.ranks} if place.one_machine else {}
        launched = {"RANK": rank, "WORLD_SIZE": layout.ranks, "MASTER_ADDR": place.host, "MASTER_PORT": port, **local}
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "TORCHELASTIC"))
        }
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment |= {name: str(value) for name, value in launched.items()}
        usable, wanted = sorted(os.sched_getaffinity(0)), layout.ranks * layout.threads
        cores: list[int] = []
        if place.one_machine and wanted <= len(usable):
            cores = usable[len(usable) - wanted :][rank * layout.threads : (rank + 1) * layout.threads]
        words = [sys.executable, "-m", "bench.scaling_rank", json.dumps({**task, "cores": cores})]
        processes.append(RankProcess(stack, words, environment))
    return processes
