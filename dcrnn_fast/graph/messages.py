"""Words for error messages: which file, and the first few of what was wrong."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.errors import UserError


def first_few(items: Iterable[object], limit: int = 5) -> str:
    """The first items as text, and how many there are besides."""
    listed = list(items)
    shown = ", ".join(repr(item) if isinstance(item, str) else str(item) for item in listed[:limit])
    return (shown or "none") + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def counted(number: int, noun: str) -> str:
    """ "1 sensor", "207 sensors"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(error: BaseException) -> str:
    """An exception's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Names the file in a UserError from inside, and turns a failure to read it into one."""
    try:
        yield
    except UserError as error:
        text = str(error).removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ")
        raise UserError(f"{path}: {text}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
