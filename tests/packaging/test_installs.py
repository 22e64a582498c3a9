"""Every way to install and run finds the package and its kernels: regular, editable, not at all; root and elsewhere.

Each install goes into a fresh virtual environment that borrows torch and the rest from the one that runs the tests.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from dcrnn_fast import __version__
from tests.checkout import ROOT

PROBE = """
import json, sys
import dcrnn_fast, dcrnn_fast.kernels.dispatch as dispatch
from dcrnn_fast.kernels.native import library
from dcrnn_fast.config.yaml_file import presets
print(json.dumps({
    "package": dcrnn_fast.__file__,
    "kernels": dispatch.__file__,
    "presets": presets(),
    "second_copy": "kernels" in sys.modules,
    "no_library": library().reason,
}))
"""
NO_COMPILER = "no-such-compiler"
WAYS = {"python": ["-m"], "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m"]}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Place:
    """A fresh environment and a copy of the sources that it was installed from."""

    environment: Path
    source: Path

    @property
    def site(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.environment / "lib" / version / "site-packages"

    def run(self, *words: str, cwd: Path, **variables: str) -> str:
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        done = subprocess.run(
            [str(self.environment / "bin" / words[0]), *words[1:]],
            cwd=cwd,
            env=inherited | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _make(folder: Path, how: str) -> Place:
    place = Place(folder / "environment", folder / "source")
    venv.create(place.environment, with_pip=False)
    # Borrowed, not inherited: a .pth adds the folder and leaves that folder's own .pth files (an editable
    # dcrnn_fast, say) unread.
    (place.site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (place.site / "install_probe.py").write_text(PROBE)
    place.source.mkdir()
    for name in ("dcrnn_fast", "kernels", "csrc", "slurm"):
        shutil.copytree(ROOT / name, place.source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place.source)
    if how != "none":
        python = str(place.environment / "bin" / "python")
        flags = ["--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet"]
        target = ["-e", "."] if how == "editable" else ["."]
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", *flags, *target],
            cwd=place.source,
            check=True,
            env=os.environ | ({"CXX": NO_COMPILER} if how == "no compiler" else {}),
        )
    return place


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    return {how: _make(tmp_path_factory.mktemp(how), how) for how in ("regular", "editable", "no compiler", "none")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("how", "where"),
    [
        ("regular", "root"),
        ("regular", "elsewhere"),
        ("regular", "root, safe path"),
        ("editable", "root"),
        ("editable", "elsewhere"),
        ("editable", "root, safe path"),
        ("no compiler", "root"),
        ("no compiler", "elsewhere"),
        ("none", "root"),
    ],
)
def test_package_and_kernels_are_found(
    how: str, where: str, way: str, places: dict[str, Place], tmp_path: Path
) -> None:
    place = places[how]
    cwd = tmp_path if where == "elsewhere" else place.source
    variables = {"PYTHONSAFEPATH": "1"} if where == "root, safe path" else {}
    found = json.loads(place.run("python", *WAYS[way], "install_probe", cwd=cwd, **variables))
    installed = how in ("regular", "no compiler") and where != "root"
    home = place.site if installed else place.source
    assert found["package"] == str(home / "dcrnn_fast" / "__init__.py")
    kernels = home / "dcrnn_fast" / "kernels" if installed else home / "kernels"
    assert found["kernels"] == str(kernels / "dispatch.py")
    assert found["presets"] == ["city", "cpu-nodes", "debug", "multi-gpu", "multi-node", "single-gpu"]
    assert not found["second_copy"]
    if how in ("regular", "editable"):
        assert found["no_library"] is None
    elif where == "root":
        assert found["no_library"].startswith("the kernels are not compiled; build it with: pip install")
    else:
        assert f"not compiled: there is no C++ compiler ({NO_COMPILER};" in found["no_library"]


def test_an_install_brings_one_name_and_its_data(places: dict[str, Place]) -> None:
    site = places["regular"].site
    names = {p.name for p in site.iterdir() if p.suffix not in (".pth", ".dist-info")}
    library = {"_dcrnn_fast_C.json", f"_dcrnn_fast_C{sysconfig.get_config_var('EXT_SUFFIX')}"}
    assert names - {"__pycache__", "install_probe.py"} == {"dcrnn_fast", *library}
    for data in ("py.typed", "kernels/py.typed", "config/presets/city.yaml", "config/presets/debug.yaml"):
        assert (site / "dcrnn_fast" / data).is_file()
    assert (site / "dcrnn_fast" / "drawing" / "style.css").is_file()
    kernels = {p.relative_to(ROOT / "kernels") for p in (ROOT / "kernels").rglob("*.py")}
    installed = site / "dcrnn_fast" / "kernels"
    assert {p.relative_to(installed) for p in installed.rglob("*.py")} == kernels
    scripts = {p.relative_to(ROOT / "slurm") for p in (ROOT / "slurm").rglob("*") if p.is_file()}
    ours = {path for path in scripts if "__pycache__" not in path.parts and path.name != "site.env"}
    installed = site / "dcrnn_fast" / "slurm"
    assert {p.relative_to(installed) for p in installed.rglob("*") if p.is_file() and p.suffix != ".pyc"} == ours


@pytest.mark.parametrize("how", ["regular", "editable"])
def test_console_command(how: str, places: dict[str, Place], tmp_path: Path) -> None:
    place = places[how]
    assert place.run("dcrnn-fast", "--version", cwd=tmp_path) == f"dcrnn_fast {__version__}\n"
    assert "(default: " in place.run("dcrnn-fast", "train", "--help", cwd=tmp_path)


@pytest.mark.parametrize("where", ["root", "elsewhere"])
@pytest.mark.parametrize("how", ["regular", "editable"])
def test_train_starts_under_torchrun(how: str, where: str, places: dict[str, Place], tmp_path: Path) -> None:
    place = places[how]
    cwd = tmp_path if where == "elsewhere" else place.source
    place.run(
        "python", *WAYS["torchrun"], "dcrnn_fast.train", "--config", "debug", "--check",
        "--results", str(tmp_path / "results"), cwd=cwd,
    )  # fmt: skip


def test_a_mistake_under_torchrun_is_told_once(places: dict[str, Place], tmp_path: Path) -> None:
    place = places["editable"]
    launch = [str(place.environment / "bin" / "python"), "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, "--nproc-per-node=2", "-m", "dcrnn_fast.train", "--epocs", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("dcrnn-fast train: error: unknown flag --epocs; did you mean --epochs?") == 1
    assert done.stderr.count("dcrnn-fast train: error:") == 1
