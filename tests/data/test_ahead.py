"""Windows gathered ahead of the step: the same ones in the same order, few at a time, and errors reach whoever asks."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError


@pytest.fixture(scope="module")
def data() -> ForecastData:
    return open_data(DataConfig(city_nodes=5, city_days=3, day_of_week=True), GraphConfig())


def batches(data: ForecastData, number: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(number)
    return [rng.choice(data.train.starts_W, size=1 + k % 4) for k in range(number)]


def same(one: Batch, other: Batch) -> bool:
    tensors = ("x_BPNC", "y_BFNO", "observed_BFNO", "labels_BFNO")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)


def gather_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("gather")]


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_batches_are_those_of_one_thread_in_the_same_order(data: ForecastData, workers: int) -> None:
    coming = batches(data)
    gatherer = Gatherer(data, workers)
    with gatherer.following(iter(coming)):
        found = [gatherer.gather(starts) for starts in coming]
        assert len(gather_threads()) <= workers
    assert all(same(batch, data.gather(starts)) for batch, starts in zip(found, coming, strict=True))
    assert [batch.starts.tolist() for batch in found] == [starts.tolist() for starts in coming]
    assert gather_threads() == []
    assert gatherer.waited_seconds > 0


def test_few_batches_are_ahead_and_the_order_is_read_no_further(data: ForecastData) -> None:
    coming, read = batches(data), []

    def reading() -> Iterator[np.ndarray]:
        for number, starts in enumerate(coming):
            read.append(number)
            yield starts

    gatherer = Gatherer(data, 2)
    with gatherer.following(reading()):
        assert len(read) == gatherer.ahead == 3
        gatherer.gather(coming[0])
        assert len(read) == 4
    assert gather_threads() == []
    gatherer.gather(coming[5])  # nothing is followed any more: gathered now
    with gatherer.following(coming[6:]):  # what was left of the first order is forgotten
        assert same(gatherer.gather(coming[6]), data.gather(coming[6]))
    assert len(read) == 4


def test_an_array_that_is_filled_again_changes_no_batch(data: ForecastData) -> None:
    buffer = np.zeros(2, dtype=np.int64)

    def refilled() -> Iterator[np.ndarray]:
        for number in range(6):
            buffer[:] = number
            yield buffer

    gatherer = Gatherer(data, 1)
    with gatherer.following(refilled()):
        for number in range(6):
            assert gatherer.gather(np.full(2, number)).starts.tolist() == [number, number]


def test_windows_out_of_turn_are_a_bug_that_is_noticed(data: ForecastData) -> None:
    gatherer = Gatherer(data, 1)
    with gatherer.following(batches(data)), pytest.raises(RuntimeError, match="come next"):
        gatherer.gather(np.array([1, 2, 3]))


def test_an_error_reaches_the_one_who_asks_with_its_traceback(data: ForecastData) -> None:
    too_late = data.series.num_steps
    coming = [data.train.starts_W[:2], np.array([too_late]), data.train.starts_W[:1]]
    gatherer = Gatherer(data, 2)
    with gatherer.following(coming):
        gatherer.gather(coming[0])
        with pytest.raises(IndexError, match=f"index {too_late}") as caught:
            gatherer.gather(coming[1])
        assert "dataset.py" in {entry.path.name for entry in caught.traceback}
    assert gather_threads() == []

    def wrong() -> Iterator[np.ndarray]:
        yield coming[0]
        raise UserError("position 9 is not within an epoch")

    with pytest.raises(UserError, match="position 9"), gatherer.following(wrong()):
        raise AssertionError("the order is wrong at once")
    assert gather_threads() == []
