"""The commands of reproduce.md do run: each as it stands there, with fewer windows, epochs and units."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

PAGE = (ROOT / "reproduce.md").read_text(encoding="utf-8")
SMALL = (
    "--epochs", "1", "--max-train-windows", "32", "--max-validation-windows", "32", "--hidden-units", "4",
    "--num-layers", "1", "--hops", "1",
)  # fmt: skip
"""what comes last of a flag counts"""
SECTIONS = [title for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S) if "```sh" in text]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def blocks(section: str, language: str) -> list[str]:
    """The code of a section."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(section: str, data: str) -> list[list[str]]:
    """The words of each command, variables put in their places."""
    found, variables = [], {"DCRNN_FAST_DATA": data}
    for line in "".join(blocks(section, "sh")).replace("\\\n", " ").splitlines():
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        if assigned := re.fullmatch(r'(\w+)="(.*)"', line):
            variables[assigned[1]] = assigned[2]
        else:
            found.append(shlex.split(line, comments=True))
    return found


def test_every_section_with_commands_is_run() -> None:
    assert len(SECTIONS) == 4
    assert all(commands(section, "/data") for section in SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_commands_run(section: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = str(request.getfixturevalue("real_data")) if "DCRNN_FAST_DATA" in "".join(blocks(section, "sh")) else ""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DCRNN_FAST_DATA": data}
    for words in commands(section, data):
        if words[:3] == ["python", "-m", "bench.ranks"]:  # minutes, and root: its help must know the flags
            words, small = [*words[1:], "--help"], ()
        else:
            assert words[0] == "dcrnn-fast"
            words, small = ["-m", "dcrnn_fast.cli", *words[1:]], SMALL
            if words[2] == "launch":
                small = ("--epochs", "1")
        done = subprocess.run(
            [sys.executable, *words, *small], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    for program in blocks(section, "python"):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "equal: True" in done.stdout or "mean of horizons" in done.stdout
