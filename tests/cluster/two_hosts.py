"""Two hosts in network namespaces, and launches onto them, for tests."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.checkout import ROOT, missing, require_tool

_SCRIPT = Path(__file__).with_name("two_hosts.sh")
_LONGEST = 240.0


class TwoHosts:
    """Hosts a and b; ``shared`` is a folder that both see, as all of this checkout."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.shared = state / "shared"
        self.shared.mkdir()

    def say(self, host: str, *words: str) -> str:
        """What a command prints on a host."""
        pid = (self.state / f"{host}.pid").read_text().strip()
        done = subprocess.run(["nsenter", "-t", pid, "-n", "-u", "-m", *words], capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    @contextmanager
    def link_down(self) -> Iterator[None]:
        """The cable between the two is out."""
        self.say("b", "ip", "link", "set", "eth0", "down")
        try:
            yield
        finally:
            self.say("b", "ip", "link", "set", "eth0", "up")

    @contextmanager
    def link_at(self, rate: str) -> Iterator[None]:
        """The cable carries so much, such as 100mbit, in each direction."""
        for host in ("a", "b"):
            self.say(
                host,
                "tc",
                "qdisc",
                "add",
                "dev",
                "eth0",
                "root",
                "tbf",
                "rate",
                rate,
                "burst",
                "32kb",
                "latency",
                "50ms",
            )
        try:
            yield
        finally:
            for host in ("a", "b"):
                self.say(host, "tc", "qdisc", "del", "dev", "eth0", "root")

    @contextmanager
    def fault(self, host: str, name: str, value: str = "") -> Iterator[None]:
        """A fault of the ssh to a host, as two_hosts.sh describes them."""
        file = self.state / f"{host}.{name}"
        file.write_text(value)
        try:
            yield
        finally:
            file.unlink()

    def environment(self, **more: str) -> dict[str, str]:
        """With the ssh that reaches the two."""
        path = f"{self.state / 'bin'}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Makes the two; skips where this is not possible, and fails there with CI=true."""
    for tool in ("nsenter", "unshare", "ip", "tc"):
        require_tool(tool)
    if os.geteuid() != 0:
        missing("making network namespaces takes root")
    state = Path(tempfile.mkdtemp(prefix="two-hosts-", dir="/var/tmp"))  # each host has a /tmp of its own
    try:
        kept = sorted({str(ROOT), os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)})
        made = subprocess.run(["bash", _SCRIPT, state, "up", *kept], capture_output=True, text=True)
        if made.returncode != 0:
            missing(f"network namespaces cannot be made here: {made.stderr.strip()}")
        yield TwoHosts(state)
    finally:
        subprocess.run(["bash", _SCRIPT, state, "down"], check=True)
        shutil.rmtree(state, ignore_errors=True)


def launch_words(scheduler: str, *words: object) -> list[str]:
    """The command line of ``dcrnn-fast launch``."""
    return [sys.executable, "-m", "dcrnn_fast.launch", "--scheduler", scheduler, *map(str, words)]


def processes_of(folder: Path) -> dict[int, str]:
    """Every process whose command line names the folder, on whichever host: its rank, or "" if it has none."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                names = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(folder).encode() in word for word in words):
                ranks = [name.removeprefix(b"RANK=").decode() for name in names if name.startswith(b"RANK=")]
                found[int(entry.name)] = ranks[0] if ranks else ""
    return found


def kill_rank(folder: Path, rank: int) -> None:
    """SIGKILL to one rank's process."""
    os.kill(min(pid for pid, number in processes_of(folder).items() if number == str(rank)), signal.SIGKILL)


def until(condition: Callable[[], bool], what: str, seconds: float = _LONGEST) -> None:
    """Waits for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


def epochs_of(results: Path) -> int:
    """Epochs in metrics.csv."""
    file = results / "metrics.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def weights(results: Path) -> dict[str, torch.Tensor]:
    """The last checkpoint's parameters."""
    model: dict[str, torch.Tensor] = torch.load(results / "checkpoints" / "latest.pt", weights_only=True)["model"]
    return model


def assert_same_weights(left: Path, right: Path) -> None:
    """Bit for bit."""
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
