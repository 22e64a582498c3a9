"""The compiled kernels are opened only after their build facts agree; a refusal does not break the import."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from dcrnn_fast import __version__
from dcrnn_fast.kernels.native import MODULE, library, refusal
from tests.kernels.compiled import require_library

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"package": __version__, "torch_target": "2.13", "torch": "2.13.0"}
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
