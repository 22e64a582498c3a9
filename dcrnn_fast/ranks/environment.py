"""The launcher's variables of this process, in torchrun's names. Names of other launchers belong here."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dcrnn_fast.errors import UserError


@dataclass(frozen=True, slots=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        sets_one_thread: the launcher sets OMP_NUM_THREADS=1 unless the user has set it.
        host, port: where the processes meet; "" and 0 for a single one.
        agent_serves: the launcher itself serves that place; otherwise rank 0 does.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    sets_one_thread: bool = False
    host: str = ""
    port: int = 0
    agent_serves: bool = False


class _Launcher(NamedTuple):
    """A launcher that starts tasks without torchrun's variables.

    ``sizes``: variables with the number of tasks, the first that is set counts; ``ranks``: with this one's number.
    """

    name: str
    sizes: tuple[str, ...]
    ranks: tuple[str, ...]


_LAUNCHERS = (
    _Launcher("Slurm's srun", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"), ("SLURM_PROCID",)),
    _Launcher("Open MPI's mpirun", ("OMPI_COMM_WORLD_SIZE",), ("OMPI_COMM_WORLD_RANK",)),
    _Launcher("MVAPICH's mpirun", ("MV2_COMM_WORLD_SIZE",), ("MV2_COMM_WORLD_RANK",)),
    _Launcher("an MPI launcher (PMI)", ("PMI_SIZE",), ("PMI_RANK",)),
    _Launcher("an MPI launcher (PMIx)", ("PMIX_SIZE",), ("PMIX_RANK",)),
    _Launcher("PALS's mpiexec", ("PALS_SIZE",), ("PALS_RANKID",)),
    _Launcher("IBM's jsrun", ("JSM_NAMESPACE_SIZE",), ("JSM_NAMESPACE_RANK",)),
    _Launcher("Flux", ("FLUX_JOB_SIZE",), ("FLUX_TASK_RANK",)),
)
_MOST_RANKS = 65_536
# Numbers that Slurm gives to a batch script's own step and to interactive shells.
_FIRST_SPECIAL_STEP = 0xFFFF_FFF0
_REMEDY = (
    "start one task per node, and in it torchrun with all of the node's processes; tasks that are meant as separate "
    "runs need RANK=0, WORLD_SIZE=1 and a --results folder each"
)


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """torchrun's RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; without them a single process.

    Raises:
        UserError: a variable is missing or no whole number, or they contradict each other; this is one of several
            tasks that know nothing of each other, and would each train alone.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in environment
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        _refuse_lonely_tasks(environment)
        return Launch(sets_one_thread=by_torchrun)
    rank, world = _integer(environment, "RANK"), _integer(environment, "WORLD_SIZE")
    local_rank = _integer(environment, "LOCAL_RANK", rank)
    local_world = _integer(environment, "LOCAL_WORLD_SIZE", world)
    if world > _MOST_RANKS:
        raise UserError(f"WORLD_SIZE must be at most {_MOST_RANKS}, got {world}")
    if not 0 <= rank < world:
        raise UserError(f"RANK must lie in 0 .. WORLD_SIZE - 1 = {world - 1}, got {rank}")
    if world == 1:
        return Launch(local_rank=local_rank, sets_one_thread=by_torchrun)
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]:
        raise UserError(f"WORLD_SIZE is {world} but {', '.join(missing)} is not set; start the ranks with torchrun")
    host, port = environment["MASTER_ADDR"], _integer(environment, "MASTER_PORT")
    if not host.strip() or not host.isprintable():
        raise UserError(f"MASTER_ADDR must be the name or address of rank 0's machine, got {host!r:.80}")
    if not 1 <= port <= 65535:
        raise UserError(f"MASTER_PORT must lie in 1 .. 65535, got {port}")
    agent_serves = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Launch(rank, world, local_rank, local_world, by_torchrun, host.strip(), port, agent_serves)


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


def _refuse_lonely_tasks(environment: Mapping[str, str]) -> None:
    """Raises UserError if this is one of several tasks of a job without a common world."""
    if "RANK" not in environment and "WORLD_SIZE" in environment and (world := _integer(environment, "WORLD_SIZE")) > 1:
        absent = f"WORLD_SIZE is {world} but RANK is not set (srun and mpirun set neither)"
        raise UserError(f"{absent}, and each process would train alone: {_REMEDY}")
    for launcher in _LAUNCHERS:
        if launcher.name.startswith("Slurm") and not _in_a_slurm_step(environment):
            continue
        size = next((name for name in launcher.sizes if name in environment), None)
        number = next((name for name in launcher.ranks if name in environment), None)
        if size is not None and _or_zero(environment[size]) > 1:
            known = f"{size}={environment[size].strip()}"
        elif size is None and number is not None and _or_zero(environment[number]) > 0:
            known = f"{number}={environment[number].strip()}"
        else:
            continue
        raise UserError(
            f"this is one of several tasks of {launcher.name} ({known}), and each would train alone: {_REMEDY}"
        )


def _in_a_slurm_step(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process: not the batch script, and not the shell of an allocation."""
    if _or_zero(environment.get("SLURM_PROCID", "")) > 0:  # those two are number 0
        return True
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", ""))
    return step.isascii() and step.isdigit() and int(step[:20]) < _FIRST_SPECIAL_STEP


def _or_zero(text: str) -> int:
    """A number; 0 for a text that is none, of a variable that is not ours."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else 0


def _integer(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text):
        raise UserError(f"environment variable {name} must be a whole number, got {text!r:.80}")
    return int(text)
