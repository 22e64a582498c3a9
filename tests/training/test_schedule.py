"""Learning-rate schedules against their closed forms and PyTorch's own; early stopping."""

import math

import pytest
import torch

from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.training.schedule import best_epoch, has_stalled, learning_rate, plateaus


def rate(
    config: TrainingConfig, epoch: int = 0, step: int = 0, total: int = 1000, errors: tuple[float, ...] = ()
) -> float:
    return learning_rate(config, epoch=epoch, step=step, total_steps=total, validation_errors=errors)


def test_published_schedule_drops_after_epochs_20_30_40_50_and_has_a_floor():
    config = TrainingConfig()
    wanted = {0: 1e-2, 19: 1e-2, 20: 1e-3, 29: 1e-3, 30: 1e-4, 39: 1e-4, 40: 1e-5, 49: 1e-5, 50: 2e-6, 99: 2e-6}
    for epoch, value in wanted.items():
        assert rate(config, epoch=epoch) == pytest.approx(value, rel=1e-12), epoch


def test_constant_never_moves():
    config = TrainingConfig(schedule="constant", learning_rate=3e-3)
    assert {rate(config, epoch=epoch, step=epoch * 10) for epoch in (0, 20, 80)} == {3e-3}


def test_cosine_equals_pytorchs_annealing():
    config = TrainingConfig(schedule="cosine", learning_rate=0.02, min_learning_rate=1e-4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-4)
    for step in range(50):
        assert rate(config, step=step, total=50) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()
    assert rate(config, step=50, total=50) == pytest.approx(1e-4)


def test_plateau_equals_pytorchs():
    errors = [5, 4, 4.5, 4.2, 4.1, 3.9, 3.9, 4, 5, 6, 7, 3.8, 3.7, 9, 9, 9, 9, 9, 9, 9, 9]
    config = TrainingConfig(schedule="plateau", learning_rate=0.1, plateau_patience=2, min_learning_rate=1e-3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=2, threshold=0.0, threshold_mode="abs", min_lr=1e-3
    )
    for epoch, error in enumerate(errors):
        assert rate(config, epoch=epoch, errors=tuple(errors[:epoch])) == pytest.approx(optimizer.param_groups[0]["lr"])
        theirs.step(error)
    assert plateaus(errors, 2) == 4


@pytest.mark.parametrize("schedule", ["published", "constant", "cosine", "plateau"])
def test_warm_up_is_linear_and_ends_in_the_schedule(schedule):
    config = TrainingConfig(schedule=schedule, warmup_steps=10)
    assert [rate(config, step=step) for step in range(10)] == pytest.approx([0.001 * (step + 1) for step in range(10)])
    assert rate(config, step=10) == pytest.approx(0.01)


def test_early_stopping_counts_epochs_without_a_better_error():
    errors = [3.0, 2.0, 2.0, 2.5, math.nan]
    assert best_epoch(errors) == 1
    assert not has_stalled(errors, 4)
    assert has_stalled(errors, 3)
    assert not has_stalled(errors, 0)
    assert not has_stalled([], 1)
    assert best_epoch([math.nan]) is None
    assert has_stalled([math.nan, math.nan], 2)
