"""``import dcrnn_fast`` is light, its names arrive when used, and kernels/ is one package only."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dcrnn_fast
from dcrnn_fast import _source_tree
from tests.checkout import ROOT


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_import_loads_neither_torch_nor_kernels() -> None:
    code = (
        "import sys, dcrnn_fast.cli; print([m for m in ('torch', 'numpy', 'dcrnn_fast.kernels') if m in sys.modules])"
    )
    assert _python(code) == "[]\n"


@pytest.mark.parametrize("name", [n for n in dcrnn_fast.__all__ if n != "__version__"])
def test_every_public_name_arrives(name: str) -> None:
    assert callable(getattr(dcrnn_fast, name))
    assert name in dir(dcrnn_fast)


@pytest.mark.parametrize("package", ["data", "evaluation", "graph", "interop", "kernels", "model"])
def test_every_name_of_a_room_arrives(package: str) -> None:
    """Also those that are imported only when they are first used."""
    room = importlib.import_module(f"dcrnn_fast.{package}")
    assert [name for name in getattr(room, "__all__", ()) if not hasattr(room, name)] == []


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_names_that_the_pages_give_arrive(page: str) -> None:
    """`dcrnn_fast.data.open_data` in prose, as much as in code."""
    for dotted in re.findall(r"`(dcrnn_fast(?:\.\w+)+)(?:\([^`]*)?`", (ROOT / page).read_text(encoding="utf-8")):
        home, _, name = dotted.rpartition(".")
        module = importlib.import_module(home)
        assert hasattr(module, name) or importlib.util.find_spec(dotted) is not None, f"{page}: {dotted}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'DCRN'"):
        _ = dcrnn_fast.DCRN


def test_the_version_has_one_home() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dcrnn_fast.__version__"}
    assert re.search(rf"^## {re.escape(dcrnn_fast.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_kernels_come_from_the_source_tree_once() -> None:
    kernels = importlib.import_module("dcrnn_fast.kernels")
    assert kernels is importlib.import_module("dcrnn_fast.kernels")
    assert Path(str(kernels.__file__)).parent == ROOT / "kernels"


def test_mounting_again_changes_nothing() -> None:
    before = list(sys.meta_path)
    importlib.reload(_source_tree).mount_kernels()
    assert sys.meta_path == before


def test_the_finder_answers_for_one_name_only() -> None:
    finder = _source_tree.SourceKernels()
    assert finder.find_spec("dcrnn_fast.kernelsx") is None
    assert finder.find_spec("dcrnn_fast.kernels.terms") is None
    spec = finder.find_spec("dcrnn_fast.kernels")
    assert spec is not None
    assert spec.origin == str(ROOT / "kernels" / "__init__.py")


def _third_party_imports() -> set[str]:
    """Top names that the package imports, anywhere in a file, standard library and itself left out."""
    names = set()
    for path in [*(ROOT / "dcrnn_fast").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"dcrnn_fast"}


# Distributions whose module has another name, and those that pandas and xarray import for us.
MODULE_OF = {"nvidia-ml-py": "pynvml", "pyyaml": "yaml"}
ENGINES = {"h5netcdf", "pyarrow"}


def test_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    modules = {MODULE_OF.get(name, name) for name in distributions}
    optional = project["optional-dependencies"]
    extras = {re.split(r"[^\w-]", line)[0] for name in optional.keys() - {"dev"} for line in optional[name]}
    assert modules - ENGINES == _third_party_imports() - ENGINES - extras
    assert modules >= ENGINES


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split(r"[^\w-]", line)[0].lower()
        for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    }
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in pins)
    assert wanted <= {line.split("==")[0] for line in pins}
