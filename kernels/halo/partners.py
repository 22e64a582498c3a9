"""Those that share a graph, as the operators see them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor


class Partners(Protocol):
    """The ranks that share a graph; their exchanges happen in the same order on all of them.

    Attributes:
        rank, size: this rank's number among them, which is its part's, and how many they are.
        bytes_sent: by this rank, so far.
    """

    bytes_sent: int

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...

    def start(self, sends: Sequence[Tensor], receives: Sequence[Tensor]) -> Callable[[], None]:
        """Begins to send ``sends[q]`` to partner q and to fill ``receives[q]`` from it; contiguous tensors, any dtype.

        Empty ones do not travel. All stay untouched until the function that is returned, which waits, returns.
        """
        ...
