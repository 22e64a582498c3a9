"""The processes of one training run: who they are, what they add up, and how one that fails tells the others.

torchrun's environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) decides; without it there is one process
and no process group. Small numbers travel as CPU tensors over gloo, so that asking costs no wait for a GPU; gradients
travel over nccl on GPUs and over gloo on CPUs.

A rank that fails leaves its message in the rendezvous store and ends; its connections close, so that the others, who
wait in a collective, wake up, read the message, and stop with it. Rank 0 is the one that prints. (torchrun sends
SIGTERM to all ranks when one has ended: ``stop_on_signals`` keeps rank 0 alive until it has.)
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

T = TypeVar("T")
_ERROR = "dcrnn_fast/error"


class SharedError(UserError):
    """A mistake that every rank knows of already: nobody needs to be told."""


@dataclass(slots=True)
class Ranks:
    """This process among the processes of the run; a single process has ``store`` None."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    store: dist.Store | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    launcher_sets_one_thread: bool = False
    _exchanges: int = 0

    @property
    def is_first(self) -> bool:
        """Rank 0: the one that writes and prints."""
        return self.rank == 0

    def together(self, what: str, body: Callable[[], T]) -> T:
        """Runs ``body`` on every rank and returns its result once all have theirs.

        Raises UserError on every rank when one failed: the message names the failing ranks, unless all failed alike.
        """
        if self.store is None:
            return body()
        try:
            result = body()
        except UserError as error:
            raise _joined(self._exchange(what, str(error))) or error from error
        except BaseException as error:
            self._exchange(what, _described(error))
            raise
        if problem := _joined(self._exchange(what, "")):
            raise problem
        return result

    def _exchange(self, what: str, text: str) -> list[str]:
        """Every rank's ``text``, in rank order, through the store; works before and after there is a process group."""
        assert self.store is not None
        self._exchanges += 1
        key = f"dcrnn_fast/{self._exchanges}"
        try:
            self.store.set(f"{key}/{self.rank}", text)
            texts = [self.store.get(f"{key}/{rank}").decode() for rank in range(self.world)]
            self.store.set(f"{key}/read/{self.rank}", "")
            if self.is_first:  # the store may live in this process, which may end next
                self.store.wait([f"{key}/read/{rank}" for rank in range(self.world)])
        except RuntimeError as error:
            raise SharedError(
                f"rank {self.rank} waited in vain for the other ranks while {what} ({_short(error)}); see their output"
            ) from error
        return texts

    def connect(self, device: torch.device, timeout_seconds: int) -> None:
        """Opens the process group, whose gradients are on ``device`` (no group for a single process)."""
        self.device = device
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.store is None:
            return
        timeout = timedelta(seconds=timeout_seconds)
        self.store.set_timeout(timeout)
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
                store=dist.PrefixStore("dcrnn_fast/group", self.store),
                rank=self.rank,
                world_size=self.world,
                timeout=timeout,
            )
        except RuntimeError as error:
            raise self._what_failed("opening connections", error) from error

    @property
    def backend(self) -> str:
        """What gradients travel over: none, gloo or nccl."""
        if self.store is None:
            return "none"
        return "nccl" if self.device.type == "cuda" else "gloo"

    def sum_integers(self, *values: int) -> list[int]:
        """Each of ``values`` summed over the ranks; waits for all of them."""
        if self.store is None:
            return list(values)
        summed = torch.tensor(values, dtype=torch.int64)
        self.sum_(summed, "counting")
        return [int(value) for value in summed.tolist()]

    def sum_(self, tensor: Tensor, what: str) -> None:
        """Sums ``tensor`` over the ranks in place. All ranks get the same bits, and the same ones in every run."""
        if self.store is None:
            return
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise self._what_failed(what, error) from error

    def require_same(self, digests: dict[str, str]) -> None:
        """Raises UserError naming the rank and the entries in which a rank differs from rank 0."""
        if self.store is None:
            return
        all_digests = [json.loads(text) for text in self._exchange("comparing their starts", json.dumps(digests))]
        for rank, theirs in enumerate(all_digests):
            if different := [name for name in digests if theirs[name] != all_digests[0][name]]:
                raise SharedError(
                    f"rank {rank} does not start from what rank 0 has: other {', '.join(different)}; "
                    "give all ranks the same files and the same version"
                )

    def _what_failed(self, what: str, error: RuntimeError) -> SharedError:
        assert self.store is not None
        try:
            # A rank that failed has left its message before it closed its connections; one that was killed has not.
            if self._appears(_ERROR, 2.0):
                return SharedError(self.store.get(_ERROR).decode())
        except RuntimeError as lost:  # the store lives with rank 0, or with torchrun on the first machine
            error = lost
        return SharedError(f"rank {self.rank} lost the other ranks while {what} ({_short(error)}); see their output")

    @contextmanager
    def reporting_failure(self) -> Iterator[None]:
        """Tells the other ranks when the body fails here, and closes the process group in any case."""
        try:
            yield
        except BaseException as error:
            if self.store is not None and not isinstance(error, SharedError):
                self._leave_message(f"rank {self.rank}: {_described(error)}")
            raise
        finally:
            if dist.is_initialized() and self.store is not None:
                dist.destroy_process_group()

    def _leave_message(self, message: str) -> None:
        assert self.store is not None
        try:
            self.store.set(_ERROR, message)
        except RuntimeError as error:
            print(f"{message}; rank 0 could not be told ({_short(error)})", file=sys.stderr)

    def _appears(self, key: str, seconds: float) -> bool:
        """Whether the store gets ``key`` in time. Asked for, not waited for: a wait that ends prints warnings."""
        assert self.store is not None
        give_up = time.monotonic() + seconds
        while not self.store.check([key]):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.05)
        return True


def join_ranks() -> Ranks:
    """Reads torchrun's environment and meets the other processes at the rendezvous store.

    Raises UserError when the environment is incomplete.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return Ranks(launcher_sets_one_thread=by_torchrun)
    rank, world = _integer("RANK"), _integer("WORLD_SIZE")
    local_rank = _integer("LOCAL_RANK", rank)
    local_world = _integer("LOCAL_WORLD_SIZE", world)
    if not 0 <= rank < world:
        raise UserError(f"RANK must lie in 0 .. WORLD_SIZE - 1 = {world - 1}, got {rank}")
    if world == 1:
        return Ranks(local_rank=local_rank, launcher_sets_one_thread=by_torchrun)
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is {world} but {', '.join(missing)} is not set; start the ranks with torchrun")
    store, rank, world = next(dist.rendezvous("env://", rank, world))
    return Ranks(
        rank=rank,
        world=world,
        local_rank=local_rank,
        local_world=local_world,
        store=store,
        launcher_sets_one_thread=by_torchrun,
    )


def _integer(name: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.strip().lstrip("-").isdigit():
        raise UserError(f"environment variable {name} must be a whole number, got {text!r}")
    return int(text)


def _described(error: BaseException) -> str:
    return one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)[:300]}"


def _short(error: RuntimeError) -> str:
    """What went wrong with a connection, without the library's source lines and advice."""
    reason = re.search(r"(?i)connection \w+( by peer)?|timed out( after \w+)?|timeout|broken pipe", str(error))
    return reason[0] if reason else _described(error)


def _joined(problems: list[str]) -> SharedError | None:
    if len(set(problems)) == 1:
        return SharedError(problems[0]) if problems[0] else None
    return SharedError("; ".join(f"rank {rank}: {text}" for rank, text in enumerate(problems) if text))
