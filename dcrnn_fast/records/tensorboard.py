"""RESULTS/tensorboard: the curves of a run, for TensorBoard."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcrnn_fast.config.sections import Config
from dcrnn_fast.records.events import EpochDone, EpochRow, Event, Started, Stepped
from dcrnn_fast.records.packages import require_package
from dcrnn_fast.records.watcher import Place, Watcher

FOLDER = "tensorboard"


class TensorBoard(Watcher):
    """Scalars by optimiser step. A resumed run takes back what lies beyond the step that it goes on from."""

    slow = True
    files = (f"{FOLDER}/",)

    def __init__(self, config: Config, place: Place) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if not isinstance(threading.excepthook, _OfOtherThreads):
            threading.excepthook = _OfOtherThreads(threading.excepthook)
        self._make = SummaryWriter
        self._folder = Path(config.output.results, FOLDER)
        self._writer: Any = None

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return config.watch.tensorboard

    @classmethod
    def require(cls, config: Config) -> None:
        require_package("tensorboard", "--tensorboard", "dcrnn_fast[tensorboard]")

    def see(self, event: Event) -> None:
        match event:
            case Started():
                goes_on = event.resumed and any(self._folder.glob("events.*"))
                self._writer = self._make(str(self._folder), purge_step=event.step + 1 if event.resumed else None)
                for row in () if goes_on else event.history:
                    self._add_row(row)
            case Stepped():
                self._add("step/loss", event.loss, event.step)
                self._add("step/learning_rate", event.learning_rate, event.step)
            case EpochDone(row):
                self._add_row(row)
                self._writer.flush()

    def lose(self) -> None:
        self._writer = None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add_row(self, row: EpochRow) -> None:
        for name, value in row.to_dict().items():
            if name not in ("epoch", "step"):
                self._add(f"epoch/{name}", value, row.step)

    def _add(self, name: str, value: float, step: int) -> None:
        if self._writer is not None and math.isfinite(value):
            self._writer.add_scalar(name, value, step)


class _OfOtherThreads:
    """``threading.excepthook`` without the tracebacks of TensorBoard's own thread: its next call raises that error."""

    def __init__(self, hook: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._hook = hook

    def __call__(self, failed: threading.ExceptHookArgs) -> None:
        if type(failed.thread).__module__.split(".")[0] != "tensorboard":
            self._hook(failed)
