"""How ranks find each other at the start, and which one is missing.

Rank 0 draws a name for this start and answers every rank that asks. All keys of the run begin with that name: a store
that outlives a failed start (torchrun's ``--max-restarts``) holds nothing that a new one could take for its own.
"""

import errno
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import timedelta
from functools import partial

import torch.distributed as dist

from dcrnn_fast.errors import ToldElsewhereError, UserError
from dcrnn_fast.messages import one_line, some
from dcrnn_fast.ranks.answers import within
from dcrnn_fast.ranks.environment import Launch, at
from dcrnn_fast.ranks.ports import holder_of, listen
from dcrnn_fast.ranks.signpost import Signpost, ask

_POLL = 0.02
_LOOKS_EVERY = 0.25
"""seconds between two looks at all places where rank 0 may be"""
_FEW_HOSTS = 8
_LOOKS_FARTHER = 20
"""of many hosts all but the likeliest are asked only at every twentieth look: all ranks ask, at each of them"""
_SPEAKS_AFTER = 10.0
_NAME_MAY_COME = 10.0
"""seconds in which a name that is not known yet may become known: that of a container that was just started"""
_LAST_ANSWER = 8.0
"""seconds after the end of the wait in which a store that lives has answered"""
_serving: set[int] = set()


def meet(
    launch: Launch, timeout_seconds: float, asked_to_stop: Callable[[], bool] = lambda: False
) -> tuple[dist.Store, Launch]:
    """A store that all ranks of this start share, and nothing else does; all ranks have come to it.

    Returns:
        The store, and ``launch`` with the place where it is.
    Raises:
        KeyboardInterrupt: ``asked_to_stop`` has become true while it waited.
        UserError: the place cannot be, is taken, or a rank has not come there in time; the message names it.
        ToldElsewhereError: another rank prints such an error.
    """
    waiting = _Waiting(launch, timeout_seconds, asked_to_stop)
    sign: Signpost | None = None
    try:
        if launch.rank > 0 or launch.agent_serves:
            launch = _find_first(launch, waiting)
            store = _open_store(launch, waiting, serves=False)
        elif launch.job:
            store = _open_store(at(launch, launch.hosts[0], 0), waiting, serves=True)
            sign = Signpost(launch.job, launch.ports, store.port)
            waiting.place = f"{launch.hosts[0]}:{sign.port}"
            launch = at(launch, launch.hosts[0], store.port)
        else:
            _resolve(launch, waiting)
            _require_free_port(launch.ports[0])
            store = _open_store(launch, waiting, serves=True)
        with nullcontext() if sign is None else closing(sign):
            named = partial(_gather if launch.rank == 0 else _report, store, launch, waiting)
            name = within(waiting.left + _LAST_ANSWER, named)
    except RuntimeError as error:
        raise UserError(
            f"rank {launch.rank} and what answers at {waiting.place} do not understand each other, or lost each other: "
            f"{one_line(error)[:200]}; see rank 0's output, or give another MASTER_PORT"
        ) from error
    return dist.PrefixStore(f"dcrnn_fast/{name}", store), launch


class _Waiting:
    """A wait of limited length, which says that it waits."""

    def __init__(self, launch: Launch, seconds: float, asked_to_stop: Callable[[], bool]) -> None:
        self.place = launch.place
        self.seconds = seconds
        self._asked_to_stop = asked_to_stop
        self._began = time.monotonic()
        self._speaks_after = min(_SPEAKS_AFTER, seconds / 2)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._began + self.seconds - time.monotonic()

    def until(self, condition: Callable[[], bool], what: Callable[[], str]) -> bool:
        """Whether the condition becomes true in time; ``what`` is waited for."""
        while not condition():
            if self._asked_to_stop():
                raise KeyboardInterrupt
            if self.left <= 0:
                return False
            if time.monotonic() - self._began >= self._speaks_after:
                print(f"waiting for {what()}, up to {self.seconds:g} s (--dist-timeout)", flush=True)
                self._speaks_after *= 6
            time.sleep(_POLL)
        return True


def _open_store(launch: Launch, waiting: _Waiting, *, serves: bool) -> dist.TCPStore:
    return dist.TCPStore(
        # The server reaches itself here under any name; under MASTER_ADDR perhaps not, behind a translated address.
        "localhost" if serves else launch.hosts[0],
        launch.ports[0],
        launch.world,
        is_master=serves,
        timeout=timedelta(seconds=max(waiting.left, 1.0)),
        wait_for_workers=False,
        multi_tenant=not launch.job,
    )


