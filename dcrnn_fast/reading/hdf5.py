"""HDF5 files that another program has open."""

import errno

from dcrnn_fast.errors import UserError


def require_unlocked(error: BaseException) -> None:
    """Raises if opening an HDF5 file failed because a writer holds it.

    Raises:
        UserError: it did.
    """
    text = str(error)
    if isinstance(error, OSError) and (error.errno == errno.EAGAIN or f"lock file, errno = {errno.EAGAIN}" in text):
        raise UserError(
            "is locked: another program has it open for writing; close that program, or read a copy of the file"
        ) from error
    if "already open for write" in text or "already open for read" in text:
        raise UserError(
            "is marked as open for writing: another program writes it, or ended without closing it (then: h5clear -s)"
        ) from error
