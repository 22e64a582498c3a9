"""Errors that libraries raise on bytes that are not, or no longer, what their format wants."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""OSError, which means that reading itself failed, is not among them"""


@contextmanager
def damage_told(what: str) -> Iterator[None]:
    """Turns errors on damaged bytes into a UserError that begins with ``what``; UserError and ``OSError`` pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # pandas keeps texts as Arrow's, whose plain ArrowException is of none of these classes.
        if not isinstance(error, DAMAGE) and type(error).__module__ != "pyarrow.lib":
            raise
        raise UserError(f"{what} ({one_line(error)[:120]})") from error
