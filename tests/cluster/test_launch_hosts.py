"""Hosts and their files, the commands over ssh, the receiving side of --push, and ranks on this machine."""

import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcrnn_fast.cluster import receive
from dcrnn_fast.cluster.hosts import Host, over_ssh, read_hosts, ssh_program
from dcrnn_fast.cluster.node import interface_towards
from dcrnn_fast.cluster.watch import cause
from dcrnn_fast.errors import UserError
from tests.checkout import ROOT
from tests.cluster.two_hosts import epochs_of, kill_rank, launch_words, processes_of, until


def test_hosts_from_words_and_files(tmp_path: Path) -> None:
    assert read_hosts(["a,user@b", "10.0.0.1"], {}) == [Host("a"), Host("user@b"), Host("10.0.0.1")]
    assert Host("user@b").name == "b"
    assert Host("[fe80::1]").name == "fe80::1"
    file = tmp_path / "hosts"
    file.write_text("# a comment\na slots=2\n\nb max_slots=8 # another\n")
    assert read_hosts([str(file)], {}) == [Host("a", 2), Host("b")]
    file.write_text("a\na\nb\n")  # PBS writes a line for each slot
    assert read_hosts([], {"PBS_NODEFILE": str(file)}) == [Host("a", 2), Host("b")]


@pytest.mark.parametrize(
    ("words", "line", "message"),
    [
        ([], None, "PBS_NODEFILE is not set"),
        (["-oProxyCommand=reboot"], None, "wanted the name or address of a host"),
        (["a;reboot"], None, "wanted the name or address of a host"),
        (["a", "b,a"], None, "'a' more than once"),
        (["FILE"], "a slots=0", "line 1: wanted a host"),
        (["FILE"], "a b", "line 1: wanted a host"),
        (["FILE"], "# nothing", "names no host"),
        (["FILE"], "$(reboot)", "line 1: wanted the name"),
    ],
)
def test_wrong_hosts_are_one_line(tmp_path: Path, words: list[str], line: str | None, message: str) -> None:
    file = tmp_path / "hosts"
    if line is not None:
        file.write_text(line)
    with pytest.raises(UserError, match=message):
        read_hosts([str(file) if word == "FILE" else word for word in words], {})


def test_a_remote_line_survives_both_shells() -> None:
    nasty = "a b'c\"d$HOME`id`\\ * ;&|\n!"
    command = over_ssh(Host("h"), f"printf %s {shlex.quote(nasty)}", "ssh")
    assert command[0] == "ssh"
    assert "BatchMode=yes" in command
    said = subprocess.run(["sh", "-c", command[-1]], capture_output=True, text=True)  # as sshd does
    assert said.stdout == nasty


def test_without_ssh_is_one_line() -> None:
    with pytest.raises(UserError, match="not on the PATH"):
        ssh_program({"DCRNN_SSH": "no-such-ssh"})


def test_the_interface_that_leads_to_a_host() -> None:
    assert interface_towards("127.0.0.1") == "lo"
    assert interface_towards("no-such-host.invalid") == ""


