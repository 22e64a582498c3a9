"""Settings that follow from other settings and from the number of processes that share the batch.

Processes that share a graph count as one.
"""

import math
from collections.abc import Collection
from dataclasses import replace

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.training.schedule import rate_scale


def resolved(config: Config, processes: int) -> Config:
    """``config`` with ``accumulate`` as the global batch has it, and ``save`` as gradient checkpointing has it.

    Raises:
        UserError: the global batch is no whole number of micro-batches of all processes, or ``save`` is another one
            than gradient checkpointing means; the scaled learning rate is too large for a number.
    """
    training, model = config.training, config.model
    if training.global_batch_size is not None:
        training = replace(training, accumulate=accumulate_of(training, processes))
    scale = rate_scale(training, training.batch_size * processes * training.accumulate)
    if not math.isfinite(training.learning_rate * scale):
        raise UserError(
            f"--lr-scaling linear multiplies --learning-rate {training.learning_rate:g} by {scale:g}: no finite rate; "
            "give a smaller one, or a larger --base-batch-size"
        )
    if training.gradient_checkpointing:
        if model.save.startswith("segments"):
            raise UserError(
                f"--gradient-checkpointing means --save h, and --save is {model.save}: leave one of the two out"
            )
        model = replace(model, save="h")
    return replace(config, training=training, model=model)


def accumulate_of(training: TrainingConfig, processes: int) -> int:
    """The micro-batches of a step that give the global batch.

    Raises:
        UserError: it is no whole number of them; the nearest global batches, and a batch size that fits, are named.
    """
    wanted, each = training.global_batch_size, training.batch_size
    assert wanted is not None
    together = each * processes
    if wanted % together == 0:
        return wanted // together
    below, above = wanted // together * together, (wanted // together + 1) * together
    near = f"{below} or {above}" if below else f"{above}"
    raise UserError(
        f"--global-batch-size {wanted} must be a multiple of batch_size {each} x {_words(training, processes)} = "
        f"{together}: the nearest are {near}{_fitting_size(wanted, each, processes)}"
    )


def _words(training: TrainingConfig, processes: int) -> str:
    sharing = training.node_parallel
    return f"{processes} process(es)" if sharing == 1 else f"{processes} group(s) of {sharing} processes"


def _fitting_size(wanted: int, each: int, processes: int) -> str:
    """The batch size nearest below ``each`` with which ``wanted`` can be had, in words."""
    if wanted % processes:
        return ""
    size = next(size for size in range(min(each, wanted // processes), 0, -1) if wanted // processes % size == 0)
    return f"; with --batch-size {size} it is one"


def require_agreeing(config: Config, flags: Collection[str], processes: int) -> None:
    """Checks flags that say what another one decides.

    Args:
        flags: names of those that were given.
    Raises:
        UserError: they contradict each other.
    """
    training, save = config.training, config.model.save
    if training.gradient_checkpointing and "save" in flags and save != "h":
        raise UserError(f"--save {save} contradicts --gradient-checkpointing, which means --save h; leave one out")
    wanted = training.global_batch_size
    if wanted is not None and "accumulate" in flags and training.accumulate != accumulate_of(training, processes):
        raise UserError(
            f"--accumulate {training.accumulate} contradicts --global-batch-size {wanted}: {training.batch_size} "
            f"windows x {_words(training, processes)} x {training.accumulate} are "
            f"{training.batch_size * processes * training.accumulate}; leave one of the two out"
        )
