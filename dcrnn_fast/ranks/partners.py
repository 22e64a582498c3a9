"""The ranks that share a graph, over a torch.distributed group: what the divided operators exchange rows with."""

import time
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from dcrnn_fast.ranks.failure import Meeting, SharedError

_WHAT = "exchanging rows of the graph"


class GroupPartners:
    """``dcrnn_fast.kernels.halo.Partners``: an exchange is one collective of the group.

    Args:
        meeting: all processes of the run, for the message of one that fails.
        members: the partners' ranks in the run, in the order of their parts; this rank is one of them.
        group: the process group of the members, in the same order.
    """

    def __init__(self, meeting: Meeting, members: Sequence[int], group: dist.ProcessGroup) -> None:
        self._meeting, self._members, self._group = meeting, list(members), group
        self.bytes_sent = 0
        self.waited_seconds = 0.0
        """in all, for exchanges that were not over when their rows were needed"""

    @property
    def rank(self) -> int:
        """This rank's number among the partners."""
        return self._members.index(self._meeting.rank)

    @property
    def size(self) -> int:
        """How many partners there are."""
        return len(self._members)

    def __deepcopy__(self, memo: object) -> "GroupPartners":
        """Itself: connections have no copy."""
        return self

    def start(self, send: Tensor, sent: Sequence[int], receive: Tensor, received: Sequence[int]) -> Callable[[], None]:
        """Begins an exchange of rows; the function that is returned waits for it.

        Raises:
            SharedError: a partner is gone; the message is that of the rank that failed first.
        """
        # One collective: with gloo, single messages of 160 kB between two ranks took five times as long.
        try:
            work = dist.all_to_all_single(
                _bytes(receive), _bytes(send), list(received), list(sent), group=self._group, async_op=True
            )
        except RuntimeError as error:
            raise self._failed(error) from error
        self.bytes_sent += send.numel() * send.element_size()

        def wait() -> None:
            began = time.perf_counter()
            try:
                work.wait()
            except RuntimeError as error:
                raise self._failed(error) from error
            self.waited_seconds += time.perf_counter() - began

        return wait

    def _failed(self, error: RuntimeError) -> SharedError:
        others = [member for member in self._members if member != self._meeting.rank]
        return self._meeting.what_failed(f"{_WHAT} with {self._meeting.named(others)}", error)


def _bytes(rows: Tensor) -> Tensor:
    """A view of the same memory that a backend without the tensor's dtype can send."""
    return rows.view(torch.uint8)
