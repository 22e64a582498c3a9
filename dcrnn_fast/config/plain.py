"""Dataclasses to plain dictionaries and back, strictly: unknown keys and wrong types are the user's mistake."""

import dataclasses
import difflib
import math
import reprlib
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dcrnn_fast.config.foreign import as_key
from dcrnn_fast.errors import UserError

T = TypeVar("T")
_SPOKEN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_LONGEST_KEY = 60
"""characters of a key that is compared with the known ones"""


class _Short(reprlib.Repr):
    """``repr`` of a few hundred characters, in time that does not grow with the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 400:  # Python writes no number of more than 4,300 digits
            return f"a number of {value.bit_length() * 3 // 10} digits"
        return super().repr_int(value, level)


_short = _Short()


def shown(value: object) -> str:
    """``repr(value)`` for a message, on one line and cut where it is long: a file decides what ``value`` is."""
    return " ".join(_short.repr(value).split())


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested dictionaries of plain values; tuples become lists."""
    return {f.name: _to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(cls: type[T], raw: Mapping[str, Any], *, where: str = "") -> T:
    """Makes the dataclass ``cls`` from nested dictionaries, as ``to_dict`` gives them; absent keys take their defaults.

    Args:
        where: the section of ``raw``, for messages; empty at the top.
    Raises:
        UserError: an unknown key (the known ones are listed), a value of another type, a value that ``cls`` refuses.
    """
    hints = _hints(cls)  # type: ignore[arg-type]  # classes are hashable
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if not isinstance(raw, Mapping):
        raise UserError(
            f"{where or 'the configuration'} must be a mapping with keys {', '.join(names)}, got {shown(raw)}"
        )
    for key in raw:
        if key not in names:
            raise UserError(_unknown_key(key, where, cls, names))
    missing = [f.name for f in dataclasses.fields(cls) if _is_required(f) and f.name not in raw]  # type: ignore[arg-type]
    if missing:
        raise UserError(f"{_join(where, missing[0])} is missing")
    return cls(**{key: _from_plain(hints[key], value, _join(where, key)) for key, value in raw.items()})


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that is most like ``word``, if any is like it at all."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _unknown_key(key: object, where: str, cls: type, names: list[str]) -> str:
    place = f"section {where}" if where else "the configuration"
    for section, hint in _hints(cls).items():
        if dataclasses.is_dataclass(hint) and key in {f.name for f in dataclasses.fields(hint)}:
            return f"unknown key {shown(key)} in {place}; it belongs to section {_join(where, section)}"
    if isinstance(key, str) and (foreign := as_key(key[:_LONGEST_KEY])):
        return f"unknown key in {place}: {foreign}"
    like = nearest(key[:_LONGEST_KEY], names) if isinstance(key, str) else None
    hint = f"; did you mean {like}?" if like else ";"
    return f"unknown key {shown(key)} in {place}{hint} known keys: {', '.join(names)}"


def require_choice(name: str, got: object, choices: Any) -> None:
    """Checks that ``got`` is one of the values of ``choices``, a ``Literal``.

    Raises:
        UserError: it is none of them; they are listed.
    """
    # 1 == True == 1.0: the type must agree as well.
    if not any(type(got) is type(choice) and got == choice for choice in get_args(choices)):
        raise UserError(f"{name} must be one of {', '.join(map(str, get_args(choices)))}, got {shown(got)}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_to_plain(item) for item in value]
    return value


def _from_plain(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if value is None and type(None) in options:
            return None
        (inner,) = [option for option in options if option is not type(None)]
        return _from_plain(inner, value, where)
    if origin is Literal:
        require_choice(where, value, hint)
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where} must be a list, got {shown(value)}")
        inner = get_args(hint)[0]
        return tuple(_from_plain(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and type(value) is int:
        # 400 digits are no float; the sections refuse infinity by the field's name.
        return float(value) if value.bit_length() < 1024 else (math.inf if value > 0 else -math.inf)
    if type(value) is not hint:
        raise UserError(f"{where} must be {_SPOKEN[hint]}, got {shown(value)}")
    return value