def _find_first(launch: Launch, waiting: _Waiting) -> Launch:
    """``launch`` with the place of rank 0's store."""
    found = launch
    looked_at = -_LOOKS_EVERY
    looks = 0

    def is_found() -> bool:
        nonlocal found, looked_at, looks
        if time.monotonic() - looked_at < _LOOKS_EVERY:
            return False
        looks += 1
        everywhere = len(launch.hosts) <= _FEW_HOSTS or looks % _LOOKS_FARTHER == 0
        hosts = launch.hosts if everywhere else launch.hosts[:1]
        if launch.job:
            for host in hosts:
                for port in launch.ports:
                    if (store_port := ask(host, port, launch.job)) is not None:
                        found = at(launch, host, store_port)
                        return True
        else:
            for host in hosts:
                if _answers(host, launch.ports[0]):
                    found = at(launch, host, launch.ports[0])
                    return True
        looked_at = time.monotonic()
        return False

    if len(launch.hosts) == 1:
        _resolve(launch, waiting)
    if not waiting.until(is_found, lambda: f"rank 0 at {waiting.place}"):
        raise UserError(
            f"rank {launch.rank} of {launch.world} found no rank 0 at {_places(launch)} within {waiting.seconds:g} s "
            "(--dist-timeout): start all ranks, with rank 0's machine as MASTER_ADDR"
        )
    waiting.place = found.place
    return found


def _places(launch: Launch) -> str:
    """Where rank 0 was looked for."""
    ports = f"{launch.ports[0]}" if len(launch.ports) == 1 else f"{launch.ports[0]} to {launch.ports[-1]}"
    return f"{some(launch.hosts, 4)}:{ports}"


def _resolve(launch: Launch, waiting: _Waiting) -> None:
    reason = ""

    def is_known() -> bool:
        nonlocal reason
        try:
            socket.getaddrinfo(launch.hosts[0], launch.ports[0], type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            return False
        return True

    give_up = time.monotonic() + min(_NAME_MAY_COME, waiting.seconds)
    while not is_known():
        if time.monotonic() > give_up:
            raise UserError(f"MASTER_ADDR {launch.hosts[0]!r:.80} is no machine that is known here: {reason}")
        time.sleep(0.2)


def _require_free_port(port: int) -> None:
    """Raises UserError if another process listens there."""
    if port in _serving:
        return
    try:
        with listen(port):
            _serving.add(port)
    except OSError as error:
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = f": {holder_of(port) or 'another process'} has it; give another one"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"rank 0 cannot use MASTER_PORT {port}: {reason}{hint}") from error


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except (OSError, UnicodeError):
        return False


def _gather(store: dist.Store, launch: Launch, waiting: _Waiting) -> str:
    """Rank 0's part: answers every rank that asks, until all know the name of this start; returns the name."""
    name = secrets.token_hex(8)
    missing = set(range(1, launch.world))

    def all_here() -> bool:
        for rank in tuple(missing):
            if store.check([f"dcrnn_fast/asks/{rank}"]):
                store.set(f"dcrnn_fast/answer/{store.get(f'dcrnn_fast/asks/{rank}').decode()}", name)
            if store.check([f"dcrnn_fast/{name}/here/{rank}"]):
                missing.remove(rank)
        return not missing

    def who() -> str:
        return f"rank {some([str(rank) for rank in sorted(missing)], 8)} of {launch.world} at {waiting.place}"

    problem = ""
    if not waiting.until(all_here, who):
        remedy = "start all ranks, with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE"
        if launch.job:
            remedy = f"look into the output of those tasks, which {launch.launcher or 'the launcher'} starts"
        problem = f"{who()} did not come within {waiting.seconds:g} s (--dist-timeout): {remedy}"
    store.set(f"dcrnn_fast/{name}/go", problem)
    if problem:
        raise UserError(problem)
    return name


def _report(store: dist.Store, launch: Launch, waiting: _Waiting) -> str:
    """Every other rank's part."""
    asks = secrets.token_hex(8)
    answer = f"dcrnn_fast/answer/{asks}"
    twins = f"two processes have RANK={launch.rank}: each needs its own"
    store.set(f"dcrnn_fast/asks/{launch.rank}", asks)

    def is_answered() -> bool:
        if store.get(f"dcrnn_fast/asks/{launch.rank}").decode() != asks:
            raise UserError(twins)
        return store.check([answer])

    if not waiting.until(is_answered, lambda: f"rank 0 of {launch.world} at {waiting.place}"):
        raise UserError(
            f"rank {launch.rank} waited {waiting.seconds:g} s (--dist-timeout) at {waiting.place} for rank 0: start "
            "it, with the same WORLD_SIZE"
        )
    name = store.get(answer).decode()
    if store.add(f"dcrnn_fast/{name}/here/{launch.rank}", 1) > 1:
        raise UserError(twins)
    go = f"dcrnn_fast/{name}/go"
    if not waiting.until(lambda: store.check([go]), lambda: "other ranks, for which rank 0 waits"):
        raise ToldElsewhereError(f"rank {launch.rank} waited {waiting.seconds:g} s for other ranks, with rank 0")
    if problem := store.get(go).decode():
        raise ToldElsewhereError(problem)
    return name
