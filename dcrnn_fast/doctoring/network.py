"""This machine's network: its interfaces, and whether rank 0's machine answers."""

import errno
import os
import socket
from collections.abc import Mapping

import psutil

from dcrnn_fast.messages import some
from dcrnn_fast.ranks.ports import holder_of

_IN_TIME = 3.0
_ADDRESSES = (socket.AF_INET, socket.AF_INET6)


def interfaces() -> dict[str, list[str]]:
    """The addresses of each interface that is up."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return {
        name: [one.address for one in found if one.family in _ADDRESSES]
        for name, found in psutil.net_if_addrs().items()
        if name in up
    }


def wrong_interfaces(environment: Mapping[str, str], known: Mapping[str, list[str]]) -> list[str]:
    """A sentence for each variable that names no interface of this machine."""
    sentences = []
    for variable, fits in (("GLOO_SOCKET_IFNAME", _gloo_takes), ("NCCL_SOCKET_IFNAME", _nccl_takes)):
        asked = environment.get(variable, "")
        if asked and not any(fits(asked, name) for name in known):
            names = some([f"{name} ({', '.join(found[:2]) or 'no address'})" for name, found in known.items()], 8)
            sentences.append(f"{variable}={asked} names no interface that is up here; there are {names}")
    return sentences


def reach(host: str, port: int) -> str:
    """Why this machine cannot connect to the place; "" if it can."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return f"{host} is no machine that is known here: {getattr(error, 'strerror', None) or error}"
    try:
        with socket.create_connection((host, port), timeout=_IN_TIME):
            return ""
    except TimeoutError:
        why = f"nothing came back within {_IN_TIME:g} s: a firewall, or another network"
    except OSError as error:
        why = (
            "the machine answers, but nothing listens at the port" if error.errno == errno.ECONNREFUSED else str(error)
        )
    return f"{host}:{port} ({addresses[0][4][0]}) cannot be reached: {why}"


def port_words(port: int) -> str:
    """Whether a port of this machine is free."""
    holder = holder_of(port)
    return f"port {port} here is held by {holder}" if holder else f"port {port} here is free"


def own_address_of(host: str) -> str:
    """The address of ``host`` if it is one of this machine's; "": it is another machine, or unknown."""
    try:
        named = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return ""
    own = {address.partition("%")[0] for found in interfaces().values() for address in found}
    return next(iter(sorted(named & own)), "")


def _gloo_takes(asked: str, name: str) -> bool:
    return name in asked.split(",")


def _nccl_takes(asked: str, name: str) -> bool:
    """As nccl reads it: beginnings of names; = in front: whole names; ^ in front: all others."""
    without = asked.startswith("^")
    rest = asked[1:] if without else asked
    exact = rest.startswith("=")
    words = (rest[1:] if exact else rest).split(",")
    hit = name in words if exact else any(name.startswith(word) for word in words)
    return hit != without


def hostname() -> str:
    """This machine's name; under Slurm, the node's, which its commands take."""
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())
