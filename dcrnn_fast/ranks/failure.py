"""How ranks stop together when one fails, with its message.

A rank that fails leaves its message in the rendezvous store and ends; its connections close, so that the others, which
wait in a collective, wake up, read the message, and stop with it. Only rank 0 prints it. (torchrun sends SIGTERM to all
ranks when one has ended: ``stop_on_signals`` keeps rank 0 alive while it works, and the others let it end first.)
"""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch.distributed as dist

from dcrnn_fast.errors import ToldElsewhereError, UserError, exit_code_of, is_of_the_user
from dcrnn_fast.messages import described, some
from dcrnn_fast.ranks.answers import within

T = TypeVar("T")
_ERROR = "error"
_FIRST_LIVES = "rank 0 lives, and prints why the run ends"
_POLL = 0.01
_SPEAKS_AFTER = 10.0
_FIRST_PRINTS = 0.3
"""seconds that the other ranks end after rank 0: launchers end all ranks once one has"""
_STORE_ANSWERS = 8.0
"""seconds in which a store that lives answers"""


class SharedError(UserError):
    """An error already raised on all ranks; do not broadcast it again."""


class LostError(SharedError):
    """Other ranks are gone, which is no mistake of this command's: the same one may go on. The exit code says so.

    If rank 0 is known to live it prints this, else every rank does itself.
    """

    exit_code = 1

    def __init__(self, message: str, *, first_lives: bool) -> None:
        super().__init__(message)
        self.first_lives = first_lives


