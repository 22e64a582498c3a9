"""The masked loss of an optimiser step, in original units.

Shape legend: B batch, F future steps, N nodes, O output channels.

The loss of a step is the sum of the errors over the global batch (all ranks, all micro-batches) divided by the number
of observed targets in it. That number is known before the first backward, so each micro-batch contributes its own sum
divided by it, gradients add up, and how the batch was cut does not matter.

RMSE is the root of such a mean, and its gradient is the mean's gradient times 1 / (2 RMSE): the step accumulates the
gradient of the squared errors, and multiplies by :func:`gradient_factor` once the sum over all ranks is known.
"""

import torch
from torch import Tensor

from dcrnn_fast.config.sections import TrainingConfig


def original_units(prediction_BFNO: Tensor, mean_O: Tensor, std_O: Tensor) -> Tensor:
    """Undoes the scaling, in float32 (float64 for a float64 model): bf16 would round a speed of 60 to 0.25 mph."""
    if prediction_BFNO.dtype != torch.float64:
        prediction_BFNO = prediction_BFNO.float()
    return prediction_BFNO * std_O.to(prediction_BFNO.dtype) + mean_O.to(prediction_BFNO.dtype)


def error_sum(prediction_BFNO: Tensor, y_BFNO: Tensor, observed_BFNO: Tensor, config: TrainingConfig) -> Tensor:
    """The sum over observed targets of |e|, e squared (mse, rmse) or Huber(e); a scalar in the prediction's dtype.

    Args:
        prediction_BFNO, y_BFNO: original units, float32 or float64.
        observed_BFNO: bool; made from the raw targets. What stands in y elsewhere is never read, NaN included.
    Without an observed target the sum is 0 and so are all gradients. It is the same bits for any number of CPU threads,
    but for a single step of a single window: each step of each window is summed first, because torch divides a sum of
    everything among its threads.
    """
    error_BFNO = torch.where(observed_BFNO, prediction_BFNO - y_BFNO.to(prediction_BFNO.dtype), 0.0)
    if config.loss == "mae":
        return _total(error_BFNO.abs())
    if config.loss == "huber":
        delta = config.huber_delta
        size_BFNO = error_BFNO.abs()
        return _total(torch.where(size_BFNO <= delta, 0.5 * error_BFNO**2, delta * (size_BFNO - 0.5 * delta)))
    return _total(error_BFNO**2)


def _total(term_BFNO: Tensor) -> Tensor:
    return term_BFNO.sum((2, 3)).sum()


def loss_value(total: Tensor, count: int, config: TrainingConfig) -> Tensor:
    """The loss of a step from its error sum over the global batch and its number of observed targets."""
    return loss_mean(total / max(count, 1), config)


def loss_mean(mean: Tensor, config: TrainingConfig) -> Tensor:
    """The loss from the mean of the errors."""
    return mean.sqrt() if config.loss == "rmse" else mean


def gradient_factor(loss: Tensor, config: TrainingConfig) -> Tensor | None:
    """What the accumulated gradient of the mean must still be multiplied by; None: nothing (all losses but RMSE).

    At RMSE = 0 the gradient is set to 0, as it is for a batch without observed targets.
    """
    if config.loss != "rmse":
        return None
    return torch.where(loss > 0, 0.5 / loss, torch.zeros_like(loss))
