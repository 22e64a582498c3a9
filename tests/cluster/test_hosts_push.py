"""``--push`` to two hosts that share nothing but Python: bytes that change on the way, disks that fill, runs."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.cluster.two_hosts import TwoHosts, launch_words, processes_of, two_hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PUSHED = "/tmp/pushed"  # each host has its own
COPY = "this is the copy's code"


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def checkout(hosts: TwoHosts) -> Path:
    """A copy of the package in a folder that the hosts do not have, with data beside it."""
    folder = Path("/tmp") / f"only-here-{hosts.state.name}"
    for name in ("dcrnn_fast", "kernels", "csrc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("_dcrnn_fast_C*"):
        shutil.copy(path, folder)
    train = folder / "dcrnn_fast" / "train.py"
    main = 'if __name__ == "__main__":\n'
    train.write_text(train.read_text().replace(main, f'{main}    print("{COPY}", flush=True)\n'))
    (folder / "my data").mkdir()  # a name to quote
    table = "time,s1,s2,s3\n" + "".join(
        f"2024-01-{1 + i // 288:02}T{i // 12 % 24:02}:{i % 12 * 5:02}:00,{50 + i % 7},{60 + i % 5},{40 + i % 3}\n"
        for i in range(600)
    )
    (folder / "my data" / "speeds.csv").write_text(table)
    (folder / "my data" / "distances.csv").write_text("from,to,cost\ns1,s2,1\ns2,s3,1\ns3,s1,2\n")
    (folder / "run it.yaml").write_text(
        "model: {hidden_units: 4, num_layers: 1}\ntraining: {epochs: 1, batch_size: 16}\n"
    )
    yield folder
    shutil.rmtree(folder)


def push(hosts: TwoHosts, checkout: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = launch_words(
        "ssh", "--hosts", "a,b", "--config", "run it.yaml", "--push", "my data", "--submit", "--",
        "--data", "my data/speeds.csv", "--graph", "my data/distances.csv", *more,
    )  # fmt: skip
    environment = hosts.environment(PYTHONPATH=str(checkout), DCRNN_PUSH_ROOT=PUSHED)
    return subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)


def lies_there(hosts: TwoHosts, host: str) -> set[str]:
    """What the hosts' folder of pushed things has."""
    return set(hosts.say(host, "sh", "-c", f"mkdir -p {PUSHED}; ls -A {PUSHED}").split())


def test_push_puts_only_whole_things_in_place(hosts: TwoHosts, checkout: Path) -> None:
    results = hosts.shared / "results"
    words = ("--results", str(results))

    # The first byte after receive.py, its order and the package: in the data.
    sizes = [path.stat().st_size for path in (checkout / "dcrnn_fast" / "cluster").glob("receive.py")]
    with hosts.fault("b", "flips", str(sizes[0] + 400_000)):
        done = push(hosts, checkout, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "host b: " in done.stderr.splitlines()[-1]
    assert "arrived damaged (its checksum differs); nothing was put in place there" in done.stderr
    assert "host a" not in done.stderr.splitlines()[-1]
    assert lies_there(hosts, "b") == set()
    assert {name.split("-")[0] for name in lies_there(hosts, "a")} == {"code", "data", "config"}
    assert not results.exists()

    # Too small a disk there.
    hosts.say("b", "mount", "-t", "tmpfs", "-o", "size=300k,mode=700", "tmpfs", PUSHED)
    done = push(hosts, checkout, *words)
    assert done.returncode == 2
    assert re.search(r"host b: /tmp/pushed has 0\.\d+ MiB free", done.stderr.splitlines()[-1])
    assert lies_there(hosts, "b") == set()
    hosts.say("b", "umount", PUSHED)

    # And now it trains, with what was pushed.
    done = push(hosts, checkout, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lies_there(hosts, "a") == lies_there(hosts, "b")
    assert "2 process(es)" in done.stdout
    for rank in (0, 1):
        assert COPY in (results / "logs" / f"rank_00{rank}.log").read_text()
    assert f"{PUSHED}/data-" in (results / "config.yaml").read_text()
    assert processes_of(results) == {}
    first = hosts.say("b", "sh", "-c", f"ls -ldi {PUSHED}/*")

    # Again: nothing is sent, all is verified. A file that was damaged there since is sent again, alone.
    hosts.say("b", "sh", "-c", f"for file in {PUSHED}/data-*/speeds.csv; do printf x >> $file; done")
    done = push(hosts, checkout, *words, "--resume", "auto")
    assert done.returncode == 0, done.stdout + done.stderr
    second = hosts.say("b", "sh", "-c", f"ls -ldi {PUSHED}/*")
    assert {line.split("/")[-1].split("-")[0] for line in set(first.splitlines()) ^ set(second.splitlines())} == {
        "data"
    }
    lines = (checkout / "my data" / "speeds.csv").read_text()
    assert hosts.say("b", "sh", "-c", f"cat {PUSHED}/data-*/speeds.csv") == lines


def test_what_the_hosts_would_lack_is_refused(hosts: TwoHosts, checkout: Path) -> None:
    shutil.copy(checkout / "my data" / "distances.csv", checkout / "elsewhere.csv")
    done = push(hosts, checkout, "--graph", "elsewhere.csv")
    assert done.returncode == 2
    assert "--graph elsewhere.csv is not in --push my data" in done.stderr
    done = push(hosts, checkout, "--push", "nothing")
    assert done.returncode == 2
