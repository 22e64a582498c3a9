"""Learning rate and early stopping as pure functions of training's position: nothing to save, nothing to restore.

``epoch`` counts finished epochs (0 in the first), ``step`` the optimiser steps before this one, and the validation
errors of finished epochs are in the history that a checkpoint holds anyway.
"""

import math
from collections.abc import Sequence

from dcrnn_fast.config.training import TrainingConfig


def learning_rate(
    config: TrainingConfig,
    *,
    epoch: int,
    step: int,
    total_steps: int,
    validation_errors: Sequence[float],
    scale: float = 1.0,
) -> float:
    """The learning rate of one optimiser step.

    published: ``learning_rate * schedule_factor ** (milestones reached)``, at least ``min_learning_rate`` (the released
    DCRNN code: times 0.1 after epochs 20, 30, 40, 50, floor 2e-6). cosine: half a cosine from the end of the warm-up to
    ``total_steps``. plateau: times ``schedule_factor`` after more than ``plateau_patience`` epochs without a better
    validation error. Warm-up multiplies any of them by (step + 1) / ``warmup_steps``.

    Args:
        scale: factor on ``learning_rate``, as of ``rate_scale``.
    """
    base = config.learning_rate * scale
    floor = min(config.min_learning_rate, base)
    if config.schedule == "published":
        reached = sum(milestone <= epoch for milestone in config.milestones)
        rate = max(floor, base * config.schedule_factor**reached)
    elif config.schedule == "plateau":
        rate = max(floor, base * config.schedule_factor ** plateaus(validation_errors, config.plateau_patience))
    elif config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
        rate = floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    else:
        rate = base
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    return rate


def rate_scale(config: TrainingConfig, windows: int) -> float:
    """The factor on ``learning_rate`` for steps of so many windows, over all processes and micro-batches."""
    return windows / config.base_batch_size if config.lr_scaling == "linear" else 1.0


def plateaus(validation_errors: Sequence[float], patience: int) -> int:
    """How many times the error went more than ``patience`` epochs without a new best."""
    best, waited, count = math.inf, 0, 0
    for error in validation_errors:
        if error < best:
            best, waited = error, 0
        else:
            waited += 1
        if waited > patience:
            count, waited = count + 1, 0
    return count


def best_epoch(validation_errors: Sequence[float]) -> int | None:
    """Index of the first smallest error; None while there is none (NaN never is the best)."""
    best = None
    for epoch, error in enumerate(validation_errors):
        if error < (math.inf if best is None else validation_errors[best]):
            best = epoch
    return best


def has_stalled(validation_errors: Sequence[float], patience: int) -> bool:
    """Early stopping: ``patience`` epochs have passed without a better validation error; 0: never."""
    best = best_epoch(validation_errors)
    waited = len(validation_errors) - (0 if best is None else best + 1)
    return patience > 0 and waited >= patience
