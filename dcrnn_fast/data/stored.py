"""An array in a file whose rows are read when they are asked for, and nothing else of it is ever in memory.

No memory map: where a mapped file is cut short, or its disk fails, the process dies of a bus error; a read that gets
fewer bytes is an error that names the file. The system's cache serves both alike, for all processes together.

Shape legend: T time, R rows, N sensors, C channels; K, M sensors and channels that the file has.
"""

import hashlib
import itertools
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.errors import UserError

ABSENT = -1
"""stands for a sensor of zeros (false) that the file does not have"""


def begun_digest(shape: Sequence[int], dtype: np.dtype) -> "hashlib._Hash":
    """SHA-256 of an array, to be gone on with by its bytes in C order: what checkpoints know data by."""
    return hashlib.sha256(repr((tuple(shape), dtype.str)).encode())


class _OpenFile:
    """A file that stays open, and stays the same one if another takes its name, until nobody has this object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills the bytes of ``buffer``, from any thread.

        Raises:
            UserError: the file ends before, or cannot be read.
        """
        while buffer:
            try:
                count = os.preadv(self._descriptor, [buffer], offset)
            except OSError as error:
                raise UserError(f"{self.path}: cannot be read: {error.strerror}") from error
            if count == 0:
                raise UserError(
                    f"{self.path}: was cut short while it was read: it has {self.size()} bytes now, those from {offset}"
                    " on are missing; put the whole file there, or prepare the store again"
                )
            buffer, offset = buffer[count:], offset + count


