"""When a run saves, under which names, and when that is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.checkpoints.retention import is_written, kept_files, name_of_epoch, to_delete
from dcrnn_fast.checkpoints.save import BEST, LATEST
from dcrnn_fast.checkpoints.writer import Writer
from dcrnn_fast.messages import described
from dcrnn_fast.records.events import Saved
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.folders import checkpoint_folder
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resume import state_of
from dcrnn_fast.training.run import Run


class Saver:
    """Saves a run's checkpoints in the background, as often as configured; on rank 0 alone.

    Every method may raise the UserError of an earlier save: the disk is full or the folder cannot be written, or
    another run took this one for dead. The previous files stay loadable.
    """

    def __init__(self, run: Run, progress: Progress, watchers: Watchers, lock: FolderLock) -> None:
        self._run, self._progress, self._watchers, self._lock = run, progress, watchers, lock
        self._folder = checkpoint_folder(run.config)
        self._writer = Writer(self._folder, lock.require_held) if run.ranks.is_first else None
        self._coming: Saved | None = None

    def save(self, *names: str) -> None:
        """Copies the run's state, to be written under each name while training goes on."""
        if self._writer is None:
            return
        self.tell_saved(wait=True)
        self._lock.require_held()
        self._writer.put(state_of(self._run, self._progress), names, self._too_many(names))
        self._coming = Saved(self._progress.step, names)

    def after_step(self) -> None:
        """Saves if it is time to."""
        self.tell_saved()
        every = self._run.config.output.save_every_steps
        if every and self._progress.step % every == 0:
            self.save(LATEST)

    def after_epoch(self) -> None:
        """Saves ``latest.pt``, ``best.pt`` if the epoch is the best so far, and if due the epoch's file."""
        progress, output = self._progress, self._run.config.output
        best = [BEST] if progress.best_epoch == progress.epoch else []
        kept = []
        if is_written(progress.epoch, progress.validation_errors, output.save_every_epochs, output.keep_best):
            kept = [name_of_epoch(progress.epoch)]
        # latest.pt first: if the run is killed before the others are there, the next one makes them from it.
        self.save(LATEST, *best, *kept)

    def tell_saved(self, *, wait: bool = False) -> None:
        """Tells of a save once its files are there and listed.

        Args:
            wait: for the one that is being written.
        """
        if self._writer is not None and self._writer.finished(wait=wait) and self._coming is not None:
            self._watchers.tell(self._coming)

    def close(self) -> None:
        """Waits for the last save of a run that failed; its own error is one more line."""
        if self._writer is None:
            return
        try:
            self.tell_saved(wait=True)
        except Exception as error:
            self._watchers.say(described(error))
        finally:
            self._writer.close()

    def _too_many(self, coming: tuple[str, ...]) -> list[str]:
        """The files of epochs that go once ``coming`` are there; never the one that the run was resumed from."""
        output = self._run.config.output
        if output.keep_last is None and output.keep_best == 0:
            return []
        resumed = None if output.resume in (None, "auto") else Path(str(output.resume)).resolve()
        there = {path.name for path in self._folder.glob("epoch_*.pt") if path.resolve() != resumed}
        listed = kept_files(there | set(coming), self._progress.validation_errors, output.save_every_epochs)
        return to_delete(listed, output.keep_last, output.keep_best, coming)


@contextmanager
def saving(run: Run, progress: Progress, watchers: Watchers, lock: FolderLock) -> Iterator[Saver]:
    """A ``Saver``; when the body ends, however it does, nothing is written any more."""
    saver = Saver(run, progress, watchers, lock)
    try:
        yield saver
    finally:
        saver.close()
