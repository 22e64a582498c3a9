"""``dcrnn-fast launch --scheduler ssh`` onto two hosts, which are killed, hung up, cut off and slowed down."""

import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcrnn_fast.checkpoints.find import newest_good
from dcrnn_fast.records.status import read_status
from tests.checkout import ROOT
from tests.cluster.two_hosts import (
    TwoHosts,
    assert_same_weights,
    epochs_of,
    kill_rank,
    launch_words,
    processes_of,
    two_hosts,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
# Some ten seconds on two undisturbed cores: long enough to be interrupted three times.
TRAINING = (
    "--epochs", "12", "--city-nodes", "20", "--hidden-units", "32", "--max-train-windows", "768",
    "--save-every-steps", "3", "--dist-timeout", "25",
)  # fmt: skip


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with two_hosts() as made:
        yield made


def ssh_words(results: Path, *training: str) -> list[str]:
    return launch_words("ssh", "--hosts", "a,b", "--config", "debug", "--submit", "--", "--results", results, *training)


def run(hosts: TwoHosts, words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=hosts.environment(**variables), capture_output=True, text=True)


def start(hosts: TwoHosts, words: list[str]) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=hosts.environment(), text=True, **pipes)


def assert_nothing_left(results: Path) -> None:
    until(lambda: not processes_of(results), f"the processes end: {processes_of(results)}", 30.0)


def test_two_hosts_train_as_one_whatever_happens(hosts: TwoHosts) -> None:
    whole, results = hosts.shared / "whole", hosts.shared / "results"
    one_host = ["--ntasks-per-node", "2", "--config", "debug", "--submit", "--", "--results", whole, *TRAINING]
    done = run(hosts, launch_words("local", *one_host))
    assert done.returncode == 0, done.stdout + done.stderr
    words = ssh_words(results, *TRAINING)

    # The terminal hangs up: the run goes on, and can still be asked to stop.
    terminal, other_end = pty.openpty()
    launcher = subprocess.Popen(
        words,
        env=hosts.environment(),
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(other_end)
    until(lambda: epochs_of(results) >= 1, "the first epoch ends")
    os.close(terminal)
    until(lambda: epochs_of(results) >= 3, "the run goes on without its terminal")
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(120) == 85
    assert_nothing_left(results)
    status = read_status(results)
    assert status is not None
    assert (status.state, status.signal) == ("stopped", "SIGTERM")
    assert "2 process(es)" in (results / "logs" / "rank_000.log").read_text()
    assert (results / "logs" / "rank_001.log").exists()

    # One rank is killed: the other ends too, and the launcher says which it was.
    launched, before = start(hosts, words), epochs_of(results)
    until(lambda: epochs_of(results) > before or launched.poll() is not None, "another epoch ends")
    kill_rank(results, 1)
    _, said = launched.communicate(timeout=120)
    assert launched.returncode == 1, said
    assert "rank 1 on b was ended by SIGKILL" in said
    assert_nothing_left(results)

    # The cable is pulled: every rank ends within --dist-timeout, and says so.
    launched, before = start(hosts, words), epochs_of(results)
    until(lambda: epochs_of(results) > before or launched.poll() is not None, "another epoch ends")
    with hosts.link_down():
        since = time.monotonic()
        out, said = launched.communicate(timeout=200)
        print(f"link down: all ended after {time.monotonic() - since:.1f} s, --dist-timeout 25")
    assert launched.returncode == 1, out + said
    for rank in (0, 1):  # of themselves: the store, too, is behind the cable
        assert f"rank {rank} lost the other ranks" in (results / "logs" / f"rank_00{rank}.log").read_text(), out + said
    assert_nothing_left(results)
    assert newest_good(results / "checkpoints") is not None

    # A slow cable only takes longer; and after all this the weights are those of the undisturbed run.
    with hosts.link_at("10mbit"):
        since = time.monotonic()
        done = run(hosts, words)
        print(f"the rest at 10 Mbit/s: {time.monotonic() - since:.1f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_weights(results, whole)
    assert_nothing_left(results)


def test_nothing_starts_unless_all_hosts_can(hosts: TwoHosts) -> None:
    results = hosts.shared / "never"
    words = ssh_words(results)

    def refusal(words: list[str], **variables: str) -> str:
        done = run(hosts, words, **variables)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert "nothing was started" in line
        assert not results.exists()
        return line

    unknown = [word.replace("a,b", "a,elsewhere") for word in words]
    assert "host elsewhere: ssh cannot log in" in refusal(unknown)
    with hosts.fault("b", "refuses"):
        assert "host b: ssh cannot log in: b: Permission denied" in refusal(words)
    assert "host a has torch not installed" in refusal(words, DCRNN_PYTHON="/usr/bin/python3")
    assert "host b: Python does not start there" in refusal(words, DCRNN_PYTHON="/no/python")
    other = hosts.shared / "other.py"  # b has another version of one file
    other.write_text((ROOT / "dcrnn_fast" / "idle.py").read_text() + "# changed\n")
    hosts.say("b", "mount", "--bind", str(other), str(ROOT / "dcrnn_fast" / "idle.py"))
    assert "host b has other code of dcrnn_fast" in refusal(words)
    hosts.say("b", "umount", str(ROOT / "dcrnn_fast" / "idle.py"))
    dry = [word for word in words if word != "--submit"]
    done = run(hosts, dry)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[9] for line in done.stdout.splitlines()] == ["a", "b"]
    done = run(hosts, dry, DCRNN_PYTHON="run.sh 'my python'")
    assert all("run.sh" in line and "my python" in line for line in done.stdout.splitlines())
    assert not results.exists()


def test_a_killed_launcher_leaves_nothing_behind(hosts: TwoHosts) -> None:
    results = hosts.shared / "orphans"
    launched = start(hosts, ssh_words(results, *TRAINING, "--epochs", "900"))
    until(lambda: epochs_of(results) >= 1, "the first epoch ends")
    launched.kill()
    launched.wait()
    assert_nothing_left(results)
    status = read_status(results)
    assert status is not None
    assert status.state == "stopped", status
    assert newest_good(results / "checkpoints") is not None


def test_a_host_that_cannot_be_reached_by_the_others_is_named(hosts: TwoHosts) -> None:
    """ssh reaches both, but between them nothing passes: a firewall, or the wrong network."""
    results = hosts.shared / "apart"
    with hosts.link_down():
        done = run(hosts, ssh_words(results, "--dist-timeout", "15"))
    assert done.returncode == 2, done.stderr
    assert re.search(r"error: rank 1 of 2 at a:\d+ did not come within 15 s \(--dist-timeout\)", done.stdout)
    assert "rank 1 of 2 found no rank 0 at a:" in (results / "logs" / "rank_001.log").read_text()
    assert_nothing_left(results)


@pytest.mark.prove
def test_ranks_stop_when_the_launcher_is_silent(hosts: TwoHosts) -> None:
    """A launcher that is suspended, as its laptop may be, could not stop the ranks any more: they save and stop."""
    results = hosts.shared / "silent"
    launched = start(hosts, ssh_words(results, *TRAINING, "--epochs", "100000", "--patience", "0"))
    until(lambda: epochs_of(results) >= 1, "the first epoch ends")
    launched.send_signal(signal.SIGSTOP)

    def stopped() -> bool:
        status = read_status(results)
        return status is not None and status.state == "stopped"

    until(stopped, "the ranks stop")
    launched.send_signal(signal.SIGCONT)
    _, said = launched.communicate(timeout=120)
    assert launched.returncode == 85, said
    assert_nothing_left(results)
