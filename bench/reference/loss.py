"""The reference's loss. Shape legend: F future steps, B batch, N nodes, O output channels."""

from torch import Tensor


def masked_mae(prediction_FBNO: Tensor, target_FBNO: Tensor) -> Tensor:
    """Mean absolute error over the observed targets (non-zero ones), both in original units: a scalar.

    The mask is divided by its own mean, then the complete product is averaged, as the published code does it. A batch
    without one observed target gives 0 here and NaN gradients: a published flaw, kept.
    """
    mask_FBNO = (target_FBNO != 0).to(prediction_FBNO.dtype)
    mask_FBNO = mask_FBNO / mask_FBNO.mean()
    error_FBNO = (prediction_FBNO - target_FBNO).abs() * mask_FBNO
    return error_FBNO.where(error_FBNO == error_FBNO, 0.0).mean()
