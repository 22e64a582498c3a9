"""Windows gathered on the host, with threads ahead of the step that uses them: the same batches, in the same order.

Threads, not processes: numpy copies without the interpreter's lock, nothing is sent between processes, and a signal to
the process group ends no worker. A thread ends with the epoch, a stop or an error, once its batch is gathered.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from dcrnn_fast.data.dataset import Batch, ForecastData


class Gatherer:
    """Gathers windows of ``data``.

    Args:
        workers: threads; 0: each batch is gathered when it is asked for.

    Attributes:
        ahead: so many batches at most are gathered, or being gathered, and not yet asked for.
        waited_seconds: for which ``gather`` has kept its callers, in all.
    """

    def __init__(self, data: ForecastData, workers: int = 0) -> None:
        self._data, self.workers = data, workers
        self.ahead = workers + 1 if workers else 0
        self.waited_seconds = 0.0
        self._queue: deque[tuple[np.ndarray, Future[Batch]]] = deque()
        self._coming: Iterator[np.ndarray] = iter(())
        self._threads: ThreadPoolExecutor | None = None

    @contextmanager
    def following(self, coming: Iterable[np.ndarray]) -> Iterator[None]:
        """While the body runs, ``gather`` is asked for these windows, in this order.

        Args:
            coming: first rows of the windows of each batch; read as far as batches are gathered, with workers alone.
        """
        if not self.workers:
            yield
            return
        self._threads, self._coming = ThreadPoolExecutor(self.workers, "gather"), iter(coming)
        try:
            self._begin_more()
            yield
        finally:
            self._queue.clear()
            self._coming = iter(())
            self._threads.shutdown(cancel_futures=True)
            self._threads = None

    def gather(self, starts: np.ndarray) -> Batch:
        """``ForecastData.gather``, perhaps done already.

        Raises:
            Any error of gathering these windows, as the thread met it.
        """
        began = time.perf_counter()
        try:
            if not self._queue:
                return self._data.gather(starts)
            expected, batch = self._queue.popleft()
            if not np.array_equal(expected, starts):
                raise RuntimeError(
                    f"windows at {expected[:3]} come next, those at {np.asarray(starts)[:3]} were asked for"
                )
            self._begin_more()
            return batch.result()
        finally:
            self.waited_seconds += time.perf_counter() - began

    def _begin_more(self) -> None:
        assert self._threads is not None
        while len(self._queue) < self.ahead and (starts := next(self._coming, None)) is not None:
            # A copy: the caller may fill the same array again.
            self._queue.append((starts.copy(), self._threads.submit(self._data.gather, starts.copy())))
