"""This process among those that were started together: its numbers and their meeting place, in torchrun's names.

torchrun and hand-set variables speak them already; ``launchers.py`` has the table of the others.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.launchers import Tasks, find_tasks, ports_of


@dataclass(frozen=True, slots=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        local_rank, local_world: of those on its host; None: the launcher does not say, they are counted at the meeting.
        sets_one_thread: the launcher sets OMP_NUM_THREADS=1 unless the user has set it.
        hosts, ports: where the processes meet: rank 0 is on one of the hosts, most likely the first, and takes the
            first port that is free; empty for a single process.
        job: a name that no other run has at the same time; rank 0 shows it to the others, which look for it. "": the
            user has named the place.
        agent_serves: the launcher itself serves that place; otherwise rank 0 does.
        launcher: its name, for messages.
    """

    rank: int = 0
    world: int = 1
    local_rank: int | None = 0
    local_world: int | None = 1
    sets_one_thread: bool = False
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    job: str = ""
    agent_serves: bool = False
    launcher: str = ""

    @property
    def place(self) -> str:
        """The likeliest meeting place."""
        return f"{self.hosts[0]}:{self.ports[0]}"


_MOST_RANKS = 65_536
_REMEDY = (
    "start one task per node, and in it torchrun with all of the node's processes; tasks that are meant as separate "
    "runs need RANK=0, WORLD_SIZE=1 and a --results folder each"
)


