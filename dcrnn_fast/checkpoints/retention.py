"""Which checkpoints of finished epochs (``epoch_0010.pt``) are written, and which of them stay."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

_NAME = re.compile(r"epoch_(\d+)\.pt")


class Kept(NamedTuple):
    """A checkpoint of an epoch, counted from 1.

    Attributes:
        error: by which epochs are ranked; NaN: unknown.
        periodic: one of every so many epochs; otherwise it was written as one of the best.
    """

    name: str
    epoch: int
    error: float
    periodic: bool


def name_of_epoch(epoch: int) -> str:
    """The file name of the checkpoint of an epoch, counted from 1."""
    return f"epoch_{epoch:04d}.pt"


def epoch_of_name(name: str) -> int | None:
    """``name_of_epoch`` undone; None: it is another file's name."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def is_written(epoch: int, errors: Sequence[float], every: int, keep_best: int) -> bool:
    """Whether an epoch that has just ended gets a file: one of every so many (0: none), or one of the best so far.

    Args:
        errors: of all finished epochs.
    """
    return (every > 0 and epoch % every == 0) or epoch in best_epochs(errors, keep_best)


def best_epochs(errors: Sequence[float], number: int) -> list[int]:
    """The epochs, counted from 1, with the smallest errors; of equals the earlier one. NaN never is among them."""
    known = [(error, epoch) for epoch, error in enumerate(errors, start=1) if error < math.inf]
    return [epoch for _, epoch in sorted(known)[:number]]


def kept_files(names: Iterable[str], errors: Sequence[float], every: int) -> list[Kept]:
    """The checkpoints of epochs among these names of files."""
    found = ((name, epoch_of_name(name)) for name in names)
    return [
        Kept(
            name,
            epoch,
            errors[epoch - 1] if 1 <= epoch <= len(errors) else math.nan,
            every > 0 and epoch % every == 0,
        )
        for name, epoch in found
        if epoch is not None
    ]


def to_delete(
    listed: Sequence[Kept], keep_last: int | None, keep_best: int, protected: Collection[str] = ()
) -> list[str]:
    """The files that go, the earliest first.

    Of the periodic ones the last ``keep_last`` stay (None: all), and of all of them the ``keep_best`` with the smallest
    errors. Without ``keep_best`` all count as periodic, and with both left at their defaults (None, 0) nothing goes.

    Args:
        protected: names that stay in any case.
    """
    if keep_last is None and keep_best == 0:
        return []
    in_order = sorted(listed, key=lambda kept: kept.epoch)
    periodic = [kept for kept in in_order if kept.periodic or keep_best == 0]
    ranked = sorted((kept.error, kept.epoch) for kept in in_order if kept.error < math.inf)
    stay = {epoch for _, epoch in ranked[:keep_best]}
    stay |= {kept.epoch for kept in (periodic if keep_last is None else periodic[-keep_last:])}
    return [kept.name for kept in in_order if kept.epoch not in stay and kept.name not in protected]
