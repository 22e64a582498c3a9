"""``python -m dcrnn_fast.cluster.node``: the ranks of one host, for the launcher that holds the other end of its pipes.

It reads a line for each order: ``alive`` at least every ``QUIET_SECONDS``, ``signal N`` for the ranks, ``stop N`` with
the seconds that they have. It writes a JSON object a line: ``out`` of a rank, its ``exit``, ``alive``, and ``over`` at
the end. If its input ends, or the launcher is silent for too long, the ranks save and stop: over a cut connection
nobody could stop them later.
Only the standard library is needed, and no torch.
"""

import argparse
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from dcrnn_fast.cluster.rank_processes import SAVING_SECONDS, RankProcess, Stopping

ALIVE_EVERY = 5.0
QUIET_SECONDS = 60.0
"""without a word for so long, the other side counts as gone"""
MARK = "dcrnn_fast"
"""key of every line, by which the launcher tells them from a login shell's greetings"""
_TICK = 0.1
_LONG_ROUND = 5.0
_MOST_PENDING = 1 << 20
_OF_OTHER_LAUNCHERS = ("TORCHELASTIC_", "GROUP_", "ROLE_")
_SIOCGIFADDR = 0x8915


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when all ranks have ended and this was told, also if they failed: their codes are in the lines."""
    flags = _flags(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    environment = rank_environment(os.environ, flags)
    ranks = []
    for rank in range(flags.first, flags.first + flags.count):
        of_rank = {"RANK": str(rank), "LOCAL_RANK": str(rank - flags.first)}
        words = [sys.executable, "-u", "-m", "dcrnn_fast.train", *flags.training]
        ranks.append(RankProcess(rank, words, environment | of_rank))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _Node(ranks).run()
    return 0


def rank_environment(environment: Mapping[str, str], flags: argparse.Namespace) -> dict[str, str]:
    """What all ranks of this host share of torchrun's variables, beside this process' own environment."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_OF_OTHER_LAUNCHERS)}
    kept |= {
        "WORLD_SIZE": str(flags.world),
        "LOCAL_WORLD_SIZE": str(flags.count),
        "MASTER_ADDR": flags.master_addr,
        "MASTER_PORT": str(flags.master_port),
    }
    if flags.peer and "GLOO_SOCKET_IFNAME" not in kept and (name := interface_towards(flags.peer)):
        # gloo would take the address of the host's own name, which Debian sets to 127.0.1.1.
        kept["GLOO_SOCKET_IFNAME"] = name
    return kept


def was_suspended(since: float) -> bool:
    """Whether this process itself was suspended in a round of its loop: what was said meanwhile is still to be read."""
    return time.monotonic() - since > _LONG_ROUND


def interface_towards(host: str) -> str:
    """The network interface of this machine from which packets to ``host`` leave; "" if that is not known."""
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 9, socket.AF_INET, socket.SOCK_DGRAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # of a datagram socket: asks the routes, sends nothing
                mine = probe.getsockname()[0]
                for _, name in socket.if_nameindex():
                    if mine == _address_of(probe, name):
                        return name
    return ""


def _address_of(probe: socket.socket, interface: str) -> str:
    request = struct.pack("256s", interface.encode()[:15])
    try:
        return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[20:24])
    except OSError:  # it has no address
        return ""


class _Node:
    """The loop: ranks on one side, the launcher on the other."""

    def __init__(self, ranks: list[RankProcess]) -> None:
        self._ranks = ranks
        self._stopping = Stopping(ranks)
        self._heard_at: float | None = None
        self._spoke_at = 0.0
        self._orders = b""
        self._pending = b""
        self._selector = selectors.DefaultSelector()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.ask())
        for stream in (sys.stdin, sys.stdout):
            os.set_blocking(stream.fileno(), False)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._listen)
        for rank in ranks:
            self._selector.register(rank.output, selectors.EVENT_READ, rank)

    def run(self) -> None:
        """Until every rank has ended."""
        while not all(rank.told for rank in self._ranks):
            began = time.monotonic()
            self._tell_alive()
            for key, _ in self._selector.select(_TICK):
                if isinstance(key.data, RankProcess):
                    self._pass_on(key.data)
                else:
                    key.data()
            for rank in self._ranks:
                rank.look()
                if rank.over and not rank.told:
                    self._tell(rank=rank.rank, exit=rank.code)
                    rank.told = True
            quiet = 0.0 if self._heard_at is None else time.monotonic() - self._heard_at
            if quiet > QUIET_SECONDS and not was_suspended(began):
                self._stopping.ask()
            self._stopping.look()
            self._write()
        self._tell(over=True)
        give_up = time.monotonic() + QUIET_SECONDS
        while self._pending and time.monotonic() < give_up:
            self._write()
            time.sleep(_TICK / 10)

    def _pass_on(self, rank: RankProcess) -> None:
        if len(self._pending) > _MOST_PENDING:  # the launcher reads slowly: the rank waits too
            time.sleep(_TICK / 10)
            return
        text = rank.read()
        if text is None:
            self._selector.unregister(rank.output)
        elif text:
            self._tell(rank=rank.rank, out=text)

    def _listen(self) -> None:
        try:
            content = os.read(sys.stdin.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._selector.unregister(sys.stdin.fileno())
            self._heard_at = None
            self._stopping.ask()
            return
        *orders, self._orders = (self._orders + content).split(b"\n")
        for order in orders:
            self._heard_at = time.monotonic()
            self._obey(order.decode("ascii", "replace").split())

    def _obey(self, order: list[str]) -> None:
        match order:
            case ["signal", number]:
                for rank in self._ranks:
                    rank.send(int(number))
            case ["stop", seconds]:
                self._stopping.ask(float(seconds))
            case _:  # alive
                pass

    def _tell_alive(self) -> None:
        if time.monotonic() - self._spoke_at > ALIVE_EVERY:
            self._tell(alive=True)

    def _tell(self, **fact: object) -> None:
        self._spoke_at = time.monotonic()
        self._pending += json.dumps({MARK: 1, **fact}).encode() + b"\n"
        self._write()

    def _write(self) -> None:
        try:
            while self._pending:
                written = os.write(sys.stdout.fileno(), self._pending)
                self._pending = self._pending[written:]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self._pending = b""
            self._stopping.ask(SAVING_SECONDS)


def _flags(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dcrnn_fast.cluster.node", description=__doc__)
    parser.add_argument("--first", type=int, required=True, help="number of this host's first rank")
    parser.add_argument("--count", type=int, required=True, help="ranks on this host")
    parser.add_argument("--world", type=int, required=True, help="ranks on all hosts")
    parser.add_argument("--master-addr", required=True)
    parser.add_argument("--master-port", type=int, required=True)
    parser.add_argument("--peer", default="", help="another host, which tells the network interface to use")
    parser.add_argument("training", nargs=argparse.REMAINDER, help="words of dcrnn-fast train, after --")
    flags = parser.parse_args(argv)
    flags.training = flags.training[1:] if flags.training[:1] == ["--"] else flags.training
    return flags


if __name__ == "__main__":
    sys.exit(main())