def translate(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of torchrun that another launcher has not set; none for a single process.

    Raises:
        UserError: as ``read_launch``.
    """
    return {name: value for name, value in names_of(read_launch(environment)).items() if name not in environment}


def enter(environment: MutableMapping[str, str] = os.environ) -> Launch:
    """Reads the launcher's variables, and sets those of torchrun in ``environment``, where everything finds them.

    Raises:
        UserError: as ``read_launch``.
    """
    launch = read_launch(environment)
    environment.update(names_of(launch))
    return launch


def names_of(launch: Launch) -> dict[str, str]:
    """torchrun's variables of this process; none for a single one."""
    if launch.world == 1:
        return {}
    values = {
        "RANK": launch.rank,
        "WORLD_SIZE": launch.world,
        "LOCAL_RANK": launch.local_rank,
        "LOCAL_WORLD_SIZE": launch.local_world,
        "MASTER_ADDR": launch.hosts[0],
        "MASTER_PORT": launch.ports[0],
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """This process by torchrun's or hand-set variables, else by the first launcher of the table; else a single one.

    Raises:
        UserError: a variable is missing or no whole number, or they contradict each other; this is one of several
            tasks that cannot find each other, and would each train alone.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in environment
    if "WORLD_SIZE" in environment and "RANK" in environment:
        return _of_names(environment, by_torchrun)
    try:
        tasks = find_tasks(environment)
    except ValueError as error:
        raise UserError(f"the launcher's variables cannot be read: {error}; {_REMEDY}") from error
    world = _integer(environment, "WORLD_SIZE") if "WORLD_SIZE" in environment else None
    if tasks is None:
        if world is not None and world > 1:
            raise UserError(f"WORLD_SIZE is {world} but RANK is not set, and each process would train alone: {_REMEDY}")
        return Launch(sets_one_thread=by_torchrun)
    if world is not None and world != tasks.size:
        raise UserError(
            f"WORLD_SIZE is {world}, but this is one of {tasks.size or 'several'} tasks of {tasks.launcher} "
            f"({tasks.known}): unset it, or set RANK in each task too"
        )
    return _of_tasks(environment, tasks)


def _of_names(environment: Mapping[str, str], by_torchrun: bool) -> Launch:
    rank, world = _integer(environment, "RANK"), _integer(environment, "WORLD_SIZE")
    local_rank = _integer(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else None
    local_world = _integer(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else None
    _require_numbers(rank, world, local_rank)
    if world == 1:
        return Launch(local_rank=local_rank or 0, sets_one_thread=by_torchrun)
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]:
        raise UserError(
            f"WORLD_SIZE is {world} but {', '.join(missing)} is not set: set them to rank 0's machine and a free port "
            "of it, or start the ranks with torchrun, srun or mpirun, which need neither"
        )
    return Launch(
        rank,
        world,
        local_rank,
        local_world,
        sets_one_thread=by_torchrun,
        hosts=(_address(environment),),
        ports=(_port(environment),),
        agent_serves=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        launcher="torchrun" if by_torchrun else "RANK and WORLD_SIZE",
    )


def _of_tasks(environment: Mapping[str, str], tasks: Tasks) -> Launch:
    """The address and the port that the user has set count; the others come from the launcher's variables."""
    hosts = (_address(environment),) if "MASTER_ADDR" in environment else tasks.hosts
    ports: tuple[int, ...] = ()
    if "MASTER_PORT" in environment:
        ports = (_port(environment),)
    elif tasks.job:
        ports = ports_of(tasks.job)
    missing = {
        "their number": tasks.size is not None,
        "this one's number": tasks.rank is not None,
        "rank 0's machine (MASTER_ADDR)": bool(hosts),
        "a port of it (MASTER_PORT)": bool(ports),
    }
    if absent := [what for what, known in missing.items() if not known]:
        raise UserError(
            f"this is one of several tasks of {tasks.launcher} ({tasks.known}), and each would train alone: nothing "
            f"says {', '.join(absent)}; set it in all tasks, or {_REMEDY}"
        )
    assert tasks.rank is not None
    assert tasks.size is not None
    _require_numbers(tasks.rank, tasks.size, tasks.local_rank)
    return Launch(
        tasks.rank,
        tasks.size,
        tasks.local_rank,
        tasks.local_size,
        hosts=hosts,
        ports=ports,
        job="" if {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys() else tasks.job,
        launcher=tasks.launcher,
    )


def at(launch: Launch, host: str, port: int) -> Launch:
    """``launch`` of a process that has found rank 0 there."""
    return replace(launch, hosts=(host,), ports=(port,))


def _require_numbers(rank: int, world: int, local_rank: int | None) -> None:
    if world > _MOST_RANKS:
        raise UserError(f"WORLD_SIZE must be at most {_MOST_RANKS}, got {world}")
    if not 0 <= rank < world:
        raise UserError(f"RANK must lie in 0 .. WORLD_SIZE - 1 = {world - 1}, got {rank}")
    if local_rank is not None and local_rank < 0:
        raise UserError(f"LOCAL_RANK must be at least 0, got {local_rank}")


def _address(environment: Mapping[str, str]) -> str:
    host = environment["MASTER_ADDR"]
    if not host.strip() or not host.isprintable():
        raise UserError(f"MASTER_ADDR must be the name or address of rank 0's machine, got {host!r:.80}")
    return host.strip()


def _port(environment: Mapping[str, str]) -> int:
    port = _integer(environment, "MASTER_PORT")
    if not 1 <= port <= 65535:
        raise UserError(f"MASTER_PORT must lie in 1 .. 65535, got {port}")
    return port


def signals_of_torchrun(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The signals that torchrun passes on to its ranks; any other one kills it, and only it."""
    names = environment.get("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    return tuple(name.strip() for name in names.split(","))


def launcher_notes(environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the user should know of the launcher before the run needs it."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return []
    passed = signals_of_torchrun(environment)
    if "SIGUSR1" in passed:
        return []
    flag = ",".join((*passed, "SIGUSR1"))
    return [
        f"torchrun passes {', '.join(passed)} on; SIGUSR1 would kill it, and the ranks then save and stop by "
        f"themselves: torchrun --signals-to-handle={flag} passes it on too"
    ]


def _integer(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name)
    if text is None or not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text):
        raise UserError(f"environment variable {name} must be a whole number, got {text!r:.80}")
    return int(text)
