"""What may be in the repository: nothing that belongs to one machine, nothing large, shell scripts that run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.checkout import ROOT

LIMIT_BYTES = 500_000
# A person's home or a scratch folder; /tmp alone may be an example in the documentation.
MACHINE_PATH = re.compile(r"/(?:root|home/\w+|Users/\w+|work/\w+|scratch/\w+)/|/tmp/\w+/")


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of tracked files")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def machine_paths(text: str) -> list[str]:
    return [match.group() for match in MACHINE_PATH.finditer(text)]


def test_no_paths_of_one_machine() -> None:
    found = {}
    for path in _tracked():
        if path.suffix != ".npz" and path != Path(__file__):
            hits = machine_paths(path.read_text(encoding="utf-8"))
            if hits:
                found[str(path.relative_to(ROOT))] = hits
    assert found == {}


def test_a_planted_path_is_found() -> None:
    assert machine_paths('data = "/home/someone/data"') == ["/home/someone/"]
    assert machine_paths("see https://example.org/home and ../shared/data") == []


def test_no_large_files() -> None:
    assert [str(p.relative_to(ROOT)) for p in _tracked() if p.stat().st_size > LIMIT_BYTES] == []


def test_scripts_are_executable() -> None:
    scripts = [p for p in _tracked() if p.suffix not in (".npz", ".txt") and p.read_bytes().startswith(b"#!")]
    assert ROOT / ".ci" / "run" in scripts
    assert [str(p) for p in scripts if not os.access(p, os.X_OK)] == []
