"""What holds for every section of the configuration, and the checks that they share."""

import math
from dataclasses import fields
from functools import cache
from typing import Any, Literal, get_origin, get_type_hints

from dcrnn_fast.config.plain import require_choice, shown
from dcrnn_fast.errors import UserError

_LONGEST_TEXT = 4096
_LONGEST_NAME = 255
"""bytes of a path and of one name in it, as Linux has them"""
MOST_STEPS = 1_000_000
MOST = 1_000_000_000
"""of what may be as large as anybody likes: beyond it, other software's integers end"""


def require(condition: bool, field_name: str, wanted: str, got: object) -> None:
    if not condition:
        raise UserError(f"{field_name} must be {wanted}, got {shown(got)}")


@cache
def _choices(section: type) -> dict[str, Any]:
    """The fields of a section that are a ``Literal``."""
    return {name: hint for name, hint in get_type_hints(section).items() if get_origin(hint) is Literal}


class Section:
    """Checks what holds for any field: choices by their type, texts that can be names of files, finite numbers.

    A section's other conditions are in ``_check``.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, choices in _choices(type(self)).items():  # type: ignore[arg-type]  # classes are hashable
            require_choice(name, getattr(self, name), choices)
        self._check()
        for f in fields(self):  # type: ignore[arg-type]  # every section is a dataclass
            value = getattr(self, f.name)
            if isinstance(value, str):
                _require_text(f.name, value)
            elif isinstance(value, float):
                require(math.isfinite(value), f.name, "a finite number", value)
            elif isinstance(value, tuple):
                for text in value:
                    if isinstance(text, str):
                        _require_text(f.name, text)

    def _check(self) -> None:
        raise NotImplementedError

    def _within(self, least: int, most: int, *names: str) -> None:
        """Whole numbers from ``least`` to ``most``; None, which is a choice, passes."""
        for name in names:
            value = getattr(self, name)
            require(value is None or value >= least, name, f"at least {least}", value)
            require(value is None or value <= most, name, f"at most {most}", value)


def _require_text(name: str, text: str) -> None:
    """Texts go into files as UTF-8, and most of them are paths."""
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST_NAME:
        return
    require("\0" not in text, name, "text without NUL", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{name} must be text that UTF-8 can hold, got {shown(text)}") from error
    require(size <= _LONGEST_TEXT, name, f"at most {_LONGEST_TEXT} bytes", text)
    longest = max(text.split("/"), key=len)
    require(len(longest.encode()) <= _LONGEST_NAME, name, f"made of names of at most {_LONGEST_NAME} bytes", longest)
