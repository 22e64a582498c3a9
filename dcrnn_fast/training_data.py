"""The data that a checkpoint was trained on: whether it is there, and whether it is still the same."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.digests import digests_of
from dcrnn_fast.data.known import KNOWN
from dcrnn_fast.errors import UserError


def unchanged(
    open_training_data: Callable[[], ForecastData], digests: Mapping[str, str] | None
) -> tuple[ForecastData | None, tuple[str, ...]]:
    """The training data, or None and a line with the reason why it is not at hand.

    Args:
        digests: the checkpoint's record of it, as ``digests_of``.
    """
    try:
        training = open_training_data()
    except UserError as error:
        return None, (f"the training data cannot be opened: {error}",)
    ours = digests_of(training)
    if changed := [name for name, digest in (digests or {}).items() if ours.get(name) != digest]:
        return None, (f"{training.config.data} is no longer what the model was trained on: other {changed[0]}",)
    return training, ()


def require_training_data(config: DataConfig) -> None:
    """Checks that the data that a checkpoint names is there.

    Raises:
        UserError: it is not; the message tells the user that the name is the checkpoint's.
    """
    named = config.data == "city" or config.data in KNOWN
    place = Path(config.data_folder, config.data) if named else Path(config.data)
    if config.data == "city" or os.path.exists(place):
        return
    raise UserError(
        f"the checkpoint was trained on {config.data!r}, and there is no {place} in {Path.cwd()}: go to the folder "
        "where it was trained, or give the data with --data"
    )
