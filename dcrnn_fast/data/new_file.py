"""A file that is written piece by piece, several beside each other; as ``files`` has it, complete or absent."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.files import UNCHANGED, beside, sync_folder


class NewFile:
    """It gets its name by ``finish``, when all of it is on the disk.

    As a context manager it removes what was not finished.

    Attributes:
        path: its name in the end; size: bytes written so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._temporary, self._digest = beside(path), hashlib.sha256()
        with self._told():
            self._stream = open(self._temporary, "wb", buffering=0)  # noqa: SIM115

    @property
    def sha256(self) -> str:
        """Of the bytes written so far, as hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Appends these bytes.

        Raises:
            UserError: the disk is full, or fails; the message names the file.
        """
        left = memoryview(content)
        self._digest.update(left)
        self.size += left.nbytes
        with self._told():
            while left:
                left = left[self._stream.write(left) :]

    def finish(self) -> None:
        """Puts the file at its place once all of it is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        with self._told():
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.replace(self._temporary, self.path)
            sync_folder(self.path.parent)

    def __enter__(self) -> "NewFile":
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()
        self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}{UNCHANGED}") from error
