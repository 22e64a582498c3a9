"""Reads pickles without letting them run anything.

A pickle is a program: an ordinary unpickler calls everything that it names. This one knows the few names that arrays
are made of, and even those stand for objects of this file that only take notes: numpy itself makes the array
afterwards, from checked parts. Any other name is refused before anything is called.
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line
from dcrnn_fast.reading.texts import text_of


def plain_parts(content: bytes) -> Any:
    """The lists, dicts, texts and numbers of a pickle, its arrays as notes for ``unpacked``.

    Protocols 0 to 5 of Python 2 and 3 are read (text of Python 2 as latin-1).

    Raises:
        UserError: the pickle wants to run something, is truncated or no pickle.
    """
    return _load(content, _RestrictedUnpickler)


def noted_parts(content: bytes) -> Any:
    """The dicts, lists, texts and numbers of a pickle; objects of classes are ``Noted``, and never made.

    Raises:
        UserError: it is no pickle, or a broken one.
    """
    return _load(content, _NotingUnpickler)


def unpacked(part: Any) -> Any:
    """A part of ``plain_parts`` with the array that it notes, if it is one.

    Raises:
        UserError: an array of other than numbers and texts, or with the wrong number of bytes.
    """
    if not isinstance(part, _Array):
        return part
    try:
        return part.to_numpy()
    except (pickle.UnpicklingError, ValueError) as error:
        raise UserError(f"the pickle holds {one_line(error)}, which is not read") from error


def texts_of(part: Any, what: str = "it") -> tuple[str, ...]:
    """A part that lists texts or numbers, as texts; ``what`` is its name in the message.

    Raises:
        UserError: it holds something else.
    """
    part = unpacked(part)
    listed = part.tolist() if isinstance(part, np.ndarray) else part
    if not isinstance(listed, (list, tuple)) or not all(isinstance(node, (str, bytes, int, float)) for node in listed):
        raise UserError(f"{what} must be the list of sensor ids, got {type(part).__name__}")
    return tuple(map(text_of, listed))


class _RefusedError(Exception):
    """The pickle names something that is not part of an array."""


class _Inert:
    """A stand-in: it can be called if its class defines that, and never gets attributes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("it sets the state of something that has none")


class _ArrayClass(_Inert):
    """Stands for numpy.ndarray, which pickles only name, never call."""

    __slots__ = ()


class _Dtype:
    """Notes of a numpy dtype: kind and size from the call, byte order from the state."""

    __slots__ = ("byte_order", "spec")

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.byte_order = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of records or sub-arrays")
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"unknown byte order {state[1]!r:.40}")
        self.byte_order = state[1]

    def holds_objects(self) -> bool:
        return self.spec in ("O", "O4", "O8")

    def to_numpy(self) -> np.dtype[Any]:
        # Only these kinds: any bytes of theirs are a number or a text.
        if not re.fullmatch(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,4}", self.spec):
            raise pickle.UnpicklingError(f"an array of dtype {self.spec:.40}")
        return np.dtype(self.byte_order.replace("|", "=") + self.spec)


class _Array:
    """Notes of a numpy array; ``to_numpy`` makes the real one."""

    __slots__ = ("content", "dtype", "fortran_order", "shape")

    def __init__(self) -> None:
        self.shape: Any = (0,)
        self.dtype: Any = None
        self.fortran_order = False
        self.content: Any = b""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise pickle.UnpicklingError("an array without its parts")
        self.shape, self.dtype, fortran_order, self.content = state[-4:]
        self.fortran_order = bool(fortran_order)

    def to_numpy(self) -> np.ndarray | list[Any]:
        """The array, or for an array of objects the flat list of them (only read as ids or nested rows)."""
        shape = self.shape
        if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if not isinstance(self.dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a dtype")
        size = math.prod(shape)
        if self.dtype.holds_objects():
            if not isinstance(self.content, list) or len(self.content) != size or len(shape) != 1:
                raise pickle.UnpicklingError("an array of objects that is not a plain row")
            return self.content
        content = self.content.encode("latin-1") if isinstance(self.content, str) else self.content
        dtype = self.dtype.to_numpy()
        if not isinstance(content, (bytes, bytearray)) or len(content) != size * dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {shape!r:.60} with the wrong number of bytes")
        return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if self.fortran_order else "C")


