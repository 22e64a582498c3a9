"""An array in a scratch file of the system's temporary folder, for readings that a file has in another order."""

import mmap
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from dcrnn_fast.errors import UserError

_IN_MEMORY = 32 << 20
"""bytes of an array, up to which it is memory"""


def scratch(shape: Sequence[int], what: str) -> np.ndarray:
    """float64 zeros of this shape, in a file without a name that goes with them.

    Args:
        what: begins the message.

    Raises:
        UserError: the temporary folder has too little room.
    """
    size = int(np.prod(shape)) * 8
    if size <= _IN_MEMORY:
        return np.zeros(shape)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{what} need a scratch file of {size >> 20:,} MiB in {folder}, which has {free >> 20:,} free: set TMPDIR "
            "to another folder"
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapped, dtype=np.float64).reshape(shape)
