"""The launchers that start the tasks of one program: their variables, where the tasks meet, and at which port."""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dcrnn_fast.ranks.slurm_lists import host_names, tasks_per_node

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 20_000, 28_999
"""ports that are derived from a job: below those that systems hand out by themselves, and not torch's 29500"""
PORTS_OF_A_JOB = 8
"""ports that a job may use: rank 0 takes the first that is free"""
# Numbers that Slurm gives to a batch script's own step and to interactive shells.
_FIRST_SPECIAL_STEP = 0xFFFF_FFF0
_STEPS_APART = 7
_BATCH_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "OAR_JOB_ID", "JOB_ID")
_HOST_FILES = ("PBS_NODEFILE", "COBALT_NODEFILE", "OAR_NODEFILE", "LSB_DJOB_HOSTFILE", "PE_HOSTFILE")
_MOST_HOSTS = 4096

Environment = Mapping[str, str]


class Launcher(NamedTuple):
    """A launcher that starts tasks without torchrun's variables; of several names the first that is set counts.

    Attributes:
        size, rank, local_size, local_rank: variables with the number of tasks and this one's, over all and on its host.
        job: variables that are the same in all tasks, and in no other run at the same time.
        hosts: the hosts of the tasks, rank 0's first if that is known.
    """

    name: str
    size: tuple[str, ...]
    rank: tuple[str, ...]
    local_size: tuple[str, ...] = ()
    local_rank: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    hosts: Callable[[Environment], list[str]] = lambda environment: hosts_of_batch(environment)


@dataclass(frozen=True, slots=True)
class Tasks:
    """What a launcher says; None: it does not.

    Attributes:
        known: the variable and its value from which there are known to be several tasks.
        job: a name of this start that no other run has at the same time; "" if none is known.
        hosts: where rank 0 may be, most likely first; the loopback address if all tasks are on one host.
    """

    launcher: str
    known: str
    rank: int | None
    size: int | None
    local_rank: int | None
    local_size: int | None
    job: str
    hosts: tuple[str, ...]


def hosts_of_batch(environment: Environment) -> list[str]:
    """The hosts of the batch job: from its variable, or from the file that it names."""
    if short := environment.get("SLURM_JOB_NODELIST", environment.get("SLURM_NODELIST", "")):
        return host_names(short)
    for name in _HOST_FILES:
        if path := environment.get(name):
            return hosts_of_file(Path(path))
    return environment.get("LSB_HOSTS", "").split()


def hosts_of_file(path: Path) -> list[str]:
    """The first words of its lines, each once; none if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip() and line.strip()[0] != "#"))


def hosts_of_slurm_step(environment: Environment) -> list[str]:
    """The step's hosts: the job may have more, and the step may not begin with the job's first."""
    return host_names(environment["SLURM_STEP_NODELIST"]) if "SLURM_STEP_NODELIST" in environment else []


def hosts_of_open_mpi(environment: Environment) -> list[str]:
    """The hosts of its daemons, mpirun's own last if it has no tasks; then the job's, then mpirun's addresses."""
    # vm,n[1:1-2]@0(3): names, or prefix[width of the number:ranges]; after the @ the daemons' numbers.
    short = environment.get("OMPI_MCA_orte_node_regex", "").partition("@")[0]
    short = re.sub(r"\[([0-9]+):([^\]]*)\]", lambda found: f"[{_padded(found[2], int(found[1][:2]))}]", short)
    hosts = host_names(short)
    if _or_zero(environment.get("OMPI_MCA_orte_num_nodes", "")) < len(hosts):
        hosts = [*hosts[1:], *hosts[:1]]
    # 131923968.0;tcp://192.0.2.2,10.1.0.2:46585;tcp6://[fd00::2]:38729
    addresses = re.findall(r"tcp6?://([^;]+):[0-9]+", environment.get("OMPI_MCA_orte_hnp_uri", ""))
    # Version 5 names the job after mpirun's host and process: prterun-vm-4242@1.
    own = re.findall(r"^prte\w*-(.+)-[0-9]+@[0-9]+$", environment.get("PMIX_NAMESPACE", ""))
    return [*hosts, *hosts_of_batch(environment), *own, *",".join(one.strip("[]") for one in addresses).split(",")]


def _padded(ranges: str, width: int) -> str:
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(width), ranges)