class _Reconstruct(_Inert):
    """numpy's ``_reconstruct(class, shape, typecode)``: an empty array, whose state follows."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, typecode: object) -> _Array:
        if not isinstance(kind, _ArrayClass):
            raise pickle.UnpicklingError("an array of an unknown class")
        return _Array()


class _FromBuffer(_Inert):
    """numpy's ``_frombuffer(content, dtype, shape, order)``: arrays in protocol 5."""

    __slots__ = ()

    def __call__(self, content: object, dtype: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.__setstate__((shape, dtype, order == "F", content))
        return array


class _MakeDtype(_Inert):
    """``numpy.dtype(spec, align, copy)``."""

    __slots__ = ()

    def __call__(self, spec: object, align: object = False, copy: object = False) -> _Dtype:
        if not isinstance(spec, str):
            raise pickle.UnpicklingError("a dtype without a name")
        return _Dtype(spec)


class _Scalar(_Inert):
    """numpy's ``scalar(dtype, content)``, as a Python number or text."""

    __slots__ = ()

    def __call__(self, dtype: object, content: object) -> Any:
        array = _Array()
        array.__setstate__(((1,), dtype, False, content))
        made = array.to_numpy()
        return made[0].item() if isinstance(made, np.ndarray) else made[0]


class _Encode(_Inert):
    """``_codecs.encode(text, "latin1")``: how Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("bytes in an unknown encoding")
        return text.encode("latin-1")


class _Bytes(_Inert):
    """``bytes()``: how Python 3 writes empty bytes for Python 2."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


class _OrderedDict(_Inert):
    """``collections.OrderedDict``, which a plain dict replaces."""

    __slots__ = ()

    def __call__(self, pairs: Any = ()) -> dict[Any, Any]:
        if not isinstance(pairs, (list, tuple)):
            raise pickle.UnpicklingError("an ordered dict without its pairs")
        return dict(pairs)


_STAND_INS: dict[tuple[str, str], _Inert] = {
    ("numpy", "ndarray"): _ArrayClass(),
    ("numpy", "matrix"): _ArrayClass(),
    ("numpy.matrixlib.defmatrix", "matrix"): _ArrayClass(),
    ("numpy", "dtype"): _MakeDtype(),
    ("_codecs", "encode"): _Encode(),
    ("builtins", "bytes"): _Bytes(),
    ("__builtin__", "bytes"): _Bytes(),
    ("collections", "OrderedDict"): _OrderedDict(),
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[_core + ".multiarray", "_reconstruct"] = _Reconstruct()
    _STAND_INS[_core + ".multiarray", "scalar"] = _Scalar()
    _STAND_INS[_core + ".numeric", "_frombuffer"] = _FromBuffer()


# The interpreter of pickle written in Python: the one in C reserves any size that a file claims.
class _RestrictedUnpickler(pickle._Unpickler):
    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def find_class(self, module: str, name: str) -> Any:
        if (stand_in := _STAND_INS.get((module, name))) is None:
            raise _RefusedError(f"{module}.{name}")
        return stand_in

    def get_extension(self, code: int) -> NoReturn:
        # copyreg keeps objects that were found once, and would hand them out past find_class.
        raise _RefusedError(f"copyreg extension {code}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise _RefusedError("a persistent reference")

    def load_bytearray(self) -> None:
        # The one opcode for which the Python interpreter, too, reserves the size claimed.
        (length,) = struct.unpack("<Q", self.read(8))
        content = self.read(length)
        if len(content) != length:
            raise EOFError("an array's bytes are missing")
        self.append(bytearray(content))

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray}


class Noted:
    """A class or function that a pickle names, and its arguments; it is neither found nor called."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments

    def __call__(self, *arguments: Any) -> "Noted":
        return Noted(self.name, arguments)

    def __setstate__(self, state: object) -> None:
        """States are of no interest."""


class _NotingUnpickler(_RestrictedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        return Noted(f"{module}.{name}")


def _load(content: bytes, unpickler: type[_RestrictedUnpickler]) -> Any:
    try:
        return unpickler(io.BytesIO(content), encoding="latin1").load()
    except _RefusedError as refused:
        raise UserError(
            f"the pickle wants to run {str(refused)[:100]!r}; only lists, dicts, text, numbers and numpy "
            "arrays are read, and nothing was run; if you trust it, save its matrix as .npy or .npz"
        ) from refused
    # Errors of the interpreter on bytes that are no pickle, or half of one.
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise UserError(f"not a readable adjacency pickle, or a truncated one ({one_line(error)[:100]})") from error
