"""``dcrnn-fast launch --scheduler ssh``: ranks on hosts that have no scheduler.

Each host is asked first whether it can be reached and has the same package: nothing starts anywhere unless all can. On
each runs ``dcrnn_fast.cluster.node``, over one connection.
"""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.cluster.hosts import Host, over_ssh, read_hosts, ssh_program
from dcrnn_fast.cluster.link import Place, place_words
from dcrnn_fast.cluster.preflight import Found, look_at
from dcrnn_fast.cluster.push import CODE, Cargo, push_to, pushed_paths
from dcrnn_fast.cluster.settings import settings_of, training_words
from dcrnn_fast.cluster.watch import run_places
from dcrnn_fast.errors import UserError

_PASSED_ON = re.compile(
    r"PYTHONPATH|OMP_NUM_THREADS|MKL_NUM_THREADS|WANDB_MODE|(GLOO|NCCL|TORCH|DCRNN_FAST)_\w+"
)  # WANDB_API_KEY would stand in the list of processes, for all to see
_FIRST_PORT, _PORTS = 20_000, 10_000


@dataclass(frozen=True, slots=True)
class _Run:
    """What is the same on all hosts.

    Attributes:
        directory, python, environment: of the ranks, where nothing is pushed.
        words: after ``dcrnn-fast train``.
    """

    hosts: tuple[Host, ...]
    ssh: str
    directory: str
    python: tuple[str, ...]
    environment: dict[str, str]
    words: tuple[str, ...]
    port: int


def run_on_hosts(flags: LaunchFlags) -> int:
    """Prints the command for each host, or with ``--submit`` starts and watches the ranks.

    Returns:
        0, 2, 85 or 1, as ``run_places``.
    Raises:
        UserError: a host cannot be reached, refuses, or has another package; a transfer failed; the logs cannot be
            written.
    """
    settings = settings_of(flags)
    results = Path(settings.output.results).absolute()
    run = _plan(flags, settings.output.results, results)
    cargo = Cargo.of(flags.push, flags.config, settings) if flags.push else None
    if not flags.submit:
        for place in _places(run, cargo):
            print(shlex.join(place.command))
        return 0
    run = _with_free_port(run, look_at(run.hosts, _asking(run, cargo), run.ssh, pushed=cargo is not None))
    if cargo is not None:
        _say(f"copying to {len(run.hosts)} hosts, {cargo.root}: {', '.join(one.name for one in cargo.parcels)}")
        push_to(run.hosts, run.python, run.ssh, cargo)
    places = _places(run, cargo)
    world = sum(place.count for place in places)
    names, first = ", ".join(host.name for host in run.hosts), run.hosts[0].name
    _say(f"{world} ranks on {names}; logs: {results / 'logs'}; where it is: {results / 'status.json'} on {first}")
    return run_places(places, results)


def _plan(flags: LaunchFlags, given: str, results: Path) -> _Run:
    hosts = read_hosts(flags.hosts)
    if flags.nodes > len(hosts):
        raise UserError(f"--nodes is {flags.nodes} and --hosts names {len(hosts)}: name more")
    if flags.nodes > 1:
        hosts = hosts[: flags.nodes]
    if flags.ntasks_per_node is not None or flags.gpus_per_node:
        hosts = [replace(host, slots=flags.tasks_per_node) for host in hosts]
    # Apart for each folder of results, so that two runs of one host do not meet.
    drawn = int(hashlib.sha256(str(results).encode()).hexdigest()[:8], 16)
    return _Run(
        hosts=tuple(hosts),
        ssh=ssh_program(),
        directory=str(Path.cwd()),
        python=_python_there(os.environ.get("DCRNN_PYTHON", "")),
        environment={name: value for name, value in sorted(os.environ.items()) if _PASSED_ON.fullmatch(name)},
        words=(*training_words(flags), *(() if given == str(results) else ("--results", str(results)))),
        port=_FIRST_PORT + drawn % _PORTS,
    )


def _python_there(words: str) -> tuple[str, ...]:
    """The words that start Python on the hosts, such as ``run.sh python`` for a container; "": this one's path."""
    try:
        return tuple(shlex.split(words)) or (sys.executable,)
    except ValueError as error:
        raise UserError(f"DCRNN_PYTHON must be words as a shell reads them, got {words!r:.80}: {error}") from error


def _asking(run: _Run, cargo: Cargo | None) -> str:
    """The beginning of a line of sh that runs Python as the ranks will; what is pushed is not there yet."""
    python = f"exec env {_environment(run.environment)} {shlex.join(run.python)}"
    return python if cargo is not None else f"cd {shlex.quote(run.directory)} && {python}"


def _environment(variables: dict[str, str]) -> str:
    return " ".join(shlex.quote(f"{name}={value}") for name, value in variables.items())


def _with_free_port(run: _Run, found: Sequence[Found]) -> _Run:
    """Takes the next port if another run has this one on the first host."""
    taken = set(found[0].taken_ports)
    port = next((port for port in range(run.port, run.port + 64) if port not in taken), run.port)
    return replace(run, port=port)


def _places(run: _Run, cargo: Cargo | None) -> list[Place]:
    """The command of each host."""
    world, first, places = sum(host.slots for host in run.hosts), 0, []
    paths = {} if cargo is None else pushed_paths(cargo)
    directory, environment = paths.pop(CODE, run.directory), dict(run.environment)
    if cargo is not None:
        environment["PYTHONPATH"] = directory
    words = [*run.words, *(word for flag in paths for word in (flag, paths[flag]))]  # the last of a flag counts
    master = (run.hosts[0].name, run.port)
    for number, host in enumerate(run.hosts):
        peer = "" if len(run.hosts) == 1 else run.hosts[1 if number == 0 else 0].name
        node = place_words(run.python, (first, host.slots), world, master, peer, words)
        script = f"cd {shlex.quote(directory)} && exec env {_environment(environment)} {shlex.join(node)}"
        places.append(Place(host.name, first, host.slots, tuple(over_ssh(host, script, run.ssh))))
        first += host.slots
    return places


def _say(line: str) -> None:
    print(f"dcrnn-fast launch: {line}", file=sys.stderr, flush=True)
