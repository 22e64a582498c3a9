"""Scheduled sampling: the published schedule, and coins that are a pure function of (seed, step)."""

import math
import warnings

import pytest
import torch

from dcrnn_fast.model.scheduled_sampling import feed_label_coins, label_probability


@pytest.mark.parametrize("step", [0, 1, 375, 2000, 15_202, 40_000])
def test_published_schedule(step: int) -> None:
    assert label_probability(step, 2000) == pytest.approx(2000 / (2000 + math.exp(step / 2000)), rel=1e-12)


def test_never_overflows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert label_probability(10**9, 2000) == 0
        assert label_probability(709 * 2000 + 5000, 2000) < 1e-300


def test_coins_are_a_pure_function_of_seed_and_step() -> None:
    first = feed_label_coins(7, 15_000, 12, 2000)
    torch.rand(5)  # other draws in between change nothing
    assert torch.equal(first, feed_label_coins(7, 15_000, 12, 2000))
    others = [feed_label_coins(7, 15_000 + i, 12, 2000) for i in range(1, 20)]
    assert any(not torch.equal(first, other) for other in others)
    assert any(not torch.equal(first, feed_label_coins(seed, 15_000, 12, 2000)) for seed in range(8, 20))


def test_coins_fall_as_often_as_the_schedule_says() -> None:
    step, decay = 15_202, 2000.0
    share = torch.stack([feed_label_coins(seed, step, 50, decay) for seed in range(400)]).double().mean().item()
    probability = label_probability(step, decay)
    assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / 20_000)
    assert feed_label_coins(0, 0, 12, decay).all()
    assert not feed_label_coins(0, 10**6, 12, decay).any()
