"""A run's reports while it goes, as typed values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

TARGET = "validation_mae_"
MEASURED = (
    "data_wait_share",
    "communication_share",
    "gpu_utilisation_percent",
    "cpu_percent",
    "flops_per_second",
    "peak_share",
)
"""columns that may be unknown: measured while the epoch was trained, and by nobody in older versions"""
TIMING_COLUMNS = ("train_seconds", "validation_seconds", "windows_per_second", *MEASURED)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A finished epoch: a row of metrics.csv, an ``epoch`` of events.jsonl, an entry of a checkpoint's history.

    The one place that names the metrics: its fields are the columns, in this order.
    """

    epoch: int
    """counted from 1"""
    step: int
    """optimiser steps in all, skipped ones included"""
    learning_rate: float
    """of the step that comes next"""
    label_probability: float
    """probability that the decoder reads a label instead of its own forecast"""
    train_loss: float
    """over the epoch's steps that were not skipped, in the loss's unit"""
    gradient_norm: float
    """mean over the same steps, before clipping"""
    skipped_steps: int
    validation_mae: float
    """this and the two below: original units, over all observed targets"""
    validation_error: float | None
    """epochs are ranked by it; None: the epoch is of an older version, which ranked by ``validation_mae``"""
    validation_rmse: float
    validation_mape: float
    best: int
    """1: better than all before, else 0"""
    train_seconds: float
    validation_seconds: float
    windows_per_second: float
    """of training"""
    data_wait_share: float | None = None
    """of the time of all ranks' steps: waiting for windows"""
    communication_share: float | None = None
    """the same: counting and adding up over ranks, waiting for slower ones included"""
    gpu_utilisation_percent: float | None = None
    """mean of this epoch's rows of gpu_monitor.csv"""
    cpu_percent: float | None = None
    """mean of this epoch's rows of cpu_monitor.csv"""
    flops_per_second: float | None = None
    """of training, over all ranks: what the model needs, whatever is computed twice"""
    peak_share: float | None = None
    """``flops_per_second`` over what the devices can do at most"""
    targets: Mapping[str, float] = field(default_factory=dict)
    """the validation MAE of each target, if there are several; a column ``validation_mae_NAME`` each, at the end"""

    @property
    def error(self) -> float:
        """The error that epochs are ranked by."""
        return self.validation_mae if self.validation_error is None else self.validation_error

    def to_dict(self) -> dict[str, Any]:
        """Values by column, without those that are unknown."""
        return {name: value for name, value in self.cells().items() if value is not None}

    def cells(self) -> dict[str, Any]:
        """Values by column; None where unknown."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return values | {f"{TARGET}{name}": mae for name, mae in self.targets.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochRow":
        """``to_dict`` undone."""
        targets = {name.removeprefix(TARGET): value for name, value in values.items() if name not in COLUMNS}
        own = {name: value for name, value in values.items() if name in COLUMNS}
        return cls(**{"validation_error": None, **own}, targets=targets)


COLUMNS = tuple(item.name for item in fields(EpochRow) if item.name != "targets")
OPTIONAL = ("validation_error", *MEASURED)


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the user."""

    line: str


@dataclass(frozen=True, slots=True)
class Starting:
    """The folders are this run's; nothing of an earlier one stands there any more, unless this one continues it."""


@dataclass(frozen=True, slots=True)
class Started:
    """Training begins, or goes on.

    Attributes:
        epoch, step: finished ones; history: a row for each finished epoch; ranks: how many.
        train_windows, validation_windows: of an epoch.
        targets: (name, unit) of each target.
        device: that computes, in words.
    """

    resumed: bool
    epoch: int
    step: int
    history: tuple[EpochRow, ...]
    ranks: int
    train_windows: int
    validation_windows: int
    targets: tuple[tuple[str, str], ...]
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Stepped:
    """An optimiser step is done.

    Attributes:
        epoch: finished ones; step: of the run so far; position: windows of this epoch that were used.
        loss: over the epoch so far; learning_rate: of this step.
    """

    epoch: int
    step: int
    position: int
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class BadStep:
    """A step was skipped because loss or gradient was not finite.

    Attributes:
        windows: their first rows; times: of their first targets, ISO.
        ends_run: it was one too many in a row.
    """

    step: int
    gradient_norm: float
    windows: tuple[int, ...]
    times: tuple[str, ...]
    ends_run: bool


@dataclass(frozen=True, slots=True)
class Overflow:
    """A step was skipped because the loss scale (fp16) was too large; ``loss_scale`` is the one that comes next."""

    step: int
    loss_scale: float


@dataclass(frozen=True, slots=True)
class Validating:
    """``done`` of the validation windows are done; ``epoch``: finished ones, without this."""

    epoch: int
    done: int


@dataclass(frozen=True, slots=True)
class Calibrating:
    """After the last epoch: ``done`` of the windows are done whose errors make the prediction intervals."""

    done: int
    windows: int


@dataclass(frozen=True, slots=True)
class Timed:
    """Where this rank's time went in the epoch that was trained; every rank tells its own watchers.

    Attributes:
        epoch: counted from 1; step: of the run so far; steps: those that were timed, fewer after a resume in mid-epoch.
        seconds: of each part, and ``other``; None: not known apart.
    """

    epoch: int
    step: int
    steps: int
    seconds: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank that computes much longer than the others, which wait for it.

    Attributes:
        epoch: counted from 1.
        seconds: of its steps, without communication; median: the same of all ranks.
    """

    epoch: int
    rank: int
    host: str
    seconds: float
    median: float


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch is trained and validated."""

    row: EpochRow


@dataclass(frozen=True, slots=True)
class Saved:
    """Checkpoints are on the disk, all of them of this step."""

    step: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Training is over.

    Attributes:
        reason: "finished", "stalled" (early stopping), or the name of the signal that asked to stop.
        latest: the checkpoint from which the run can go on.
    """

    reason: str
    epoch: int
    step: int
    latest: Path


@dataclass(frozen=True, slots=True)
class Failed:
    """Training is over before its end; ``error`` says why, on one line."""

    error: str


Event = (
    Said
    | Starting
    | Started
    | Stepped
    | BadStep
    | Overflow
    | Validating
    | Calibrating
    | Timed
    | Straggler
    | EpochDone
    | Saved
    | Ended
    | Failed
)
