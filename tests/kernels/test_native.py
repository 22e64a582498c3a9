"""The compiled kernels are opened only after their build facts agree; a refusal does not break the import."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from dcrnn_fast import __version__
from dcrnn_fast.kernels import native
from dcrnn_fast.kernels.native import MODULE, SOURCES, library, refusal
from dcrnn_fast.kernels.source_digest import source_digest
from tests.checkout import ROOT
from tests.kernels.compiled import require_library

GOOD = {"package": __version__, "torch_target": "2.13", "torch": "2.13.0", "sources": source_digest(SOURCES)}
PROBE = """
import torch
from dcrnn_fast.kernels.native import library, why_not_cpu
assert library().module is None
print(why_not_cpu(torch.zeros(1)))
"""


@pytest.mark.parametrize(
    ("changes", "torch_version", "wanted"),
    [
        ({}, "2.13.0+cpu", None),
        ({}, "2.13.0a0+git1", None),
        ({}, "2.14.1", None),
        ({}, "3.0.0", None),
        ({}, "2.12.9", "need torch 2.13 or newer, this is 2.12.9"),
        ({"package": "0.0.9"}, "2.13.0", f"are of dcrnn_fast 0.0.9, this is {__version__}"),
        ({"reason": "there is no C++ compiler"}, "2.13.0", "not compiled: there is no C++ compiler"),
    ],
)
def test_build_facts_decide(changes: dict[str, Any], torch_version: str, wanted: str | None) -> None:
    reason = refusal(GOOD | changes, torch_version)
    if wanted is None:
        assert reason is None
    else:
        assert reason is not None
        assert wanted in reason


def seen_by_a_process(folder: Path, facts: dict[str, Any] | None) -> str:
    """What the kernels' loader says where ``folder`` holds a file that would crash or fail when it is opened."""
    (folder / f"{MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"no shared object")
    if facts is not None:
        (folder / f"{MODULE}.json").write_text(json.dumps(facts))
    # The folder comes before the checkout's own library.
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
    done = subprocess.run([sys.executable, "-c", paths + PROBE], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout


def test_a_library_of_another_version_is_not_opened(tmp_path: Path) -> None:
    said = seen_by_a_process(tmp_path, GOOD | {"package": "0.0.9"})
    assert said.startswith(f"the compiled kernels are of dcrnn_fast 0.0.9, this is {__version__}; build it with")


def test_a_library_for_a_newer_torch_is_not_opened(tmp_path: Path) -> None:
    said = seen_by_a_process(tmp_path, GOOD | {"torch_target": "99.0"})
    assert said.startswith(f"the compiled kernels need torch 99.0 or newer, this is {torch.__version__}; build it with")


def test_a_library_of_other_sources_is_not_opened(tmp_path: Path) -> None:
    for facts in (GOOD | {"sources": "0" * 64}, {key: value for key, value in GOOD.items() if key != "sources"}):
        said = seen_by_a_process(tmp_path, facts)
        assert said.startswith("the compiled kernels were built from other sources than those in csrc/ here; build it")
        assert "python setup.py build_ext --inplace" in said


def test_an_installed_package_has_no_sources_to_compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "SOURCES", tmp_path / "csrc")
    assert refusal(GOOD | {"sources": "0" * 64}, "2.13.0") is None


def test_every_change_of_a_source_changes_the_digest(tmp_path: Path) -> None:
    shutil.copytree(SOURCES, tmp_path / "csrc")
    copy = tmp_path / "csrc"
    assert source_digest(copy) == source_digest(SOURCES)
    digests = {source_digest(SOURCES)}
    (copy / "cpu" / "notes.txt").write_text("no source")
    digests.add(source_digest(copy))
    assert len(digests) == 1
    for change in (
        lambda: (copy / "cpu" / "kernels.h").write_text("// another\n"),
        lambda: (copy / "cpu" / "kernels.h").rename(copy / "cpu" / "kernel.h"),
        lambda: (copy / "cpu" / "new.cpp").write_text(""),
        lambda: (copy / "cpu" / "new.cpp").unlink() or (copy / "torch" / "new.cu").write_text(""),
    ):
        change()
        digests.add(source_digest(copy))
    assert len(digests) == 5


def test_a_library_without_facts_is_not_opened(tmp_path: Path) -> None:
    assert seen_by_a_process(tmp_path, None).startswith(f"{MODULE} has no build facts beside it")


def test_a_library_that_cannot_be_opened_is_a_reason(tmp_path: Path) -> None:
    assert seen_by_a_process(tmp_path, GOOD).startswith(f"{MODULE} cannot be opened (")


def test_every_unit_says_whether_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    module = library().module
    assert module is not None
    monkeypatch.delenv("DCRNN_FAST_CPU", raising=False)
    assert [name for name, _ in module.cpu_units()] == ["generic", "avx2", "avx512", "avx512_bf16", "amx"]
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    units = dict(module.cpu_units())
    assert units.pop("generic") == ""
    assert all(units.values())
    monkeypatch.setenv("DCRNN_FAST_CPU", "fast")
    with pytest.raises(ValueError, match="DCRNN_FAST_CPU is 'fast'"):
        module.cpu_units()
