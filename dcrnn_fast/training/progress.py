"""Where training stands: everything that changes while it runs, except weights and optimiser."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from dcrnn_fast.training.schedule import best_epoch

Row = dict[str, Any]


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
    history: list[Row] = field(default_factory=list)
    """one row for each finished epoch: what metrics.csv holds"""

    @property
    def validation_errors(self) -> list[float]:
        """By which epochs are ranked; a history from before there was such a column was ranked by the MAE."""
        return [row["validation_error" if "validation_error" in row else "validation_mae"] for row in self.history]

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
    def best_row(self) -> Row | None:
        """The best epoch's row."""
        best = self.best_epoch
        return None if best is None else self.history[best - 1]

    @property
    def best_validation_mae(self) -> float | None:
        return None if self.best_row is None else self.best_row["validation_mae"]

    def finish_epoch(self, row: Row) -> None:
        """Keeps the row and starts the next epoch from nothing."""
        self.history.append(row)
        self.epoch += 1
        self.position = self.observed = self.good_steps = self.skipped_steps = 0
        self.error_sum = self.norm_sum = self.train_seconds = 0.0

    def to_state(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Progress":
        made = cls(**{item.name: state[item.name] for item in fields(cls)})
        made.history = [dict(row) for row in made.history]
        return made
