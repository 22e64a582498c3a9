"""Counters of a run: what a step adds, what an epoch clears, what a checkpoint brings back."""

import math

from dcrnn_fast.training.progress import Outcome, Progress
from tests.records.rows import row

GOOD = Outcome(error_sum=12.0, loss=3.0, norm=2.0, observed=4, finite=True)
BAD = Outcome(error_sum=math.nan, loss=math.nan, norm=math.inf, observed=4, finite=False)
OVERFLOW = Outcome(error_sum=1.0, loss=1.0, norm=math.inf, observed=4, finite=False, only_overflow=True)


def test_a_skipped_step_counts_as_a_step_and_adds_nothing_else() -> None:
    progress = Progress()
    for position, outcome in enumerate((GOOD, BAD, BAD, OVERFLOW), start=1):
        progress.count_step(outcome, 8 * position)
    assert (progress.step, progress.position, progress.good_steps, progress.skipped_steps) == (4, 32, 1, 3)
    assert progress.bad_in_a_row == 2, "an overflow is the loss scale's own"
    assert (progress.error_sum, progress.observed, progress.norm_sum) == (12.0, 4, 2.0)
    progress.count_step(GOOD, 40)
    assert progress.bad_in_a_row == 0
    assert (progress.error_sum, progress.observed, progress.norm_sum) == (24.0, 8, 4.0)


def test_a_finished_epoch_clears_its_sums_and_keeps_its_row() -> None:
    progress = Progress(bad_in_a_row=1)
    progress.count_step(GOOD, 8)
    progress.train_seconds = 3.0
    progress.finish_epoch(row(1))
    assert progress == Progress(epoch=1, step=1, history=[row(1)])


def test_the_best_epoch_is_the_first_of_the_smallest_errors() -> None:
    assert (Progress().best_epoch, Progress().best_row, Progress().best_error) == (None, None, math.inf)
    history = [row(1, validation_error=math.nan), row(2, validation_error=2.0, validation_mae=7.0), row(3)]
    history += [row(4, validation_error=0.25, validation_mae=1.0)]
    progress = Progress(history=history)
    assert (progress.best_epoch, progress.best_error, progress.best_validation_mae) == (3, 0.25, 2.5)


def test_an_older_history_was_ranked_by_the_mae() -> None:
    history = [row(k, validation_error=None, validation_mae=mae) for k, mae in enumerate((3.0, 2.0, 2.5), start=1)]
    progress = Progress(history=history)
    assert (progress.best_epoch, progress.best_validation_mae) == (2, 2.0)


def test_a_checkpoint_holds_all_of_it_as_plain_values() -> None:
    progress = Progress(epoch=1, step=9, position=16, error_sum=1.5, observed=7, norm_sum=2.0, good_steps=1)
    progress.history = [row(1, targets={"flow": 2.0, "share": 0.5}), row(2, validation_error=None)]
    state = progress.to_state()
    assert state["history"] == [each.to_dict() for each in progress.history]
    assert "validation_error" not in state["history"][1]
    assert Progress.from_state(state | {"optimizer": {}}) == progress
