"""The exit codes of commands, and who prints a mistake."""

import pytest

from dcrnn_fast.command import run_command
from dcrnn_fast.errors import UserError


def _mistaken(argv: list[str]) -> int:
    raise UserError(f"{argv[0]} is wrong\nin two lines")


@pytest.mark.parametrize(("rank", "printed"), [(None, True), ("0", True), ("1", False)])
def test_a_mistake_is_printed_by_rank_0_only(
    rank: str | None, printed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert run_command("train", _mistaken, ["--x"]) == 2
    assert capsys.readouterr().err == ("dcrnn-fast train: error: --x is wrong in two lines\n" if printed else "")


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
