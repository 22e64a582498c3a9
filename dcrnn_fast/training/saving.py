"""When a run saves, and under which names."""

from dcrnn_fast.checkpoints.files import BEST, LATEST, save_checkpoint
from dcrnn_fast.records.events import Saved
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training.folders import checkpoint_folder, name_of_epoch
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.resume import state_of
from dcrnn_fast.training.run import Run


class Saver:
    """Saves a run's checkpoints, as often as configured; on rank 0 alone."""

    def __init__(self, run: Run, progress: Progress, watchers: Watchers, lock: FolderLock) -> None:
        self._run, self._progress, self._watchers, self._lock = run, progress, watchers, lock

    def save(self, *names: str) -> None:
        """Saves the run's state under each name.

        Raises:
            UserError: the disk is full or the folder cannot be written, or another run took this one for dead; the
                previous files stay loadable.
        """
        if self._run.ranks.is_first:
            self._lock.require_held()
            folder = checkpoint_folder(self._run.config)
            save_checkpoint(folder, state_of(self._run, self._progress), *names)
            self._watchers.tell(Saved(self._progress.step, names))

    def after_step(self) -> None:
        """Saves if it is time to."""
        every = self._run.config.output.save_every_steps
        if every and self._progress.step % every == 0:
            self.save(LATEST)

    def after_epoch(self) -> None:
        """Saves ``latest.pt``, ``best.pt`` if the epoch is the best so far, and if it is time to a file that stays."""
        progress, every = self._progress, self._run.config.output.save_every_epochs
        best = [BEST] if progress.best_epoch == progress.epoch else []
        kept = [name_of_epoch(progress.epoch)] if every and progress.epoch % every == 0 else []
        # latest.pt first: if the run is killed before the others are there, the next one makes them from it.
        self.save(LATEST, *best, *kept)
