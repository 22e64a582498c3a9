"""Prediction intervals put into a checkpoint that is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import write_checkpoint
from dcrnn_fast.checkpoints.state import INTERVALS


def put_intervals(path: Path, intervals: dict[str, Any], before_rename: Callable[[], None] = lambda: None) -> None:
    """Replaces a checkpoint by the same one with these intervals; the former stays loadable until it is complete.

    Args:
        intervals: as ``Intervals.to_state`` gives them.
        before_rename: as of ``write_checkpoint``.
    Raises:
        UserError: the checkpoint cannot be read or written.
    """
    state = load_checkpoint(path)
    state[INTERVALS] = intervals
    write_checkpoint(path.parent, state, (path.name,), before_rename=before_rename)
