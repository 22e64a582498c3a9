"""Which settings somebody gave, and how those are refused that would do nothing."""

import dataclasses
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config, presets
from dcrnn_fast.errors import UserError

Needs = dict[str, str]
"""settings that do nothing here -> what each would need"""


def given_in(section: Any, argv: Sequence[str]) -> frozenset[str]:
    """Names of the fields of a section that were given: by a flag, or by a value that is no default and no preset's.

    A run saves its configuration with all values of its preset, and can be started from that again: those do not count.
    """
    usual = [type(section)(), *_in_presets(type(section))]  # type: ignore[arg-type]  # classes are hashable
    names = (f.name for f in dataclasses.fields(section))
    changed = {name for name in names if all(getattr(section, name) != getattr(one, name) for one in usual)}
    return given_by_flags(section, argv) | changed


def given_by_flags(section: Any, argv: Sequence[str]) -> frozenset[str]:
    """Names of the fields of a section that flags set to another value than the default, or to any number.

    A user who writes the default number believes that it is used; a switch that is off asks for nothing.
    """
    written, default = flags_in(argv), type(section)()
    return frozenset(
        f.name
        for f in dataclasses.fields(section)
        if f.name in written
        and ((value := getattr(section, f.name)) != getattr(default, f.name) or isinstance(value, float | int | tuple))
        and not (isinstance(value, bool) and value == getattr(default, f.name))
    )


def flags_in(argv: Sequence[str]) -> frozenset[str]:
    """Names of the flags of a command line, as fields: ``--hdf5-key=x`` is hdf5_key."""
    return frozenset(word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--"))


def refuse_idle(given: Collection[str], idle: Needs) -> None:
    """Raises UserError if a given setting does nothing; the message names each, and what it would need."""
    named = [f"--{name.replace('_', '-')} needs {needs}" for name, needs in idle.items() if name in given]
    if len(named) == 1:
        raise UserError(f"a setting without effect: {named[0]}; leave it out")
    if named:
        raise UserError(f"settings without effect: {'; '.join(named)}; leave them out")


@cache
def _in_presets(section: type) -> list[Any]:
    configs = [load_config(name) for name in presets()]
    parts = [getattr(config, f.name) for config in configs for f in dataclasses.fields(Config)]
    return [part for part in parts if type(part) is section]
