"""The position of training: everything that changes while it runs, except weights and optimiser."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dcrnn_fast.checkpoints.state import require_count, require_named, require_number
from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few
from dcrnn_fast.records.events import COLUMNS, OPTIONAL, EpochRow
from dcrnn_fast.training.schedule import best_epoch


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step; the same on every rank.

    Attributes:
        error_sum, loss: in the loss's unit, over the global batch; norm: of the gradient before clipping.
        observed: targets that the loss counts.
        finite: loss and norm are; otherwise the weights were left alone.
        only_overflow: not finite, and its cure is a smaller loss scale (fp16).
    """

    error_sum: float
    loss: float
    norm: float
    observed: int
    finite: bool
    only_overflow: bool = False


@dataclass(slots=True)
class Progress:
    """Counters and sums; the same on every rank, and all of it in each checkpoint."""

    epoch: int = 0
    """finished epochs"""
    step: int = 0
    """global batches used, skipped ones included"""
    position: int = 0
    """windows of the current epoch that were used"""
    error_sum: float = 0.0
    """of the current epoch, over the steps that were not skipped; in the loss's unit"""
    observed: int = 0
    norm_sum: float = 0.0
    good_steps: int = 0
    """of the current epoch"""
    skipped_steps: int = 0
    """of the current epoch"""
    bad_in_a_row: int = 0
    train_seconds: float = 0.0
    history: list[EpochRow] = field(default_factory=list)
    """one row for each finished epoch: the rows of metrics.csv"""

    @property
    def validation_errors(self) -> list[float]:
        """The errors that epochs are ranked by, one for each finished epoch."""
        return [row.error for row in self.history]

    @property
    def best_epoch(self) -> int | None:
        """The best epoch, counted from 1; None before the first validation."""
        index = best_epoch(self.validation_errors)
        return None if index is None else index + 1

    @property
    def best_error(self) -> float:
        """The smallest validation error; infinite before there is one."""
        best = self.best_epoch
        return math.inf if best is None else self.validation_errors[best - 1]

    @property
    def best_row(self) -> EpochRow | None:
        """The best epoch's row."""
        best = self.best_epoch
        return None if best is None else self.history[best - 1]

    @property
    def best_validation_mae(self) -> float | None:
        return None if self.best_row is None else self.best_row.validation_mae

    def count_step(self, outcome: Outcome, position: int) -> None:
        """Counts a step, after which ``position`` windows of the epoch are used."""
        self.step += 1
        self.position = position
        if outcome.finite:
            self.bad_in_a_row = 0
            self.good_steps += 1
            self.error_sum += outcome.error_sum
            self.observed += outcome.observed
            self.norm_sum += outcome.norm
        else:
            self.skipped_steps += 1
            self.bad_in_a_row += not outcome.only_overflow

    def finish_epoch(self, row: EpochRow) -> None:
        """Keeps the row and starts the next epoch from nothing."""
        self.history.append(row)
        self.epoch += 1
        self.position = self.observed = self.good_steps = self.skipped_steps = 0
        self.error_sum = self.norm_sum = self.train_seconds = 0.0

    def to_state(self) -> dict[str, Any]:
        state = {item.name: getattr(self, item.name) for item in fields(self)}
        return state | {"history": [row.to_dict() for row in self.history]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """The progress of ``to_state``; other keys of ``state`` are left alone.

        Raises:
            UserError: a counter or sum is missing or cannot be, or a row of the history is none.
        """
        for name in _COUNTERS:
            require_count(name, state.get(name))
        for name in _SUMS:
            require_number(name, state.get(name))
        history = state.get("history")
        if not isinstance(history, list):
            raise UserError(f"history must be a list of epochs, got {shown(history)}")
        for number, row in enumerate(history, start=1):
            _require_row(row)
            if row["epoch"] != number:
                raise UserError(f"history: row {number} is of epoch {row['epoch']}")
        made = cls(**{name: state[name] for name in (*_COUNTERS, *_SUMS)})
        made.history = [EpochRow.from_dict(row) for row in history]
        return made


_SUMS = ("error_sum", "norm_sum", "train_seconds")
_COUNTERS = tuple(item.name for item in fields(Progress) if item.name not in (*_SUMS, "history"))
_WHOLE = ("epoch", "step", "skipped_steps", "best")


def _require_row(row: Any) -> None:
    require_named("a row of history", row)
    if missing := sorted(set(COLUMNS) - row.keys() - set(OPTIONAL)):
        raise UserError(f"a row of history lacks {first_few(missing)}")
    for name, value in row.items():
        # An epoch that diverged has NaN for its errors.
        if name in _WHOLE or type(value) is not float:
            require_count(f"history: {shown(name)}", value)
