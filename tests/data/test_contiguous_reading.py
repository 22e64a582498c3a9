"""``--reading contiguous``: each window once an epoch as ever, and each rank in its own part of the series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.data.batches import GlobalBatches
from dcrnn_fast.data.contiguous import BUFFER, STRETCHES, contiguous_order


@given(
    num_windows=st.integers(0, 700),
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
    used: list[int] = []
    batches = GlobalBatches(num_windows, micro_batch * world * micro, seed=3, reading="contiguous")
    for batch in batches.epoch(epoch, position):
        shares = [piece for rank in range(world) for piece in batch.share(rank, world, micro)]
        assert len(shares) == world * micro
        assert max(map(len, shares)) <= micro_batch
        together = np.concatenate(shares).tolist()
        assert together == sorted(together) == batch.windows.tolist()
        assert batch.stop - batch.start == len(batch.windows)
        used += together
    before = contiguous_order(num_windows, 3, epoch)[:position].tolist()
    assert sorted([*used, *before]) == list(range(num_windows))


def test_other_ranks_use_the_rest_of_the_epoch() -> None:
    before = list(GlobalBatches(1000, 2 * 8, seed=1, reading="contiguous").epoch(4))[:7]
    after = GlobalBatches(1000, 3 * 5, seed=1, reading="contiguous").epoch(4, before[-1].stop)
    used = np.concatenate([batch.windows for batch in [*before, *after]])
    assert sorted(used) == list(range(1000))


@pytest.mark.parametrize(("world", "batch"), [(1, 1), (2, 1), (2, 4), (4, 1), (4, 16), (8, 8)])
def test_each_rank_reads_its_own_part_and_of_that_a_little_at_a_time(world: int, batch: int) -> None:
    num_windows = 64 * 512
    batches = list(GlobalBatches(num_windows, world * batch, seed=5, reading="contiguous").epoch(2))
    for rank in range(world):
        mine = np.concatenate([b.share(rank, world, 1)[0] for b in batches])
        assert set(mine * world // num_windows) == {rank}
        stretches, span = STRETCHES // world, 4 * STRETCHES // world  # four rounds
        for first in range(0, len(mine) - span, 37 * span):
            near = mine[first : first + span]
            for stretch in np.unique(near * STRETCHES // num_windows):
                here = near[near * STRETCHES // num_windows == stretch] % 512
                wide = int(np.ptp(here))  # a stretch is gone through from anywhere, and goes on at its beginning
                assert min(wide, 512 - wide) <= 2 * BUFFER
        assert len(np.unique(mine[: len(mine) // 2] * STRETCHES // num_windows)) == stretches


def test_the_order_is_a_pure_function_that_changes_with_seed_and_epoch() -> None:
    assert np.array_equal(contiguous_order(5000, 1, 2), contiguous_order(5000, 1, 2))
    assert not np.array_equal(contiguous_order(5000, 1, 2), contiguous_order(5000, 1, 3))
    assert not np.array_equal(contiguous_order(5000, 1, 2), contiguous_order(5000, 2, 2))
    # Pinned: a checkpoint from an older version must find the same order.
    assert contiguous_order(70, 0, 0)[:8].tolist() == [25, 60, 7, 42, 34, 68, 16, 51]


def test_windows_that_follow_each_other_in_time_come_in_another_order() -> None:
    order = contiguous_order(64 * 512, 0, 0)
    first = order[order < 512]
    steps = np.diff(first)
    assert np.abs(steps[np.abs(steps) < 256]).mean() > BUFFER / 8
    assert (steps == 1).mean() < 0.1
