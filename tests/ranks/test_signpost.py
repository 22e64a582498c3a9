"""Ranks that nobody has told where rank 0 is find it, and only it, among other jobs and other programs."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks import rendezvous, signpost
from dcrnn_fast.ranks.environment import Launch
from dcrnn_fast.ranks.ports import holder_of, listen
from dcrnn_fast.ranks.rendezvous import meet
from dcrnn_fast.ranks.signpost import Signpost, ask
from tests.ports import free_port

HERE = "127.0.0.1"


def free_ports(number: int) -> tuple[int, ...]:
    ports: set[int] = set()
    while len(ports) < number:
        ports.add(free_port())
    return tuple(ports)


@contextmanager
def a_program_that_says(words: bytes) -> Iterator[int]:
    """The port of a program that says this to everybody; without words it says nothing, and keeps the connection."""
    guests: list[socket.socket] = []
    with listen(0) as server:

        def serve() -> None:
            while True:
                try:
                    guest, _ = server.accept()
                except OSError:
                    return
                guests.append(guest)
                if words:
                    guest.sendall(words)
                    guest.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for guest in guests:
        guest.close()


def test_only_the_jobs_own_rank_0_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signpost, "_ANSWERS_WITHIN", 0.2)
    (port,) = free_ports(1)
    assert ask(HERE, port, "slurm 1.0") is None
    with closing(Signpost("slurm 1.0", [port], 4321)):
        assert [ask(HERE, port, job) for job in ("slurm 1.0", "slurm 2.0", "slurm 1.1")] == [4321, None, None]
    assert ask(HERE, port, "slurm 1.0") is None, "closed"
    for words in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\xff" * 4096, b"dcrnn_fast/x y\n", b""):
        with a_program_that_says(words) as other:
            assert ask(HERE, other, "slurm 1.0") is None
    assert ask("no.such.machine.invalid", port, "slurm 1.0") is None
    assert ask("x" * 70, port, "slurm 1.0") is None


def test_a_taken_port_is_passed_over_and_if_all_are_their_holder_is_named() -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        (free,) = free_ports(1)
        with closing(Signpost("j", (port, free), 1)) as sign:
            assert sign.port == free
        with pytest.raises(UserError, match=rf"ports {port} to {port} of this job \(.*: process {os.getpid()} \("):
            Signpost("j", (port,), 1)


def test_who_holds_a_port() -> None:
    (port,) = free_ports(1)
    assert holder_of(port) == ""
    for family, address in ((socket.AF_INET, HERE), (socket.AF_INET6, "::1")):
        try:
            server = socket.create_server((address, port), family=family)
        except OSError:  # a machine without IPv6
            continue
        with server:
            assert holder_of(port).startswith(f"process {os.getpid()} (")


def meet_all(launches: list[Launch], seconds: float = 20) -> list[object]:
    results: list[object] = [None] * len(launches)

    def run(number: int) -> None:
        try:
            results[number] = meet(launches[number], seconds)
        except UserError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(launches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_jobs_with_the_same_ports_do_not_mix() -> None:
    """As two jobs on one machine whose numbers happen to lead to the same ports."""
    ports = free_ports(3)
    hosts = ("no.such.machine.invalid", HERE)
    launches = [Launch(rank, 2, hosts=hosts, ports=ports, job=job) for job in ("a", "b") for rank in range(2)]
    with listen(ports[0]):  # and another program has the first
        met = meet_all(launches)
    assert all(isinstance(one, tuple) for one in met), met
    stores, places = zip(*met, strict=True)
    for number, store in enumerate(stores):
        store.set(f"{launches[number].job} {launches[number].rank}", "here")
    for number, store in enumerate(stores):
        job, other = launches[number].job, "b" if launches[number].job == "a" else "a"
        assert [store.get(f"{job} {rank}") for rank in range(2)] == [b"here"] * 2, "a wait: nothing confirms a set()"
        assert not store.check([f"{other} 0"])
    assert places[1].ports == places[0].ports, "where the store is, for everything that reads MASTER_PORT"
    assert places[1].hosts == (HERE,)
    assert places[0].ports not in [(port,) for port in ports]


def test_among_many_hosts_the_right_one_is_found_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_LOOKS_EVERY", 0.01)
    ports = free_ports(1)
    hosts = (*(f"no.such.machine{number}.invalid" for number in range(9)), HERE)
    met = meet_all([Launch(rank, 2, hosts=hosts, ports=ports, job="a") for rank in range(2)])
    assert all(isinstance(one, tuple) for one in met), met


def test_who_does_not_come_is_named_with_the_port_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_LOOKS_EVERY", 0.02)
    ports = free_ports(2)
    first = meet_all([Launch(0, 3, hosts=(HERE,), ports=ports, job="a")], 0.3)
    assert str(first[0]).startswith(f"rank 1, 2 of 3 at {HERE}:{ports[0]} did not come within 0.3 s")
    (second,) = meet_all([Launch(1, 3, hosts=(HERE, "n2"), ports=ports, job="a")], 0.3)
    assert str(second).startswith(f"rank 1 of 3 found no rank 0 at {HERE}, n2:{ports[0]} to {ports[-1]} within 0.3 s")
