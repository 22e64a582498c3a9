"""A command's flags from a frozen dataclass: flat, kebab-case, defaults shown by ``--help``, mistakes in one line.

Nested sections lend their fields without a prefix (``--batch-size``); a field annotated
``tyro.conf.Positional[...]`` is an argument without a flag.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_type_hints

import tyro

from dcrnn_fast.config.foreign import as_flag
from dcrnn_fast.config.plain import nearest
from dcrnn_fast.errors import UserError

T = TypeVar("T")
_NUMBERS = {
    "invalid literal for int() with base 10": "a whole number",
    "could not convert string to float": "a number",
}


def parse(cls: type[T], argv: Sequence[str], *, prog: str, description: str, default: T | None = None) -> T:
    """Makes ``cls`` from a command line; ``--help`` prints every flag with its default and exits with 0.

    Args:
        default: values of flags that are not given; left out: the defaults of ``cls``.
    Raises:
        UserError: an unknown flag (the nearest known one is named), a value that does not fit, a missing argument.
    """
    said = io.StringIO()
    given: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            made, unknown = tyro.cli(
                cls,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalMetavarFromFieldName),
                prog=prog,
                description=description.replace("``", ""),
                args=list(argv),
                return_unknown_args=True,
                **given,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_line(said.getvalue())) from stop
    if unknown:
        raise UserError(_unknown(unknown[0], _flags(cls), prog))
    return made


def config_flag(argv: Sequence[str]) -> str | None:
    """The value of ``--config`` in a command line, read before all other flags because it sets their defaults.

    Raises:
        UserError: ``--config`` stands last, without a value.
    """
    value = None
    for i, word in enumerate(argv):
        if word == "--config":
            if i + 1 == len(argv):
                raise UserError("--config needs a value: a YAML file or the name of a preset")
            value = argv[i + 1]
        elif word.startswith("--config="):
            value = word.removeprefix("--config=")
    return value


def _unknown(word: str, known: list[str], prog: str) -> str:
    if word.startswith("--") and (foreign := as_flag(word.split("=")[0], known)):
        return foreign
    flag = word.split("=")[0].replace("_", "-")
    like = nearest(flag.removeprefix("--"), known) if flag.startswith("--") else None
    hint = f"; did you mean --{like}?" if like else ";"
    what = "flag" if word.startswith("-") else "argument"
    return f"unknown {what} {word}{hint} {prog} --help lists them all"


def _flags(cls: type) -> list[str]:
    hints: dict[str, Any] = get_type_hints(cls)
    flags = []
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            flags += _flags(hints[f.name])
        else:
            flags.append(f.name.replace("_", "-"))
    return flags


def _one_line(boxed: str) -> str:
    """The sentence in the box that tyro draws: below the title, above the next rule.

    The title stands in the box's upper border, or, if stdout is not UTF-8, above a rule of hyphens.
    """
    parts: list[list[str]] = [[]]
    for line in boxed.splitlines():
        text = line.strip("│ ")
        if text and set(text) <= {"─", "-"}:
            parts.append([])
        elif text and not line.startswith(("╭", "╰")):
            parts[-1].append(text)
    sentence = parts[0] if "╭" in boxed else parts[1]
    # Our own refusals come back as "Error parsing SECTION: ...", a flag's bad value as "Error parsing --FLAG: ...".
    said = re.sub(r"^Error parsing (--\S+: )?(?:[^-:]\S*: )?", r"\1", " ".join(sentence))
    for python_says, wanted in _NUMBERS.items():
        said = re.sub(rf"^(--\S+): .*{re.escape(python_says)}: ", rf"\1 must be {wanted}, got ", said)
    return said
