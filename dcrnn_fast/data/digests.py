"""SHA-256 of the data that a model is trained on, to recognise it again."""

import numpy as np

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.stored import Readings, StoredArray, begun_digest
from dcrnn_fast.errors import UserError


def digests_of(data: ForecastData) -> dict[str, str]:
    """SHA-256 (hex) of every reading, of which are missing, of the times, and of the windows to train and validate on.

    0.02 s for METR-LA, 0.05 s for PEMS-BAY.

    Raises:
        UserError: a store's file is not what was written; ``open_store`` leaves large ones to this.
    """
    parts = {
        "readings": data.series.values_TNC,
        "missing readings": data.series.observed_TNC,
        "times": data.series.times_T,
        "training windows": data.train.starts_W,
        "validation windows": data.validation.starts_W,
    }
    return {name: _sha256_of_array(array) for name, array in parts.items()}


def _sha256_of_array(array: Readings) -> str:
    sha = begun_digest(array.shape, array.dtype)
    for rows in row_pieces(array.shape):
        sha.update(np.ascontiguousarray(array[rows]).view(np.uint8).data)
    digest = sha.hexdigest()
    if isinstance(array, StoredArray) and array.digest not in (None, digest):
        raise UserError(
            f"{array.path}: was changed since it was written, its checksum differs: prepare the store again"
        )
    return digest
