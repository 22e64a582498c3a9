"""Checkpoints written in the background: copied between two steps, written while the next ones run.

One thread writes, one checkpoint after the other, and at most one is behind: it alone changes the manifest, and no more
memory is taken than one copy of the state and the bytes of its file.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dcrnn_fast.checkpoints.save import copy_of, write_checkpoint
from dcrnn_fast.checkpoints.state import State


class Writer:
    """Writes the checkpoints of one folder.

    Args:
        before_rename: called in the thread before each file gets its name, such as to check that the folder is still
            this run's.
    """

    def __init__(self, folder: Path, before_rename: Callable[[], None] = lambda: None) -> None:
        self._folder, self._before_rename = folder, before_rename
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[None] | None = None
        self._copy: State | None = None

    def put(self, state: State, names: Sequence[str], delete: Sequence[str] = ()) -> None:
        """Copies ``state``, to be written under each name; then the files ``delete`` go. Waits for the save before.

        Raises:
            UserError: that save failed.
        """
        self.finished(wait=True)
        self._copy = copy_of(state, self._copy)
        self._pending = self._thread.submit(
            write_checkpoint, self._folder, self._copy, tuple(names), tuple(delete), self._before_rename
        )

    def finished(self, *, wait: bool = False) -> bool:
        """Whether a save is complete, its files in their place and listed; True once for each.

        Args:
            wait: for the one that is being written.
        Raises:
            UserError: it failed (disk full, folder gone); the files that were there before stay. Raised once.
        """
        if self._pending is None or not (wait or self._pending.done()):
            return False
        pending = self._pending
        # Taken after the wait: whoever interrupts it may wait again.
        error = pending.exception()
        self._pending = None
        if error is not None:
            raise error
        return True

    def close(self) -> None:
        """Waits until nothing is written any more; an error that nobody asked for is dropped."""
        self._thread.shutdown()