@dataclass(slots=True)
class Meeting:
    """This process among all processes of the run, and the store that they meet at; None for a single process.

    The store carries texts, before there is a process group and after one has failed.
    """

    rank: int = 0
    world: int = 1
    store: dist.Store | None = None
    patience: float = 1800.0
    """seconds that this rank waits for the others"""
    hosts: tuple[str, ...] = ()
    """each rank's machine, in rank order, once they have told each other"""
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
            self._exchange(what, described(error))
            raise
        if problem := _joined(self._exchange(what, "")):
            raise problem
        return result

    def require_same(self, what: str, facts: dict[str, str]) -> None:
        """Raises UserError naming the ranks, their hosts, and the facts in which they differ from rank 0."""
        if self.store is None:
            return
        all_facts = self.exchange(f"comparing {what}", facts)
        alike: dict[tuple[str, ...], list[int]] = {}
        for rank, theirs in enumerate(all_facts):
            names = [name for name in {**all_facts[0], **theirs} if theirs.get(name) != all_facts[0].get(name)]
            if names:
                different = (f"{name} ({theirs.get(name)}, not {all_facts[0].get(name)})" for name in names)
                alike.setdefault(tuple(different), []).append(rank)
        if alike:
            said = [f"{self.named(ranks)} has other {some(different, 4)}" for different, ranks in alike.items()]
            raise SharedError(
                f"not all ranks have {what} of {self.named([0])}: {some(said, 3, '; ')}; give all ranks the same files "
                "and the same version"
            )

    def require_apart(self, what: str, own: str) -> None:
        """Raises UserError naming two ranks that have the same one of something; "": this rank has none."""
        if self.store is None:
            return
        owners: dict[str, int] = {}
        for rank, theirs in enumerate(self.exchange(f"comparing each {what}", own)):
            if theirs and theirs in owners:
                raise SharedError(
                    f"rank {owners[theirs]} and rank {rank} have the same {what} ({theirs}): start as many ranks on "
                    "each machine as it has of them, each with its own LOCAL_RANK"
                )
            owners[theirs] = rank

    def named(self, ranks: Sequence[int]) -> str:
        """The ranks and their hosts, in words."""
        hosts = list(dict.fromkeys(self.hosts[rank] for rank in ranks if rank < len(self.hosts)))
        return f"rank {some([str(rank) for rank in ranks], 8)}" + (f" on {some(hosts, 4)}" if hosts else "")

    def exchange(self, what: str, own: T) -> list[T]:
        """What every rank has, in rank order, as JSON carries it. All ranks must call it."""
        if self.store is None:
            return [own]
        return [json.loads(text) for text in self._exchange(what, json.dumps(own))]

    @contextmanager
    def reporting_failure(self) -> Iterator[None]:
        """Reports to the other ranks if the body fails here, and closes the process group in any case.

        Raises:
            ToldElsewhereError: in place of a user's mistake, on every rank but the first, which prints it; a moment
                later, so that the first is not ended with a signal while it does.
        """
        told: ToldElsewhereError | None = None
        try:
            yield
        except BaseException as error:
            if self.store is not None and not isinstance(error, (SharedError, ToldElsewhereError)):
                self._leave_message(f"rank {self.rank}: {described(error)}")
            if isinstance(error, LostError) and not error.first_lives:
                raise
            if self.is_first or not isinstance(error, ValueError) or not is_of_the_user(error):
                raise
            told = _told_by_first(error)
        finally:
            if dist.is_initialized() and self.store is not None:
                dist.destroy_process_group()
        if told is not None:
            time.sleep(_FIRST_PRINTS)
            raise told

    def answered(self, ask: Callable[[], T]) -> T:
        """``ask()``, which waits for the store and the other ranks.

        Raises:
            RuntimeError: it waits for longer than this rank's patience.
        """
        return within(self.patience + _STORE_ANSWERS, ask)

    def what_failed(self, what: str, error: RuntimeError) -> SharedError:
        """Why a collective failed here: the message of the rank that failed first, if it could leave one."""
        assert self.store is not None
        first_lives = False
        try:
            if self.is_first:
                self.store.set(_FIRST_LIVES, "")
            message, first_lives = within(_STORE_ANSWERS, self._left_behind)
            if message:
                return SharedError(message)
        except RuntimeError as lost:  # the store lives with rank 0, or with torchrun on the first machine
            error = lost
        return self._lost(what, error, first_lives=first_lives)

    def _lost(self, what: str, error: RuntimeError, *, first_lives: bool) -> LostError:
        words = f"rank {self.rank} lost the other ranks while {what} ({_short(error)}); see their output"
        return LostError(words, first_lives=first_lives)

    def _left_behind(self) -> tuple[str, bool]:
        """The message of a rank that failed, "" if there is none, and whether rank 0 is known to live."""
        assert self.store is not None
        # A rank that failed has left its message before it closed its connections; one that was killed has not.
        if self._appears(_ERROR, 2.0):
            return self.store.get(_ERROR).decode(), True
        return "", self.store.check([_FIRST_LIVES])

    def _exchange(self, what: str, text: str) -> list[str]:
        """Every rank's ``text``, in rank order, through the store."""
        self._exchanges += 1
        try:
            return self.answered(partial(self._texts, what, text))
        except RuntimeError as error:
            raise self._lost(what, error, first_lives=False) from error

    def _texts(self, what: str, text: str) -> list[str]:
        assert self.store is not None
        key, give_up = f"{self._exchanges}", time.monotonic() + self.patience
        self.store.set(f"{key}/{self.rank}", text)
        texts = [self._from(rank, f"{key}/{rank}", give_up, what) for rank in range(self.world)]
        self.store.set(f"{key}/read/{self.rank}", "")
        if self.is_first:  # the store may live in this process, which may end next
            for rank in range(self.world):
                self._from(rank, f"{key}/read/{rank}", give_up, what)
        return texts

    def _from(self, rank: int, key: str, give_up: float, what: str) -> str:
        """What that rank leaves under ``key``."""
        assert self.store is not None
        speaks_at = time.monotonic() + _SPEAKS_AFTER
        while not self.store.check([key]):
            if self.store.check([_ERROR]):  # it failed elsewhere, and will not come here
                raise SharedError(self.store.get(_ERROR).decode())
            if time.monotonic() > give_up:
                raise LostError(
                    f"rank {self.rank} waited {self.patience:g} s (--dist-timeout) for rank {rank} while {what}; see "
                    f"rank {rank}'s output",
                    first_lives=rank != 0,
                )
            if self.is_first and time.monotonic() > speaks_at:
                print(f"{what}: waiting for rank {rank}, up to {self.patience:g} s (--dist-timeout)", flush=True)
                speaks_at = math.inf
            time.sleep(_POLL)
        return self.store.get(key).decode()

    def _leave_message(self, message: str) -> None:
        assert self.store is not None
        try:
            within(_STORE_ANSWERS, partial(self.store.set, _ERROR, message))
        except RuntimeError as error:
            print(f"{message}; rank 0 could not be told ({_short(error)})", file=sys.stderr)

    def _appears(self, key: str, seconds: float) -> bool:
        """Whether the store gets ``key`` in time. Polls: ``store.wait`` prints warnings when it times out."""
        assert self.store is not None
        give_up = time.monotonic() + seconds
        while not self.store.check([key]):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.05)
        return True


def _told_by_first(error: ValueError) -> ToldElsewhereError:
    told = ToldElsewhereError(str(error))
    told.exit_code = exit_code_of(error)
    told.__cause__ = error
    return told


def _short(error: RuntimeError) -> str:
    """Why a connection failed, without the library's source lines and advice."""
    reason = re.search(
        r"(?i)connection (was likely )?\w+( by peer)?|timed out( after \w+)?|timeout|broken pipe", str(error)
    )
    return reason[0] if reason else described(error)


def _joined(problems: list[str]) -> SharedError | None:
    if len(set(problems)) == 1:
        return SharedError(problems[0]) if problems[0] else None
    return SharedError("; ".join(f"rank {rank}: {text}" for rank, text in enumerate(problems) if text))
