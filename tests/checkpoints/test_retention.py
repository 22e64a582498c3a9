"""Which checkpoints of epochs are written, and which stay."""

import math

import pytest

from dcrnn_fast.checkpoints.retention import (
    best_epochs,
    epoch_of_name,
    is_written,
    kept_files,
    name_of_epoch,
    to_delete,
)


def test_names_and_epochs() -> None:
    assert [name_of_epoch(epoch) for epoch in (7, 12345)] == ["epoch_0007.pt", "epoch_12345.pt"]
    assert [epoch_of_name(name) for name in ("epoch_0007.pt", "epoch_12345.pt")] == [7, 12345]
    for other in ("best.pt", "epoch_7.pt.tmp-1-2", "my_epoch_0007.pt", "epoch_x.pt"):
        assert epoch_of_name(other) is None


def test_the_best_epochs_come_in_order_and_nan_never_is_one() -> None:
    errors = [3.0, math.nan, 1.0, 1.0, math.inf, 2.0]
    assert best_epochs(errors, 3) == [3, 4, 6]
    assert best_epochs(errors, 9) == [3, 4, 6, 1]
    assert best_epochs(errors, 0) == []


@pytest.mark.parametrize(
    ("epoch", "every", "keep_best", "written"),
    [(2, 2, 0, True), (3, 2, 0, False), (3, 0, 0, False), (3, 0, 1, False), (3, 0, 2, True), (2, 0, 1, True)],
)
def test_an_epoch_gets_a_file_if_it_is_due_or_among_the_best(
    epoch: int, every: int, keep_best: int, written: bool
) -> None:
    assert is_written(epoch, [9.0, 1.0, 2.0][:epoch], every, keep_best) == written


ERRORS = (5.0, 4.0, 3.0, 6.0, 2.0, math.nan, 7.0)


@pytest.mark.parametrize(
    ("there", "every", "keep_last", "keep_best", "protected", "gone"),
    [
        pytest.param((1, 2, 3, 4), 1, None, 0, (), (), id="the defaults: nothing goes"),
        pytest.param((1, 2, 3, 4), 1, 2, 0, (), (1, 2), id="the last two"),
        pytest.param((1, 2, 3, 4), 1, 9, 0, (), (), id="fewer than may stay"),
        pytest.param((2, 4, 6), 2, 1, 0, (), (2, 4), id="every other epoch"),
        pytest.param((1, 2, 3, 4), 1, 1, 0, (2,), (1, 3), id="the one that the run was resumed from"),
        pytest.param((1, 2, 3, 4), 0, None, 2, (), (1, 4), id="none is due, the two best"),
        pytest.param((2, 3, 4, 5, 6), 2, None, 1, (), (3,), id="due ones stay, a former best goes"),
        pytest.param((2, 3, 4, 5, 6), 2, 1, 1, (), (2, 3, 4), id="the last due one and the best"),
        pytest.param((1, 2, 3, 4, 5), 1, 2, 2, (), (1, 2), id="a best one beside the last ones"),
        pytest.param((5, 7), 5, 1, 1, (), (7,), id="the best is due too"),
        pytest.param((1, 2, 3), 0, 2, 0, (), (1,), id="written when others were due"),
        pytest.param((4, 6), 0, None, 1, (), (6,), id="NaN is not the best"),
        pytest.param((2, 9), 0, None, 1, (), (9,), id="an epoch without an error"),
    ],
)
def test_files_that_go(
    there: tuple[int, ...],
    every: int,
    keep_last: int | None,
    keep_best: int,
    protected: tuple[int, ...],
    gone: tuple[int, ...],
) -> None:
    names = ["latest.pt", "best.pt", "notes.pt", *map(name_of_epoch, reversed(there))]
    listed = kept_files(names, ERRORS, every)
    assert to_delete(listed, keep_last, keep_best, [*map(name_of_epoch, protected)]) == [*map(name_of_epoch, gone)]
