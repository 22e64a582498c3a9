"""The masked loss of an optimiser step, in original units or in parts of the target's deviation.

Shape legend: B batch, F future steps, N nodes, O output channels.

The loss of a step is the sum of the errors over the global batch (all ranks, all micro-batches) divided by the number
of observed targets in it. That number is known before the first backward, so each micro-batch contributes its own sum
divided by it, gradients add up, and how the batch was cut does not matter.

In original units that is the published loss, and the effect of Adam's eps and the clip norm depends on the unit of the
readings. In parts of the deviation they have the same effect in any unit, and the loss is the mean over the target
channels of each one's own mean: a channel's errors are weighted by the ratio of all readings to its own
(:func:`channel_weights`).

RMSE is the root of such a mean, and its gradient is the mean's gradient times 1 / (2 RMSE): the step accumulates the
gradient of the squared errors, and multiplies by :func:`gradient_factor` once the sum over all ranks is known.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.scaler import unscaled

DEVIATION = 12.5
"""the loss's units in one deviation of the target: METR-LA's observed speeds deviate by 12.5 mph (its first week, which
has no gap) and are learned in mph with eps 1e-3 and clip norm 5; its scaler has 19.5, which counts gaps as 0"""


def original_units(prediction_BFNO: Tensor, mean_O: Tensor, std_O: Tensor) -> Tensor:
    """Undoes the scaling, in float32 (float64 for a float64 model): bf16 would round a speed of 60 to 0.25 mph."""
    if prediction_BFNO.dtype != torch.float64:
        prediction_BFNO = prediction_BFNO.float()
    dtype = prediction_BFNO.dtype
    return unscaled(prediction_BFNO, mean_O.to(dtype), std_O.to(dtype))


def in_loss_unit(
    scaled_BFNO: Tensor,
    y_BFNO: Tensor,
    labels_BFNO: Tensor,
    mean_O: Tensor,
    std_O: Tensor,
    config: TrainingConfig,
) -> tuple[Tensor, Tensor]:
    """Forecast and target so that their difference is the error in the unit of the loss.

    Args:
        scaled_BFNO: the model's output; y_BFNO: original units; labels_BFNO: scaled, the same readings.
        mean_O, std_O: (O,), or (N, O) with a scaler for each sensor.
    """
    if config.loss_unit == "original":
        return original_units(scaled_BFNO, mean_O, std_O), y_BFNO
    # From scaled values, not from original ones: 285.15 K and its forecast share their first digits.
    dtype = torch.float64 if scaled_BFNO.dtype == torch.float64 else torch.float32
    return DEVIATION * scaled_BFNO.to(dtype), DEVIATION * labels_BFNO.to(dtype)


def error_sum(
    prediction_BFNO: Tensor,
    y_BFNO: Tensor,
    observed_BFNO: Tensor,
    config: TrainingConfig,
    weight_O: Tensor | None = None,
) -> Tensor:
    """The sum over observed targets of |e|, e squared (mse, rmse) or Huber(e); a scalar in the prediction's dtype.

    Args:
        prediction_BFNO, y_BFNO: in one unit, float32 or float64.
        observed_BFNO: bool; made from the raw targets. y is not read elsewhere, and may be NaN there.
        weight_O: of each channel's errors; None: 1.
    Without an observed target the sum is 0 and so are all gradients. It is bitwise independent of the number of CPU
    threads: sums run per window and step first, because torch splits one big sum among its threads. Exception: one
    window of one step.
    """
    error_BFNO = torch.where(observed_BFNO, prediction_BFNO - y_BFNO.to(prediction_BFNO.dtype), 0.0)
    if config.loss == "mae":
        term_BFNO = error_BFNO.abs()
    elif config.loss == "huber":
        delta = config.huber_delta
        size_BFNO = error_BFNO.abs()
        term_BFNO = torch.where(size_BFNO <= delta, 0.5 * error_BFNO**2, delta * (size_BFNO - 0.5 * delta))
    else:
        term_BFNO = error_BFNO**2
    if weight_O is not None:
        term_BFNO = term_BFNO * weight_O.to(term_BFNO.dtype)
    return term_BFNO.sum((2, 3)).sum()


def channel_weights(counts_O: Sequence[int], config: TrainingConfig) -> list[float] | None:
    """The factor on each channel's errors, so that all channels count alike, even with few observed targets; None: 1.

    All 1 if all channels have equally many. A channel without an observed target in the batch leaves its share empty,
    so that the others have the same weight in this step as in any other.

    Args:
        counts_O: observed targets of each channel in the global batch.
    """
    if config.loss_unit == "original" or len(counts_O) == 1:
        return None
    return [sum(counts_O) / (len(counts_O) * max(count, 1)) for count in counts_O]


def loss_value(total: Tensor, count: int, config: TrainingConfig) -> Tensor:
    """The loss of a step from its error sum over the global batch and its number of observed targets."""
    return loss_mean(total / max(count, 1), config)


def loss_mean(mean: Tensor, config: TrainingConfig) -> Tensor:
    """The loss from the mean of the errors."""
    return mean.sqrt() if config.loss == "rmse" else mean


def gradient_factor(loss: Tensor, config: TrainingConfig) -> Tensor | None:
    """The factor on the accumulated gradient of the mean; None: 1 (all losses but RMSE).

    At RMSE = 0 the gradient is set to 0, as it is for a batch without observed targets.
    """
    if config.loss != "rmse":
        return None
    return torch.where(loss > 0, 0.5 / loss, torch.zeros_like(loss))
