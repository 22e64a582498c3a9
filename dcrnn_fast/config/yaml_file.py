"""The configuration as a YAML file: read strictly, written so that it reads back equal; the presets of the package.

Scalars follow YAML 1.2, not PyYAML's 1.1: ``1e-3`` is a number, ``off`` is text (a value of ``teacher_forcing``), and
``2012-03-01`` stays the text that ``start`` takes.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dcrnn_fast.config.plain import from_dict, nearest, to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2; a key that stands twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            keys.add(str(key))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # 010 is ten, not octal


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
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: not valid YAML: {problem}") from error
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
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"cannot read the configuration {path}: {reason}") from error
    return parse_yaml(text, source=str(path))


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
    if not Path(name_or_path).exists():
        like = nearest(name_or_path, known)
        hint = f"; did you mean {like}?" if like else ";"
        raise UserError(
            f"configuration {name_or_path!r} is neither a file nor a preset{hint} presets: {', '.join(known)}"
        )
    return load_yaml(name_or_path)
