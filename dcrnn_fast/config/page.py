"""docs/configuration.md, from the sections' own words: ``python -m dcrnn_fast.config.page > docs/configuration.md``."""

import ast
import dataclasses
import inspect
import textwrap
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dcrnn_fast.config.sections import Config

_HEAD = """# Configuration

Every setting of `dcrnn-fast train`. A flag is its name with dashes (`--batch-size 32`, `--no-time-of-day`); a
configuration file nests the names by section ([training](training.md)). Without any argument
`dcrnn-fast train` takes the preset `city`, which changes some of these defaults (`dcrnn_fast/config/presets`), as do
`debug`, `single-gpu`, `multi-gpu`, `multi-node` and `cpu-nodes`; `dcrnn_fast.presets` has them as functions.

Made from `dcrnn_fast/config` by `python -m dcrnn_fast.config.page > docs/configuration.md`.
"""
_WORDS = {int: "integer", float: "number", str: "text", bool: "true, false", type(None): "left out"}


def page() -> str:
    """The page: a table for each section, a row for each setting."""
    return "\n".join([_HEAD, *(_table(name, section) for name, section in get_type_hints(Config).items())])


def _table(name: str, section: type) -> str:
    hints, meanings = get_type_hints(section), _meanings(section)
    rows = [
        f"| `{f.name}` | {_values(hints[f.name])} | {_default(f.default)} | {meanings.get(f.name, '')} |"
        for f in dataclasses.fields(section)
    ]
    head = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {name}", "", inspect.cleandoc(section.__doc__ or ""), "", *head, *rows, ""])


def _meanings(section: type) -> dict[str, str]:
    """Field -> the string that follows it in the source."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(made, ast.ClassDef)
    return {
        field.target.id: " ".join(said.value.value.split())
        for field, said in zip(made.body, made.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str)
    }


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"any number of: {_values(get_args(hint)[0])}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_values(one) for one in get_args(hint))
    return _WORDS[hint]


def _default(value: Any) -> str:
    if value is None:
        return "left out"
    if isinstance(value, tuple):
        return " ".join(f"`{one}`" for one in value) or "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(page(), end="")