LAUNCHERS = (
    Launcher(
        "Open MPI's mpirun",
        ("OMPI_COMM_WORLD_SIZE",),
        ("OMPI_COMM_WORLD_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
        hosts_of_open_mpi,
    ),
    Launcher(
        "MVAPICH's mpirun",
        ("MV2_COMM_WORLD_SIZE",),
        ("MV2_COMM_WORLD_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MPIRUN_ID", "PMI_JOBID"),
    ),
    Launcher(
        "PALS's mpiexec",
        ("PALS_SIZE", "PMI_SIZE"),
        ("PALS_RANKID",),
        ("PALS_LOCAL_SIZE", "PMI_LOCAL_SIZE"),
        ("PALS_LOCAL_RANKID",),
        ("PALS_APID",),
    ),
    Launcher(
        "IBM's jsrun",
        ("JSM_NAMESPACE_SIZE",),
        ("JSM_NAMESPACE_RANK",),
        ("JSM_NAMESPACE_LOCAL_SIZE",),
        ("JSM_NAMESPACE_LOCAL_RANK",),
        ("JSM_JSRUN_JOBID",),
    ),
    Launcher("Flux", ("FLUX_JOB_SIZE",), ("FLUX_TASK_RANK",), (), ("FLUX_TASK_LOCAL_ID",), ("FLUX_JOB_ID",)),
    # Before Slurm: under a daemon of MPICH, Slurm's own variables have the daemon's numbers.
    Launcher(
        "an MPI launcher (PMI)",
        ("PMI_SIZE",),
        ("PMI_RANK",),
        ("PMI_LOCAL_SIZE", "MPI_LOCALNRANKS"),
        ("PMI_LOCAL_RANK", "MPI_LOCALRANKID"),
        ("PMI_JOBID",),
    ),
    Launcher(
        "Slurm's srun",
        ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"),
        ("SLURM_PROCID",),
        (),
        ("SLURM_LOCALID",),
        ("SLURM_JOB_ID", "SLURM_JOBID"),
        hosts_of_slurm_step,
    ),
    Launcher("an MPI launcher (PMIx)", ("PMIX_SIZE",), ("PMIX_RANK",), (), (), ("PMIX_NAMESPACE",)),
)
_SLURM = "Slurm's srun"


def find_tasks(environment: Environment) -> Tasks | None:
    """The first launcher that has started this process beside others; None: it has no others.

    Raises:
        ValueError: a list of hosts or tasks that is none.
    """
    for launcher in LAUNCHERS:
        if launcher.name == _SLURM and not _in_a_slurm_step(environment):
            continue
        size, number = _first(environment, launcher.size), _first(environment, launcher.rank)
        if number is None and size != launcher.size[0]:  # a name that it shares with another one
            continue
        if size is not None and _or_zero(environment[size]) > 1:
            known = size
        elif size is None and number is not None and _or_zero(environment[number]) > 0:
            known = number
        else:
            continue
        return _tasks_of(launcher, environment, known)
    return None


def ports_of(job: str) -> tuple[int, ...]:
    """The ports of a job's name: neighbouring Slurm jobs and steps have other ones, a name of letters any."""
    slurm = re.fullmatch(r"slurm ([0-9]{1,18})\.([0-9]{1,18})", job)
    number = int(slurm[1]) * _STEPS_APART + int(slurm[2]) if slurm else zlib.crc32(job.encode())
    blocks = (LAST_PORT + 1 - FIRST_PORT) // PORTS_OF_A_JOB
    first = FIRST_PORT + number % blocks * PORTS_OF_A_JOB
    return tuple(range(first, first + PORTS_OF_A_JOB))


def _tasks_of(launcher: Launcher, environment: Environment, known: str) -> Tasks:
    rank, size = _number(environment, launcher.rank), _number(environment, launcher.size)
    local_size = _number(environment, launcher.local_size)
    job = _job(launcher, environment)
    if launcher.name == _SLURM:
        local_size = _local_size_of_slurm(environment)
    hosts = list(dict.fromkeys(name for name in launcher.hosts(environment) if name))[:_MOST_HOSTS]
    if (size is not None and local_size == size) or (launcher.name == _SLURM and len(hosts) == 1):
        hosts = [LOOPBACK]
    return Tasks(
        launcher=launcher.name,
        known=f"{known}={environment[known].strip()}",
        rank=rank,
        size=size,
        local_rank=_number(environment, launcher.local_rank),
        local_size=local_size,
        job=job,
        hosts=tuple(hosts),
    )


def _job(launcher: Launcher, environment: Environment) -> str:
    own = _first(environment, launcher.job)
    if launcher.name == _SLURM:
        step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", "")).strip()
        return f"slurm {environment[own].strip()}.{step}" if own is not None and step else ""
    name = own or _first(environment, _BATCH_JOBS)
    return "" if name is None else f"{name} {environment[name].strip()}"


def _local_size_of_slurm(environment: Environment) -> int | None:
    node = _number(environment, ("SLURM_NODEID",))
    short = environment.get("SLURM_STEP_TASKS_PER_NODE")
    if short is None or node is None:
        return None
    tasks = tasks_per_node(short)
    return tasks[node] if node < len(tasks) else None


def _in_a_slurm_step(environment: Environment) -> bool:
    """Whether srun started this process: not the batch script, and not the shell of an allocation."""
    if _or_zero(environment.get("SLURM_PROCID", "")) > 0:  # those two are number 0
        return True
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", ""))
    return step.isascii() and step.isdigit() and int(step[:20]) < _FIRST_SPECIAL_STEP


def _first(environment: Environment, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in environment), None)


def _number(environment: Environment, names: tuple[str, ...]) -> int | None:
    name = _first(environment, names)
    text = "" if name is None else environment[name]
    return int(text) if re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else None


def _or_zero(text: str) -> int:
    """A number; 0 for a text that is none, of a variable that is not ours."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else 0
