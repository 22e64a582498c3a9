"""Words for messages: the file, the first few of many, an exception on one line, a span of time, a size, a length."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def first_few(items: Iterable[object], limit: int = 5) -> str:
    """The first items, texts in quotes, and how many there are besides; "none" if there are none."""
    return some([shown(item) if isinstance(item, str) else str(item) for item in items], limit) or "none"


def some(texts: Sequence[str], limit: int = 5, between: str = ", ") -> str:
    """The first texts as they are, and how many there are besides."""
    return between.join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")


def counted(number: int, noun: str) -> str:
    """ "1 sensor", "207 sensors"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(error: BaseException) -> str:
    """An exception's text on one line; its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def described(error: BaseException) -> str:
    """An exception on one line, with its type unless it is a user's mistake."""
    text, kind = one_line(error), type(error).__name__
    return text if isinstance(error, UserError) or text == kind else f"{kind}: {text[:300]}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, for libraries that add advice or a stack; its type if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def span(seconds: int) -> str:
    """A span of time in its units: 900 is "15 min", 5400 "1 h 30 min", 172800 "2 d"."""
    parts = []
    rest = seconds
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def sized(count: float) -> str:
    """A size in the unit that suits it: "312 bytes", "4.1 KiB", "0.4 GiB", "466 GiB"."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size / 10:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def metres_words(metres: float) -> str:
    """A length in the unit that suits it: "0.42 m", "400 m", "12.3 km", "5,310 km"."""
    if metres < 100:
        return f"{metres:.3g} m"
    if metres < 9999.5:
        return f"{metres:,.0f} m"
    return f"{metres / 1000:,.{1 if metres < 99_950 else 0}f} km"


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Names the file in a UserError from inside, and turns a failure to read it into one; a pipe or a device, which
    would be waited for, is refused.
    """
    try:
        _require_file(path)
        yield
    except UserError as error:
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ")
        raise UserError(f"{path}: {text}") from error
    except OSError as error:
        within = isinstance(error.filename, (str, Path)) and str(error.filename).startswith(f"{path}{os.sep}")
        name = error.filename if within else path  # of a folder, the file in it
        raise UserError(f"cannot read {name}: {error.strerror or one_line(error)}") from error


def _require_file(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:  # which is for the reader to say
        return
    except ValueError as error:
        raise UserError("a name cannot hold a NUL character") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError("is a pipe, a socket or a device: save it as a file first")
