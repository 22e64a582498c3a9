"""The configuration as a YAML file: read strictly, written so that it reads back equal; the presets of the package.

Scalars follow YAML 1.2, not PyYAML's 1.1: ``1e-3`` is a number, ``off`` is text (a value of ``teacher_forcing``), and
``2012-03-01`` stays the text that ``start`` takes.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dcrnn_fast.config.plain import from_dict, nearest, shown, to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError

_LARGEST = 4 << 20
"""bytes of a configuration file"""
_LONGEST_PROBLEM = 200
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


_SCALARS: dict[str, tuple[re.Pattern[str], str, Callable[[str], Any]]] = {
    "null": (re.compile(r"(~|null|Null|NULL|)\Z"), "~nN", lambda _: None),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), "tTfF", lambda text: text[0] in "tT"),
    "int": (re.compile(r"[-+]?[0-9]{1,4000}\Z"), "-+0123456789", int),  # 010 is ten, not octal
    "float": (_FLOAT, "-+.0123456789", lambda text: float(re.sub(r"\.([iInN])", r"\1", text))),
}
"""tag -> what its texts look like, with which letters they begin, and the value that they mean"""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, texts, lists and maps: no other tag, no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)
    yaml_constructors = {  # noqa: RUF012
        tag: made
        for tag, made in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.endswith((":str", ":seq", ":map"))
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refusal("expected a mapping", node)
        keys: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refusal("a key must be text, not a list or a mapping", key_node)
            if key_node.value in keys:
                raise _refusal(f"key {shown(key_node.value)} stands twice", key_node)
            keys.add(key_node.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """No merging of mappings (``<<``), which YAML 1.2 has not: a few lines of it can mean gigabytes."""


def _refusal(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _scalar(kind: str, loader: _Loader, node: yaml.Node) -> Any:
    pattern, _, value_of = _SCALARS[kind]
    if not isinstance(node, yaml.ScalarNode) or not pattern.match(node.value):
        raise _refusal(f"this is no {kind}: {shown(getattr(node, 'value', None))}", node)
    return value_of(node.value)


for _kind, (_pattern, _letters, _) in _SCALARS.items():
    _tag = f"tag:yaml.org,2002:{_kind}"
    _Loader.add_implicit_resolver(_tag, _pattern, [*_letters, *([""] if _kind == "null" else [])])
    _Loader.add_constructor(_tag, partial(_scalar, _kind))


class _Dumper(yaml.SafeDumper):
    """Quotes a text that YAML 1.1 or 1.2 would read as something else."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        # Line breaks of Unicode come back as spaces unless they are escaped, which only double quotes do.
        breaks = set(text) & set("\x85\u2028\u2029\ufeff")
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if breaks else None)


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"))
_Dumper.add_representer(str, _Dumper.represent_str)


def to_yaml(config: Any) -> str:
    """A configuration as YAML text, sections in their order; ``parse_yaml`` gives an equal one back."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, *, source: str) -> Config:
    """The configuration in a YAML text; settings that it leaves out take their defaults.

    Args:
        source: the text's origin, for messages.
    Raises:
        UserError: not YAML, nothing in it, a key twice, an unknown key, a value that does not fit; the message names
            the source.
    """
    try:
        raw = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())[:_LONGEST_PROBLEM]
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise UserError(f"{source}: lists or mappings are nested too deeply: a section holds settings only") from error
    if raw is None:
        raise UserError(f"{source} holds no setting; to take every default, leave --config out")
    try:
        return from_dict(Config, raw)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def load_yaml(path: str | Path) -> Config:
    """Reads a configuration file.

    Raises:
        UserError: it cannot be read, or as ``parse_yaml``.
    """
    try:
        # A pipe without a writer (mkfifo) would be waited for; one that has one, as <(...), is read to its end.
        with open(path, "rb", opener=_open_without_waiting) as stream:
            payload = stream.read(_LARGEST + 1)
        text = payload.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
        name = shown(str(path)) if len(str(path)) > _LONGEST_PROBLEM else path
        raise UserError(f"cannot read the configuration {name}: {reason or error}") from error
    if len(payload) > _LARGEST:
        raise UserError(f"the configuration {path} is larger than {_LARGEST >> 20} MiB: is it a YAML file of settings?")
    return parse_yaml(text, source=str(path))


def _open_without_waiting(name: str, flags: int) -> int:
    if not hasattr(os, "O_NONBLOCK"):  # Windows, which has no such pipes
        return os.open(name, flags)
    descriptor = os.open(name, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def presets() -> list[str]:
    """Names of the configurations that the package brings along."""
    folder = resources.files("dcrnn_fast.config") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(name_or_path: str) -> Config:
    """A preset by its name, or else a YAML file by its path.

    Raises:
        UserError: neither exists (the presets are listed), or as ``load_yaml``.
    """
    known = presets()
    if name_or_path in known:
        file = resources.files("dcrnn_fast.config") / "presets" / f"{name_or_path}.yaml"
        return parse_yaml(file.read_text(encoding="utf-8"), source=f"preset {name_or_path}")
    if not os.path.exists(name_or_path) and len(name_or_path) <= _LONGEST_PROBLEM:
        like = nearest(name_or_path, known)
        hint = f"; did you mean {like}?" if like else ";"
        raise UserError(
            f"configuration {name_or_path!r} is neither a file nor a preset{hint} presets: {', '.join(known)}"
        )
    return load_yaml(name_or_path)