def _received(order: dict, content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The receiver's answers."""
    source = io.TextIOWrapper(io.BytesIO(json.dumps(order).encode() + b"\n" + content))
    sink = io.StringIO()
    monkeypatch.setattr(sys, "stdin", source)
    monkeypatch.setattr(sys, "stdout", sink)
    receive.main()
    return [json.loads(line.removeprefix(receive.MARK)) for line in sink.getvalue().splitlines()]


def _order(root: Path, name: str, *files: tuple[str, bytes]) -> dict:
    facts = [[file, len(content), hashlib.sha256(content).hexdigest(), 0o644] for file, content in files]
    return {"root": str(root), "name": name, "kind": name.partition("-")[0], "files": facts}


def test_only_what_is_missing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, big = tmp_path / "root", ("big", b"x" * 9999)
    left = root / f".receiving-{hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]}-999999999"
    left.mkdir(parents=True)  # of a receiver that was killed
    root.chmod(0o700)
    answers = _received(_order(root, "data-1", big, ("a/b", b"old")), big[1] + b"old", monkeypatch)
    assert answers == [{"wanted": [0, 1]}, {"placed": str(root / "data-1")}]
    answers = _received(_order(root, "data-2", big, ("a/b", b"new")), b"new", monkeypatch)
    assert answers == [{"wanted": [1]}, {"placed": str(root / "data-2")}]
    assert (root / "data-2" / "a" / "b").read_bytes() == b"new"
    assert (root / "data-2" / "big").read_bytes() == big[1]
    answers = _received(_order(root, "data-2", big, ("a/b", b"new")), b"", monkeypatch)
    assert answers == [{"wanted": []}, {"placed": str(root / "data-2")}]
    assert sorted(os.listdir(root)) == ["data-1", "data-2"]


def test_what_must_not_be_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"

    def refused(order: dict, content: bytes = b"") -> str:
        *_, last = _received(order, content, monkeypatch)
        return str(last["refused"])

    assert "no name of a file" in refused(_order(root, "data-1", ("../../escaped", b"x")), b"x")
    assert not (tmp_path / "escaped").exists()
    assert "the transfer ended inside a" in refused(_order(root, "data-1", ("a", b"xyz")), b"x")
    assert "a arrived damaged" in refused(_order(root, "data-1", ("a", b"xyz")), b"xyZ")
    assert os.listdir(root) == []
    root.chmod(0o777)
    assert "others may write there" in refused(_order(root, "data-1", ("a", b"x")), b"x")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_the_cause_is_told_and_not_what_followed() -> None:
    assert cause([(0, 1), (2, 1), (1, -9)]) == (1, -9)
    assert cause([(3, 2), (2, 1), (0, 1)]) == (2, 1)
    assert cause([(3, 2), (0, 2)]) == (0, 2)


def test_local_prints_its_command(tmp_path: Path) -> None:
    words = launch_words("local", "--ntasks-per-node", 3, "--config", "debug", "--", "--results", tmp_path / "a b")
    done = subprocess.run(words, env=_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert shlex.split(line)[-4:] == ["--results", str(tmp_path / "a b"), "--resume", "auto"]
    assert "--count 3 --world 3" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_on_this_machine_stop_together(tmp_path: Path) -> None:
    """A killed rank is named; asked to stop, all save; a killed launcher leaves nothing behind."""
    results = tmp_path / "results"
    words = launch_words(
        "local", "--ntasks-per-node", 2, "--config", "debug", "--submit", "--", "--results", results, "--epochs", 9000
    )

    def start() -> "subprocess.Popen[str]":
        before = epochs_of(results)
        launched = subprocess.Popen(
            words, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        until(lambda: epochs_of(results) > before or launched.poll() is not None, "an epoch ends")
        return launched

    launched = start()
    kill_rank(results, 1)
    _, said = launched.communicate(timeout=120)
    assert launched.returncode == 1, said
    assert "was ended by SIGKILL" in said
    until(lambda: not processes_of(results), "nothing is left", 30.0)

    launched = start()
    os.kill(launched.pid, signal.SIGUSR1)
    _, said = launched.communicate(timeout=120)
    assert launched.returncode == 85, said
    assert processes_of(results) == {}

    launched = start()
    launched.kill()
    launched.wait()
    until(lambda: not processes_of(results), "nothing is left", 60.0)
    assert json.loads((results / "status.json").read_text())["state"] == "stopped"
    launched.stderr.close()  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mistake_of_the_training_is_one_line(tmp_path: Path) -> None:
    words = launch_words(
        "local", "--ntasks-per-node", 2, "--config", "debug", "--submit", "--", "--data", tmp_path / "no"
    )
    since = time.monotonic()
    done = subprocess.run([*words, "--results", tmp_path / "r"], env=_environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.startswith("dcrnn-fast train: error: ")
    assert len(done.stdout.splitlines()) == 1
    assert "rank 0" in done.stderr.splitlines()[-1]
    print(f"{time.monotonic() - since:.1f} s")
