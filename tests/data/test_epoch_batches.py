"""Every window of an epoch is used exactly once, whatever the ranks, micro-batches and the place of a resume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.data.batches import GlobalBatches, epoch_order, share
from dcrnn_fast.errors import UserError


@given(
    num_windows=st.integers(0, 200),
    micro_batch=st.integers(1, 9),
    world=st.integers(1, 5),
    micro=st.integers(1, 4),
    epoch=st.integers(0, 5),
    data=st.data(),
)
def test_each_window_exactly_once_from_any_position(
    num_windows: int, micro_batch: int, world: int, micro: int, epoch: int, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, num_windows))
    batches = GlobalBatches(num_windows, micro_batch * world * micro, seed=3)
    used: list[int] = []
    for batch in batches.epoch(epoch, position):
        shares = [piece for rank in range(world) for piece in batch.share(rank, world, micro)]
        assert len(shares) == world * micro
        sizes = [len(piece) for piece in shares]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= micro_batch
        assert sorted(np.concatenate(shares)) == sorted(batch.windows)
        assert batch.stop - batch.start == len(batch.windows)
        used += batch.windows.tolist()
    assert used == epoch_order(num_windows, 3, epoch)[position:].tolist()
    assert sorted([*used, *epoch_order(num_windows, 3, epoch)[:position].tolist()]) == list(range(num_windows))


def test_a_resume_with_another_world_size_uses_the_rest_of_the_epoch() -> None:
    before = list(GlobalBatches(100, 2 * 8, seed=1).epoch(4))[:3]
    after = GlobalBatches(100, 3 * 8, seed=1).epoch(4, before[-1].stop)
    used = np.concatenate([batch.windows for batch in [*before, *after]])
    assert sorted(used) == list(range(100))


def test_the_order_is_a_pure_function_that_changes_with_seed_and_epoch() -> None:
    assert np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 3))
    assert not np.array_equal(epoch_order(50, 1, 2), epoch_order(50, 2, 2))
    # Pinned: a checkpoint from an older version must find the same order.
    assert epoch_order(10, 0, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]


def test_without_shuffling_windows_stand_in_time_order() -> None:
    batches = GlobalBatches(10, 4, shuffle=False)
    assert [batch.windows.tolist() for batch in batches.epoch(7)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches.num_batches() == 3
    assert batches.num_batches(position=8) == 1


def test_full_batches_are_shared_in_stretches() -> None:
    shares = [share(np.arange(12), rank, 2, 2) for rank in range(2)]
    assert [piece.tolist() for piece in shares[0]] == [[0, 1, 2], [6, 7, 8]]
    assert [piece.tolist() for piece in shares[1]] == [[3, 4, 5], [9, 10, 11]]


def test_a_position_outside_the_epoch_is_refused() -> None:
    with pytest.raises(UserError, match="position 11 is not within an epoch of 10 windows"):
        next(GlobalBatches(10, 4).epoch(0, 11))
