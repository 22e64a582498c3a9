"""The exit codes of commands, and who prints a mistake."""

import io
from pathlib import Path

import pytest

from dcrnn_fast.command import run_command
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks


def _mistaken(argv: list[str]) -> int:
    raise UserError(f"{argv[0]} is wrong\nin two lines")


@pytest.mark.parametrize("variables", [{}, {"RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_a_mistake_is_printed_whatever_the_shell_has_left_in_its_variables(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run_command("train", _mistaken, ["--x"]) == 2
    assert capsys.readouterr().err == "dcrnn-fast train: error: --x is wrong in two lines\n"


def test_a_mistake_that_another_rank_prints_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    def body(argv: list[str]) -> int:
        with Ranks(rank=1, world=2).reporting_failure():
            return _mistaken(argv)

    assert run_command("train", body, ["--x"]) == 2
    assert capsys.readouterr().err == ""


def test_exit_codes() -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    def buggy(argv: list[str]) -> int:
        raise ZeroDivisionError

    assert run_command("train", lambda argv: len(argv), ["a", "b", "c"]) == 3
    assert run_command("train", interrupted, []) == 130

    def other_pipe(argv: list[str]) -> int:
        raise BrokenPipeError

    with pytest.raises(ZeroDivisionError):
        run_command("train", buggy, [])
    # Not our output's reader has gone, but some other: a bug.
    with pytest.raises(BrokenPipeError):
        run_command("train", other_pipe, [])


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")],
)
def test_memory_that_runs_out_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def body(argv: list[str]) -> int:
        raise error

    assert run_command("forecast", body, []) == 2
    said = capsys.readouterr().err
    assert said.startswith("dcrnn-fast forecast: error: out of memory (")
    assert "GiB available to this process): " in said
    assert said.count("\n") == 1


def test_a_name_that_no_file_can_have_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("forecast", lambda argv: len(Path("x" * 5000).read_bytes()), []) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "dcrnn-fast forecast: error: a file cannot have this name: [Errno 36] File name too long: 'xxx"
    )
    assert len(said) < 500
    with pytest.raises(FileNotFoundError):
        run_command("forecast", lambda argv: len(Path("absent").read_bytes()), [])


def test_a_name_that_the_terminal_cannot_show_is_printed_in_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("ascii", b"M\\xfcnchen \\udc80\n"), ("utf-8", "München \\udc80\n".encode())):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", stdout)
        assert run_command("forecast", lambda argv: bool(print("München \udc80")), []) == 0
        assert stdout.buffer.getvalue() == shown  # type: ignore[attr-defined]
        assert stdout.errors == "strict"