@dataclass(frozen=True, eq=False, slots=True)
class StoredArray:
    """The numbers (T, N, C) of a file in C order, or some rows, sensors and channels of them.

    It is read by ``array[rows]`` and ``array[rows, sensors, channels]``, which are numpy arrays in memory; ``rows`` is
    a number, a slice, a mask (T) or an integer array of any shape, with which only slices may stand.
    ``numpy.asarray(array)`` reads all of it.

    Attributes:
        shape: (T, N, C); dtype: of the numbers.
        digest: ``begun_digest`` and all bytes, as the file was written; None: not known, or not of all of it.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    digest: str | None
    _file: _OpenFile
    _offset: int
    """of the first row, in bytes"""
    _held: tuple[int, int]
    """K, M"""
    _sensors: np.ndarray | None = None
    """int64 (N,), numbers among the file's, or ``ABSENT``; None: they are the file's"""
    _channels: tuple[int, ...] | None = None
    ndim: ClassVar[int] = 3

    @classmethod
    def open(
        cls, path: Path, offset: int, dtype: np.dtype, shape: Sequence[int], digest: str | None = None
    ) -> "StoredArray":
        """The array that fills the file from ``offset`` on.

        Raises:
            UserError: the file has another size.
        """
        file = _OpenFile(path)
        steps, sensors, channels = shape
        wanted = offset + dtype.itemsize * steps * sensors * channels
        if file.size() != wanted:
            raise UserError(f"{path}: must have {wanted} bytes, got {file.size()}")
        return cls((steps, sensors, channels), dtype, digest, file, offset, (sensors, channels))

    @property
    def path(self) -> Path:
        """The file, as errors name it."""
        return self._file.path

    def call(self, path: Path) -> None:
        """Errors name this file from now on, of which the open one is a copy."""
        self._file.path = path

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, in memory."""
        if copy is False:
            raise ValueError(f"{self._file.path} is read anew each time: there is no array without a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        rows, others = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if rows is Ellipsis:
            rows, others = slice(None), key if isinstance(key, tuple) else ()
        if isinstance(rows, (int, np.integer)):
            return self._read(np.array([range(len(self))[rows]]))[0][others]
        if isinstance(rows, slice):
            rows_R = np.arange(len(self))[rows]
            if not others:
                return self._read(rows_R)
            # Of what is read, the part that is wanted may be small.
            pieces = [self._read(rows_R[piece])[(slice(None), *others)] for piece in self._pieces(len(rows_R))]
            return np.concatenate(pieces)
        rows = np.asarray(rows)
        rows = rows if rows.size else rows.astype(np.int64)  # of an empty list
        if not all(other is Ellipsis or isinstance(other, slice) for other in others) or rows.dtype.kind not in "iub":
            raise IndexError(f"a stored array is read by whole rows: [rows][...], not [{key}]")
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"a mask of rows must be ({len(self)},), got {rows.shape}")
            rows = np.flatnonzero(rows)
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not within {len(self)}")
        read = self._read(rows.ravel() % max(len(self), 1)).reshape(*rows.shape, *self.shape[1:])
        return np.asarray(read[(*(slice(None),) * rows.ndim, *others)]) if others else read

    def from_row(self, first: int) -> "StoredArray":
        """Its rows from this one on; nothing is read."""
        row_bytes = self.dtype.itemsize * self._held[0] * self._held[1]
        shape = (len(self) - first, *self.shape[1:])
        digest, offset = (None if first else self.digest), self._offset + first * row_bytes
        return StoredArray(shape, self.dtype, digest, self._file, offset, self._held, self._sensors, self._channels)

    def take(self, *, sensors: np.ndarray | None = None, channels: Sequence[int] | None = None) -> "StoredArray":
        """These of its sensors and channels, in this order, ``ABSENT`` for sensors of zeros; nothing is read."""
        held_N, held_C = self._sensors, self._channels
        if sensors is not None:
            known_N = np.asarray(sensors, dtype=np.int64)
            held_N = known_N if held_N is None else np.where(known_N == ABSENT, ABSENT, held_N[known_N])
        if channels is not None:
            held_C = tuple(channels) if held_C is None else tuple(held_C[c] for c in channels)
        shape = (
            len(self),
            self._held[0] if held_N is None else len(held_N),
            self._held[1] if held_C is None else len(held_C),
        )
        return StoredArray(shape, self.dtype, None, self._file, self._offset, self._held, held_N, held_C)

    def _pieces(self, count: int) -> list[slice]:
        return list(row_pieces((count, *self._held))) or [slice(0, 0)]

    def _read(self, rows_R: np.ndarray) -> np.ndarray:
        """(R, N, C) of rows that are within the array."""
        if self._sensors is None and self._channels is None:
            read_RKM = np.empty((len(rows_R), *self._held), dtype=self.dtype)
            self._fill(read_RKM, rows_R)
            return read_RKM
        read_RNC = np.empty((len(rows_R), *self.shape[1:]), dtype=self.dtype)
        for piece in self._pieces(len(rows_R)):
            read_RKM = np.empty((len(rows_R[piece]), *self._held), dtype=self.dtype)
            self._fill(read_RKM, rows_R[piece])
            if self._channels is not None:
                read_RKM = read_RKM[..., list(self._channels)]
            read_RNC[piece] = take_sensors(read_RKM, self._sensors) if self._sensors is not None else read_RKM
        return read_RNC

    def _fill(self, read_RKM: np.ndarray, rows_R: np.ndarray) -> None:
        """Reads these rows, those that follow each other at once."""
        if not read_RKM.size:
            return
        row_bytes = read_RKM[0].nbytes
        content = read_RKM.reshape(-1).view(np.uint8).data
        borders = [0, *(np.flatnonzero(np.diff(rows_R) != 1) + 1).tolist(), len(rows_R)]
        for start, stop in itertools.pairwise(borders):
            offset = self._offset + int(rows_R[start]) * row_bytes
            self._file.read_into(content[start * row_bytes : stop * row_bytes], offset)


Readings = np.ndarray | StoredArray
"""(T, N, C) in memory or in a file; both are read by ``[rows]``"""


def take_sensors(array: Any, sensors: np.ndarray) -> Any:
    """These sensors of (T, N, C), in this order, ``ABSENT`` for one of zeros: a copy, or if stored, not read yet."""
    if isinstance(array, StoredArray):
        return array.take(sensors=sensors)
    taken = np.take(array, sensors, axis=1)
    taken[:, sensors == ABSENT] = 0
    return taken


def take_channels(array: Readings, channels: Sequence[int]) -> Readings:
    """These channels of (T, N, C); neighbouring ones stay a view of the same memory."""
    if isinstance(array, StoredArray):
        return array.take(channels=channels)
    first, count = channels[0], len(channels)
    neighbours = tuple(channels) == tuple(range(first, first + count))
    return array[:, :, slice(first, first + count) if neighbours else list(channels)]


def from_row(array: Readings, first: int) -> Readings:
    """The rows of (T, N, C) from this one on; nothing is copied or read."""
    return array.from_row(first) if isinstance(array, StoredArray) else array[first:]
