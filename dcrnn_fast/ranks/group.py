"""The ranks of a run, and their sums.

Small numbers travel as CPU tensors over gloo, so that they need no wait for a GPU; gradients travel over nccl on
GPUs and over gloo on CPUs.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import some
from dcrnn_fast.ranks.environment import Launch, at, enter, names_of
from dcrnn_fast.ranks.failure import Meeting
from dcrnn_fast.ranks.neighbours import binding_notes, counted_here
from dcrnn_fast.ranks.network import record_flights, set_variables
from dcrnn_fast.ranks.partners import GroupPartners
from dcrnn_fast.ranks.rendezvous import meet


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks that share one thing: this one's number among them, and how many they are."""

    rank: int
    size: int


@dataclass(slots=True)
class Ranks(Meeting):
    """All processes of the run; ``rank`` and ``world`` are this one's number and how many they are.

    ``cores``: this process's share of the cores that it may use; None: all of them. ``node_parallel``: G; rank =
    replica x G + partner, so that partners stand on one machine where they can.
    """

    local_rank: int = 0
    local_world: int = 1
    cores: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    launcher_sets_one_thread: bool = False
    notes: list[str] = field(default_factory=list)
    """what to tell of the network"""
    node_parallel: int = 1
    partner_group: dist.ProcessGroup | None = None
    """of the partners, once they are connected; None: this rank has the whole graph"""

    @property
    def replicas(self) -> Group:
        """Those that share a global batch, each a part of the windows: the groups of partners, by their numbers."""
        return Group(self.rank // self.node_parallel, self.world // self.node_parallel)

    @property
    def partners(self) -> Group:
        """Those that share a graph and the windows: each has a part of the nodes."""
        return Group(self.rank % self.node_parallel, self.node_parallel)

    def partner_ranks(self, replica: int) -> list[int]:
        """The numbers of the ranks that compute this replica together."""
        return list(range(replica * self.node_parallel, (replica + 1) * self.node_parallel))

    def share_graph(self, node_parallel: int) -> None:
        """Makes every ``node_parallel`` neighbouring ranks partners; before ``connect``, on all ranks alike.

        Raises:
            UserError: it does not divide the number of ranks.
        """
        if self.world % node_parallel:
            fitting = [str(size) for size in range(1, self.world + 1) if self.world % size == 0]
            raise UserError(
                f"--node-parallel {node_parallel} must divide the run's {self.world} process(es): start a multiple of "
                f"{node_parallel}, or give {some(fitting, 8)}"
            )
        self.node_parallel = node_parallel

    @property
    def backend(self) -> str:
        """The backend that gradients travel over: none, gloo or nccl."""
        if self.store is None:
            return "none"
        return "nccl" if self.device.type == "cuda" else "gloo"

    def connect(self, device: torch.device, timeout_seconds: int) -> None:
        """Opens the process group, whose gradients are on ``device`` (no group for a single process)."""
        self.device = device
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if self.store is None:
            return
        if self.backend == "nccl":
            self.notes += record_flights(os.environ)
        if passed_on := set_variables(os.environ):
            words = ", ".join(f"{name}={value}" for name, value in passed_on.items())
            self.notes.append(f"the network's variables: {words}")
        timeout = timedelta(seconds=timeout_seconds)
        self.patience = timeout_seconds
        self.store.set_timeout(timeout)
        store = dist.PrefixStore("group", self.store)

        def open_group() -> None:
            if device.type == "cuda":  # each thread has its own
                torch.cuda.set_device(device)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.world,
                timeout=timeout,
            )
            if self.node_parallel > 1:
                # Every rank makes every group, in one order: it is a collective.
                groups = [
                    dist.new_group(self.partner_ranks(replica), timeout=timeout)
                    for replica in range(self.replicas.size)
                ]
                self.partner_group = groups[self.replicas.rank]

        try:
            self.answered(open_group)
        except RuntimeError as error:
            raise self.what_failed("opening connections", error) from error

    def sum_integers(self, *values: int) -> list[int]:
        """Each of ``values`` summed over all ranks; waits for all of them."""
        if self.store is None:
            return list(values)
        summed = torch.tensor(values, dtype=torch.int64)
        self.sum_(summed, "counting")
        return [int(value) for value in summed.tolist()]

    def sum_(self, tensor: Tensor, what: str) -> None:
        """Sums ``tensor`` over all ranks in place. All ranks get the same bits, and the same ones in every run."""
        if self.store is None:
            return
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise self.what_failed(what, error) from error

    def graph_partners(self) -> GroupPartners:
        """What the operators of a divided graph exchange rows with; partners must be connected."""
        assert self.partner_group is not None
        return GroupPartners(self, self.partner_ranks(self.replicas.rank), self.partner_group)

    def sum_over_partners(self, tensor: Tensor, what: str) -> None:
        """Sums ``tensor`` over this rank's partners in place."""
        if self.partner_group is None:
            return
        try:
            dist.all_reduce(tensor, group=self.partner_group)
        except RuntimeError as error:
            others = [rank for rank in self.partner_ranks(self.replicas.rank) if rank != self.rank]
            raise self.what_failed(f"{what} with {self.named(others)}", error) from error

    def from_first(self, payload: bytes | memoryview) -> bytes | memoryview:
        """Rank 0's ``payload`` on every rank."""
        if self.store is None:
            return payload
        (length,) = self.sum_integers(len(payload) if self.is_first else 0)
        if length == 0:
            return b""
        sent = torch.frombuffer(bytearray(payload), dtype=torch.uint8) if self.is_first else None
        received = torch.zeros(length, dtype=torch.uint8) if sent is None else sent
        dist.broadcast(received, src=0)
        return received.numpy().tobytes()


def join_ranks(
    timeout_seconds: float, asked_to_stop: Callable[[], bool] = lambda: False, launch: Launch | None = None
) -> Ranks:
    """Meets the other processes, and leaves torchrun's variables in the environment.

    Args:
        timeout_seconds: so long this process waits for the others.
        asked_to_stop: ends the wait.
        launch: what ``enter`` has read; None: it is called now.
    Raises:
        KeyboardInterrupt: it was asked to stop.
        UserError: the environment is incomplete or cannot be, or a process has not come; the message names it.
    """
    launch = enter() if launch is None else launch
    if launch.world == 1:
        return Ranks(local_rank=launch.local_rank or 0, launcher_sets_one_thread=launch.sets_one_thread)
    store, launch = meet(launch, timeout_seconds, asked_to_stop)
    ranks = Ranks(
        rank=launch.rank,
        world=launch.world,
        store=store,
        patience=timeout_seconds,
        launcher_sets_one_thread=launch.sets_one_thread,
    )
    here = counted_here(ranks)
    ranks.local_rank = here.rank if launch.local_rank is None else launch.local_rank
    ranks.local_world = here.number if launch.local_world is None else launch.local_world
    ranks.cores = here.cores
    ranks.notes += binding_notes(here, os.cpu_count() or 1)
    # Rank 0 does not know by which name the others have found it.
    places = ranks.exchange("agreeing where they meet", (launch.hosts[0], str(launch.ports[0])))
    if launch.job and ranks.is_first:
        launch = at(launch, places[-1][0], int(places[-1][1]))
    os.environ.update(names_of(launch))
    os.environ.update(LOCAL_RANK=str(ranks.local_rank), LOCAL_WORLD_SIZE=str(ranks.local_world))
    return ranks
