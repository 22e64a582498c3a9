"""What this process computes with: the versions, and the code itself, that all ranks of a run must have in common."""

import hashlib
import importlib.metadata
import platform
import re
from functools import cache
from pathlib import Path

import numpy as np
import torch

import dcrnn_fast
import dcrnn_fast.kernels
from dcrnn_fast.files import sha256_of
from dcrnn_fast.kernels.native import chosen_unit, library, library_file

_DIGITS = 16
"""of a SHA-256, for people to compare"""


def code_facts(device_type: str = "cpu", *, partitions: bool = False) -> dict[str, str]:
    """Versions, the beginnings of the SHA-256 of our sources and of the compiled library, and on a CPU its unit.

    Args:
        partitions: a graph is divided: with the version of the package that does it.
    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    module, file = library().module, library_file()
    unit = {}
    if device_type == "cpu":
        unit["CPU unit (DCRNN_FAST_CPU)"] = "none" if module is None else chosen_unit(module, "float32")
    return {
        "dcrnn_fast": dcrnn_fast.__version__,
        "sources": sources_digest(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "compiled library": "none" if module is None or file is None else sha256_of(file)[:_DIGITS],
        **unit,
        **({"pymetis": _version("pymetis")} if partitions else {}),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@cache
def sources_digest() -> str:
    """The beginning of the SHA-256 of all Python files of the package: their names and contents."""
    digest = hashlib.sha256()
    for folder in _folders():
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder.parent).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:_DIGITS]


def commit(root: Path | None = None) -> str | None:
    """The commit that is checked out where the package lies; None: it lies in no checkout.

    Args:
        root: of the checkout; None: the package's.
    """
    git = (Path(dcrnn_fast.__file__).parents[1] if root is None else root) / ".git"
    try:
        if git.is_file():  # a worktree
            git = (git.parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head if re.fullmatch("[0-9a-f]{40,64}", head) else None
        name = head.removeprefix("ref:").strip()
        shared = (git / (git / "commondir").read_text().strip()).resolve() if (git / "commondir").is_file() else git
        for place in (git, shared):
            if (place / name).is_file():
                return (place / name).read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, UnicodeError):
        return None


def _folders() -> list[Path]:
    package, kernels = Path(dcrnn_fast.__file__).parent, Path(dcrnn_fast.kernels.__file__).parent
    return [package] if kernels.is_relative_to(package) else [package, kernels]
