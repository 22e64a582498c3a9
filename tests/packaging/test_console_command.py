"""``dcrnn-fast``: subcommands, help, and one line with exit code 2 for a mistake."""

import json
import os
import subprocess
import sys

import pytest

from dcrnn_fast import __version__, cli
from tests.checkout import ROOT


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dcrnn_fast {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"), [(["trian"], "did you mean train?"), ([], "which one?"), (["--hlep"], "unknown command --hlep")]
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert said in shown.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_reads_the_output(unbuffered: str) -> None:
    """As in `dcrnn-fast --help | head -1`, where the reader has gone before the first byte comes."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "dcrnn_fast.cli", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


_EACH_AS_A_MODULE = """
import contextlib, io, json, runpy, sys
shown = {}
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_module(f"dcrnn_fast.{name}", run_name="__main__", alter_sys=True)
        except SystemExit as done:
            shown[name] = (done.code, out.getvalue())
json.dump(shown, sys.stdout)
"""


def test_each_command_shows_its_defaults() -> None:
    """As a module: what `python -m dcrnn_fast.NAME --help` prints, one after the other in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _EACH_AS_A_MODULE, *cli.COMMANDS],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(done.stdout)
    assert list(shown) == list(cli.COMMANDS)
    for name, (code, text) in shown.items():
        assert code == 0
        assert f"usage: dcrnn-fast {name}" in text
        assert "(default: " in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_refuses_an_unknown_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--no-such-flag", "1"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"dcrnn-fast {name}: error: ")
    assert shown.count("\n") == 1


def test_ctrl_c_while_a_command_is_imported_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert cli.main(["train"]) == 130
