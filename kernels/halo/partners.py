"""Those that share a graph, as the operators see them; and none of them, for what one rank alone can find out."""

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

    def start(self, send: Tensor, sent: Sequence[int], receive: Tensor, received: Sequence[int]) -> Callable[[], None]:
        """Begins to send the first ``sent[0]`` rows of ``send`` to partner 0, the next ``sent[1]`` to partner 1 and so
        on, and to fill ``receive`` likewise; all partners call it. Contiguous tensors, any dtype, rows of equal bytes.

        Both stay untouched until the function that is returned, which waits, returns.
        """
        ...


class Absent:
    """Partners who are not there: nothing travels, and the rows that would come are zeros.

    With them one process takes a step of its part of a graph alone, in the memory of a real step.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.bytes_sent = rank, size, 0

    def start(self, send: Tensor, sent: Sequence[int], receive: Tensor, received: Sequence[int]) -> Callable[[], None]:
        """As ``Partners.start``."""
        receive.zero_()
        return lambda: None
