"""The loss by its formulas, on numbers small enough to check by hand."""

import math

import pytest
import torch

from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.training.loss import DEVIATION, error_sum, gradient_factor, in_loss_unit, loss_value, original_units

ERRORS = (0.5, -3.0, 2.0, 40.0)
OBSERVED = (True, True, True, False)


def sum_of(loss: str, weight_O: torch.Tensor | None = None) -> float:
    prediction_BFNO = torch.tensor(ERRORS).reshape(1, 2, 2, 1) + 7
    observed_BFNO = torch.tensor(OBSERVED).reshape(1, 2, 2, 1)
    y_BFNO = torch.full((1, 2, 2, 1), 7.0)
    return error_sum(
        prediction_BFNO, y_BFNO, observed_BFNO, TrainingConfig(loss=loss, huber_delta=2.0), weight_O
    ).item()


@pytest.mark.parametrize(
    ("loss", "total"),
    [("mae", 5.5), ("mse", 0.25 + 9 + 4), ("rmse", 0.25 + 9 + 4), ("huber", 0.125 + 2 * (3 - 1) + 2.0)],
)
def test_the_sum_is_of_observed_targets_only(loss: str, total: float) -> None:
    assert sum_of(loss) == pytest.approx(total)
    assert sum_of(loss, torch.tensor([3.0], dtype=torch.float64)) == pytest.approx(3 * total)


@pytest.mark.parametrize(("loss", "value"), [("mae", 4.0), ("mse", 4.0), ("huber", 4.0), ("rmse", 2.0)])
def test_the_loss_is_the_mean_over_observed_targets_or_its_root(loss: str, value: float) -> None:
    config = TrainingConfig(loss=loss)
    assert loss_value(torch.tensor(12.0), 3, config).item() == value
    assert loss_value(torch.tensor(0.0), 0, config).item() == 0.0


def test_a_roots_gradient_is_the_means_times_its_factor() -> None:
    config = TrainingConfig(loss="rmse")
    prediction = torch.tensor([[[[3.0], [1.0]]]], requires_grad=True)
    y, observed = torch.zeros(1, 1, 2, 1), torch.ones(1, 1, 2, 1, dtype=torch.bool)
    mean = error_sum(prediction, y, observed, config) / 2
    (gradient,) = torch.autograd.grad(mean, prediction)
    factor = gradient_factor(loss_value(mean.detach() * 2, 2, config), config)
    assert factor is not None
    root = ((prediction - y) ** 2).mean().sqrt()
    torch.testing.assert_close(gradient * factor, torch.autograd.grad(root, prediction)[0])
    assert gradient_factor(torch.tensor(0.0), config) == 0
    assert gradient_factor(torch.tensor(2.0), TrainingConfig(loss="mse")) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_units_are_undone_in_at_least_float32(dtype: torch.dtype) -> None:
    scaled_BFNO = torch.full((1, 1, 1, 2), 0.5, dtype=dtype)
    mean_O, std_O = torch.tensor([60.125, 0.0], dtype=torch.float64), torch.tensor([0.25, 1.0], dtype=torch.float64)
    restored = original_units(scaled_BFNO, mean_O, std_O)
    assert restored.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert restored.flatten().tolist() == [60.25, 0.5]


@pytest.mark.parametrize(("unit", "difference"), [("original", 6.0), ("deviation", DEVIATION * 2)])
def test_an_error_of_two_deviations_in_the_unit_of_the_loss(unit: str, difference: float) -> None:
    mean_O, std_O = torch.tensor([100.0]), torch.tensor([3.0])
    labels_BFNO = torch.full((1, 1, 1, 1), -1.0)
    forecast_BFNO, target_BFNO = in_loss_unit(
        labels_BFNO + 2, torch.full((1, 1, 1, 1), 97.0), labels_BFNO, mean_O, std_O, TrainingConfig(loss_unit=unit)
    )
    assert (forecast_BFNO - target_BFNO).item() == pytest.approx(difference)
    assert math.isfinite(target_BFNO.item())
