"""Ranks find each other, also where an earlier start has left its keys; who does not come is named."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from dcrnn_fast import train
from dcrnn_fast.errors import STOPPED, ToldElsewhereError, UserError
from dcrnn_fast.ranks import rendezvous
from dcrnn_fast.ranks.environment import Launch
from dcrnn_fast.ranks.rendezvous import meet
from tests.ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def torchruns_store(port: int) -> dist.Store:
    """As torchrun keeps one over all of a job's starts."""
    return dist.TCPStore("127.0.0.1", port, is_master=True, timeout=timedelta(seconds=20), wait_for_workers=False)


def all_at_once(*bodies: Callable[[], object]) -> list[object]:
    """Each body's result or its UserError."""
    results: list[object] = [None] * len(bodies)

    def run(number: int) -> None:
        try:
            results[number] = bodies[number]()
        except UserError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def stores_of(launches: list[Launch]) -> list[dist.Store]:
    """Of ranks that all meet."""
    met = all_at_once(*(lambda launch=launch: meet(launch, 20) for launch in launches))
    assert all(isinstance(one, tuple) for one in met), met
    return [store for store, _ in met]


def test_ranks_that_meet_share_a_store(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    launches = [Launch(rank, 3, hosts=("localhost",), ports=(port,)) for rank in range(3)]
    stores = stores_of(launches)
    stores[2].set("key", "value")
    assert stores[1].get("key") == b"value"
    assert capfd.readouterr() == ("", "")


def test_a_start_finds_nothing_of_the_one_before(torchruns_store: dist.Store, port: int) -> None:
    torchruns_store.set("dcrnn_fast/asks/1", "of a rank that died")
    launches = [Launch(rank, 2, hosts=("127.0.0.1",), ports=(port,), agent_serves=True) for rank in range(2)]
    for start in range(3):
        stores = stores_of(launches)
        assert not stores[0].check(["key"])
        stores[0].set("key", str(start))
        assert stores[1].get("key") == str(start).encode()


def test_rank_0_names_who_does_not_come_and_tells_the_others(
    torchruns_store: dist.Store, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    launches = [Launch(rank, 4, hosts=("127.0.0.1",), ports=(port,), agent_serves=True) for rank in (0, 2)]
    first, other = all_at_once(*(lambda launch=launch: meet(launch, 0.4) for launch in launches))
    words = f"rank 1, 3 of 4 at 127.0.0.1:{port} did not come within 0.4 s (--dist-timeout): start all ranks, with"
    assert str(first).startswith(words)
    assert not isinstance(first, ToldElsewhereError)
    assert isinstance(other, ToldElsewhereError), "only the first prints it"
    assert f"waiting for rank 1, 3 of 4 at 127.0.0.1:{port}, up to 0.4 s (--dist-timeout)" in capsys.readouterr().out


def test_a_rank_that_finds_no_rank_0_says_so(
    torchruns_store: dist.Store, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"^rank 1 waited 0.4 s .--dist-timeout. at 127\.0\.0\.1:\d+ for rank 0"):
        meet(Launch(1, 2, hosts=("127.0.0.1",), ports=(port,), agent_serves=True), 0.4)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()[1]
        with pytest.raises(
            UserError, match=r"^rank 1 of 2 found no rank 0 at 127\.0\.0\.1:\d+ within 0.4 s"
        ) as refused:
            meet(Launch(1, 2, hosts=("127.0.0.1",), ports=(nobody,)), 0.4)
    assert not isinstance(refused.value, ToldElsewhereError)
    out, err = capfd.readouterr()
    assert f"waiting for rank 0 at 127.0.0.1:{nobody}, up to 0.4 s" in out
    assert err == ""


@pytest.mark.parametrize("host", ["no.such.machine.invalid", "x" * 70])
def test_a_name_that_no_machine_has_is_one_line(host: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_NAME_MAY_COME", 0.1)
    for rank in (0, 1):
        with pytest.raises(UserError, match=r"^MASTER_ADDR .* is no machine that is known here: ") as refused:
            meet(Launch(rank, 2, hosts=(host,), ports=(port,)), 9)
        assert str(refused.value).isprintable()


def test_a_port_that_another_process_has_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^rank 0 cannot use MASTER_PORT {port}: Address already in use"):
            meet(Launch(0, 2, hosts=("127.0.0.1",), ports=(port,)), 9)
    assert capfd.readouterr().err == ""


def test_two_processes_with_one_number_are_named(torchruns_store: dist.Store, port: int) -> None:
    launches = [Launch(rank, 3, hosts=("127.0.0.1",), ports=(port,), agent_serves=True) for rank in (0, 1, 1)]
    assert "two processes have RANK=1: each needs its own" in map(
        str, all_at_once(*(lambda launch=launch: meet(launch, 0.4) for launch in launches))
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("rank", "flags", "code", "said"),
    [
        ("0", ("--config", "debug"), STOPPED, "while waiting for other ranks: nothing was begun"),
        ("1", ("--config", "debug"), STOPPED, "while waiting for other ranks: nothing was begun"),
        ("0", ("--nonsense",), 2, "unknown flag --nonsense"),
    ],
)
def test_a_signal_ends_the_wait_for_other_ranks(
    rank: str, flags: tuple[str, ...], code: int, said: str, number: int, port: int,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(train, "_MISTAKE_WAITS", 5)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    assert train.main([*flags, "--dist-timeout", "5", "--results", str(tmp_path / "r")]) == code
    timer.join()
    assert said in "".join(capfd.readouterr())
    assert list(tmp_path.iterdir()) == []
