"""Imports point downwards only (the table of docs/contributing.md), are absolute, and never name ``kernels`` alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT

LEAVES = tuple(
    f"dcrnn_fast.{leaf}"
    for leaf in ("_lazy", "config", "drawing", "errors", "files", "messages", "process", "reading", "system")
)
ALLOWED = {
    "dcrnn_fast/config": ("dcrnn_fast.config", "dcrnn_fast.errors"),
    "dcrnn_fast/drawing": LEAVES,
    "dcrnn_fast/reading": LEAVES,
    "dcrnn_fast/graph": ("dcrnn_fast.graph", *LEAVES),
    "dcrnn_fast/graph/__main__.py": ("dcrnn_fast.graph_command",),
    # The compiled library also reads large text files.
    "dcrnn_fast/data": ("dcrnn_fast.data", "dcrnn_fast.graph", "dcrnn_fast.kernels.native", *LEAVES),
    "dcrnn_fast/model": ("dcrnn_fast.model", "dcrnn_fast.kernels", "dcrnn_fast.graph", *LEAVES),
    "dcrnn_fast/planning": (
        "dcrnn_fast.planning",
        "dcrnn_fast.model",
        "dcrnn_fast.kernels",
        "dcrnn_fast.data",
        "dcrnn_fast.graph",
        *LEAVES,
    ),
    # Rooms of their own: each knows leaves and itself, none of the other two.
    "dcrnn_fast/checkpoints": ("dcrnn_fast.checkpoints", *LEAVES),
    "dcrnn_fast/ranks": ("dcrnn_fast.ranks", *LEAVES),
    "dcrnn_fast/records": ("dcrnn_fast.records", *LEAVES),
    "dcrnn_fast/cluster": ("dcrnn_fast.cluster", *LEAVES),
    "dcrnn_fast/training": (
        "dcrnn_fast.training",
        "dcrnn_fast.checkpoints",
        "dcrnn_fast.ranks",
        "dcrnn_fast.records",
        "dcrnn_fast.planning",
        "dcrnn_fast.model",
        "dcrnn_fast.data",
        "dcrnn_fast.graph",
        "dcrnn_fast.device",
        "dcrnn_fast.installation",
        "dcrnn_fast.evaluation.calibration",
        "dcrnn_fast.evaluation.intervals",
        "dcrnn_fast.evaluation.metrics",
        "dcrnn_fast.evaluation.report_files",
        "dcrnn_fast.kernels.native",
        *LEAVES,
    ),
    "dcrnn_fast/doctoring": (
        "dcrnn_fast.doctoring",
        "dcrnn_fast.ranks",
        "dcrnn_fast.kernels",
        "dcrnn_fast.device",
        "dcrnn_fast.installation",
        *LEAVES,
    ),
    "dcrnn_fast/evaluation": (
        "dcrnn_fast.evaluation",
        "dcrnn_fast.model",
        "dcrnn_fast.data",
        "dcrnn_fast.graph",
        *LEAVES,
    ),
    "dcrnn_fast/runs": (
        "dcrnn_fast.runs",
        "dcrnn_fast.records",
        "dcrnn_fast.evaluation.plot_format",
        "dcrnn_fast.evaluation.report_files",
        "dcrnn_fast.evaluation.report_json",
        "dcrnn_fast.evaluation.style",
        *LEAVES,
    ),
    "dcrnn_fast/interop": (
        "dcrnn_fast.interop",
        "dcrnn_fast.checkpoints",
        "dcrnn_fast.kernels",
        "dcrnn_fast.model",
        "dcrnn_fast.graph",
        *LEAVES,
    ),
}

# Inside kernels/: root modules, gpu/ and halo/ above them, then operator.py, the operators (each may import those that
# it is made of), and selfcheck/ on top. __init__.py and explain.py name the operators.
KERNELS_ROOT = tuple(
    f"dcrnn_fast.kernels.{name}"
    for name in (
        "checks",
        "dispatch",
        "dtypes",
        "native",
        "saving",
        "source_digest",
        "terms",
        "variables",
        "weights",
    )
)
OPERATOR = ("dcrnn_fast.kernels.gpu", "dcrnn_fast.kernels.halo", "dcrnn_fast.kernels.operator", *KERNELS_ROOT)
CONVOLUTION = "dcrnn_fast.kernels.diffusion_conv"
SEQUENCE = "dcrnn_fast.kernels.dcgru_sequence"
ALLOWED |= {
    "kernels": KERNELS_ROOT,
    "kernels/__init__.py": ("dcrnn_fast.kernels",),
    "kernels/explain.py": ("dcrnn_fast.kernels",),
    "kernels/operator.py": ("dcrnn_fast.kernels.gpu", "dcrnn_fast.kernels.halo", *KERNELS_ROOT),
    "kernels/gpu": ("dcrnn_fast.kernels.gpu", *KERNELS_ROOT),
    "kernels/halo": ("dcrnn_fast.kernels.halo", *KERNELS_ROOT),
    "kernels/diffusion_conv": (CONVOLUTION, *OPERATOR),
    "kernels/dcgru_sequence": (SEQUENCE, CONVOLUTION, *OPERATOR),
    "kernels/dcgru_cell": ("dcrnn_fast.kernels.dcgru_cell", SEQUENCE, *OPERATOR),
    "kernels/dcrnn_seq2seq": ("dcrnn_fast.kernels.dcrnn_seq2seq", SEQUENCE, CONVOLUTION, *OPERATOR),
    "kernels/selfcheck": ("dcrnn_fast.kernels",),
    # Programs around the package: the tests import bench, so bench may not import the tests.
    "profiling": ("profiling", "dcrnn_fast.kernels", "dcrnn_fast.files"),
    "bench": ("bench", "dcrnn_fast"),
    "csrc": (),
}
FIRST_PARTY = ("dcrnn_fast", "bench", "profiling", "tests")
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
        elif folder and name.split(".")[0] in FIRST_PARTY and not _may_import(folder, name):
            found.append(f"line {line}: {folder} may not import {name}")
    return found


def _may_import(folder: str, name: str) -> bool:
    return name == VERSION or any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[folder])


def row_of(file: str) -> str:
    """The row of the table for a file: the longest that its path begins with."""
    return max((row for row in ALLOWED if file == row or file.startswith(f"{row}/")), key=len)


FILES = [
    pytest.param(row_of(file), ROOT / file, id=file)
    for file in sorted(
        str(path.relative_to(ROOT))
        for folder in {row.split("/")[0] if not row.startswith("dcrnn_fast/") else row for row in ALLOWED}
        for path in (ROOT / folder).rglob("*.py")
    )
]
FREE_FILES = [
    pytest.param(path, id=str(path.relative_to(ROOT)))
    for pattern in ("dcrnn_fast/*.py", "tests/**/*.py", "setup.py")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize(("folder", "path"), FILES)
def test_imports_point_downwards(folder: str, path: Path) -> None:
    assert violations(folder, path.read_text()) == []


@pytest.mark.parametrize("path", FREE_FILES)
def test_free_files_import_absolutely(path: Path) -> None:
    assert violations("", path.read_text()) == []


def test_only_two_commands_import_training() -> None:
    """Inference, evaluation and conversion work without a training loop."""
    importers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "dcrnn_fast").rglob("*.py")
        for _, name, _ in _imports(path.read_text())
        if f"{name}.".startswith("dcrnn_fast.training.")
    }
    assert {name for name in importers if not name.startswith("dcrnn_fast/training/")} == {
        "dcrnn_fast/plan.py",
        "dcrnn_fast/train.py",
    }


def test_every_folder_stands_in_the_table() -> None:
    folders = {
        f"{parent}{path.name}"
        for parent in ("dcrnn_fast/", "kernels/")
        for path in (ROOT / parent).iterdir()
        if (path / "__init__.py").is_file()
    }
    assert folders <= set(ALLOWED)


@pytest.mark.parametrize(
    ("folder", "planted"),
    [
        ("dcrnn_fast/graph", "from dcrnn_fast.data import open_data"),
        ("dcrnn_fast/graph", "from dcrnn_fast import data"),
        ("dcrnn_fast/data", "import dcrnn_fast.model.build"),
        ("dcrnn_fast/config", "from dcrnn_fast.files import sha256_of"),
        ("dcrnn_fast/reading", "from dcrnn_fast.graph.kernel import Kernel"),
        ("dcrnn_fast/training", "from dcrnn_fast.evaluation.report import Report"),
        ("dcrnn_fast/graph", "from dcrnn_fast.graphics import x"),
        ("dcrnn_fast/checkpoints", "from dcrnn_fast.ranks.group import Ranks"),
        ("dcrnn_fast/ranks", "from dcrnn_fast.records.events import Said"),
        ("dcrnn_fast/ranks", "from dcrnn_fast.device import choose_device"),
        ("dcrnn_fast/records", "from dcrnn_fast.data.window_format import WindowFormat"),
        ("dcrnn_fast/records", "from dcrnn_fast.checkpoints.read import LATEST"),
        ("dcrnn_fast/interop", "from dcrnn_fast.training.progress import Progress"),
        ("dcrnn_fast/planning", "from dcrnn_fast.training.run import Run"),
        ("dcrnn_fast/runs", "from dcrnn_fast.evaluation.report import Report"),
        ("kernels", "from dcrnn_fast.errors import UserError"),
        ("kernels", "from . import checks"),
        ("kernels", "from dcrnn_fast.kernels.gpu.plan import plan_name"),
        ("kernels", "def refusal():\n    from dcrnn_fast.kernels.selfcheck import failure"),
        ("kernels/gpu", "from dcrnn_fast.kernels.diffusion_conv.manual import diffuse"),
        ("kernels/gpu", "from dcrnn_fast.kernels.operator import run"),
        ("kernels/halo", "from dcrnn_fast.kernels.diffusion_conv.plain import stack_of"),
        ("kernels/halo", "from dcrnn_fast.ranks.failure import Meeting"),
        ("kernels/operator.py", "from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence"),
        ("kernels/diffusion_conv", "from dcrnn_fast.kernels import dcgru_sequence"),
        ("kernels/dcgru_sequence", "from dcrnn_fast.kernels.dcgru_cell import dcgru_cell"),
        ("kernels/dcgru_sequence", "from dcrnn_fast.kernels.selfcheck import failure"),
        ("kernels/selfcheck", "from dcrnn_fast.errors import UserError"),
        ("profiling", "from bench.workload import large"),
        ("bench", "from tests.kernels.emulated import emulate"),
        ("csrc", "from dcrnn_fast.kernels.native import library"),
        ("", "import kernels"),
        ("", "from kernels.terms import DiffusionTerms"),
        ("dcrnn_fast/model", "def f():\n    from dcrnn_fast.train import main"),
    ],
)
def test_a_planted_violation_is_found(folder: str, planted: str) -> None:
    assert len(violations(folder, planted)) == 1


def test_a_file_has_the_longest_row_that_fits() -> None:
    assert row_of("kernels/native.py") == "kernels"
    assert row_of("kernels/operator.py") == "kernels/operator.py"
    assert row_of("kernels/gpu/launches/cell.py") == "kernels/gpu"
