"""Imports point downwards only (the table of docs/contributing.md), are absolute, and never name ``kernels`` alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAVES = ("dcrnn_fast.config", "dcrnn_fast.errors", "dcrnn_fast.files")
ALLOWED = {
    "kernels": ("dcrnn_fast.kernels",),
    "dcrnn_fast/config": ("dcrnn_fast.config", "dcrnn_fast.errors"),
    "dcrnn_fast/graph": ("dcrnn_fast.graph", *LEAVES),
    "dcrnn_fast/data": ("dcrnn_fast.data", "dcrnn_fast.graph", *LEAVES),
    "dcrnn_fast/model": ("dcrnn_fast.model", "dcrnn_fast.kernels", "dcrnn_fast.graph", *LEAVES),
    "dcrnn_fast/training": (
        "dcrnn_fast.training",
        "dcrnn_fast.model",
        "dcrnn_fast.data",
        "dcrnn_fast.graph",
        "dcrnn_fast.evaluation.metrics",
        "dcrnn_fast.kernels.gpu",
        *LEAVES,
    ),
    "dcrnn_fast/evaluation": (
        "dcrnn_fast.evaluation",
        "dcrnn_fast.model",
        "dcrnn_fast.data",
        "dcrnn_fast.graph",
        *LEAVES,
    ),
    "dcrnn_fast/interop": ("dcrnn_fast.interop", "dcrnn_fast.model", "dcrnn_fast.graph", *LEAVES),
}
VERSION = "dcrnn_fast.__version__"


def _imports(source: str) -> Iterator[tuple[int, str, int]]:
    """(line, dotted name of what is imported, level) for every import; ``from a import b`` counts as a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}", node.level
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0


def violations(folder: str, source: str) -> list[str]:
    """What is wrong with the imports of one file of ``folder`` ("" for files that may import everything)."""
    found = []
    for line, name, level in _imports(source):
        if level:
            found.append(f"line {line}: relative import; write the absolute name")
        elif name.split(".")[0] == "kernels":
            found.append(f"line {line}: import dcrnn_fast.kernels; `kernels` alone is a second copy of every module")
        elif folder and name.split(".")[0] == "dcrnn_fast" and not _may_import(folder, name):
            found.append(f"line {line}: {folder}/ may not import {name}")
    return found


def _may_import(folder: str, name: str) -> bool:
    return name == VERSION or any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[folder])


FILES = [
    pytest.param(folder, path, id=str(path.relative_to(ROOT)))
    for folder in ALLOWED
    for path in sorted((ROOT / folder).rglob("*.py"))
]
FREE_FILES = [
    pytest.param(path, id=str(path.relative_to(ROOT)))
    for pattern in ("dcrnn_fast/*.py", "bench/**/*.py", "tests/**/*.py", "setup.py")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize(("folder", "path"), FILES)
def test_imports_point_downwards(folder: str, path: Path) -> None:
    assert violations(folder, path.read_text()) == []


@pytest.mark.parametrize("path", FREE_FILES)
def test_free_files_import_absolutely(path: Path) -> None:
    assert violations("", path.read_text()) == []


def test_every_folder_stands_in_the_table() -> None:
    folders = {f"dcrnn_fast/{p.name}" for p in (ROOT / "dcrnn_fast").iterdir() if (p / "__init__.py").is_file()}
    assert folders <= set(ALLOWED)


@pytest.mark.parametrize(
    ("folder", "planted"),
    [
        ("dcrnn_fast/graph", "from dcrnn_fast.data import open_data"),
        ("dcrnn_fast/graph", "from dcrnn_fast import data"),
        ("dcrnn_fast/data", "import dcrnn_fast.model.build"),
        ("dcrnn_fast/config", "from dcrnn_fast.files import sha256_of"),
        ("dcrnn_fast/training", "from dcrnn_fast.evaluation.report import Report"),
        ("dcrnn_fast/graph", "from dcrnn_fast.graphics import x"),
        ("kernels", "from dcrnn_fast.errors import UserError"),
        ("kernels", "from . import checks"),
        ("", "import kernels"),
        ("", "from kernels.terms import DiffusionTerms"),
        ("dcrnn_fast/model", "def f():\n    from dcrnn_fast.train import main"),
    ],
)
def test_a_planted_violation_is_found(folder: str, planted: str) -> None:
    assert len(violations(folder, planted)) == 1
