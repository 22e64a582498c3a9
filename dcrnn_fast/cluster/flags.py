"""What ``dcrnn-fast launch`` is told: where a run shall start, and with which resources."""

from dataclasses import dataclass
from typing import Literal

import tyro

from dcrnn_fast.errors import UserError

Scheduler = Literal["slurm", "pbs", "ssh", "local"]
_MOST_NODES = 65_536
_NOT_FOR = {
    "partition": ("slurm", "pbs"),
    "account": ("slurm", "pbs"),
    "time": ("slurm", "pbs"),
    "mem": ("slurm", "pbs"),
    "cpus_per_task": ("slurm", "pbs"),
    "job_name": ("slurm", "pbs"),
    "hosts": ("ssh",),
    "push": ("ssh",),
}
"""flags that only some schedulers know"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchFlags:
    """A run's place and resources; further flags of the training stand after ``--``."""

    scheduler: Scheduler | None = None
    """slurm, pbs: make a job script; ssh: start on hosts without a scheduler; local: on this machine"""
    config: str | None = None
    """YAML file or preset of the training"""
    partition: str | None = None
    """partition (Slurm) or queue (PBS); left out: the site's, or the scheduler's default"""
    nodes: int = 1
    gpus_per_node: int = 0
    """0: train on CPUs"""
    ntasks_per_node: int | None = None
    """processes on each node; left out: one for each GPU, or one"""
    cpus_per_task: int | None = None
    """CPU cores of each process; left out: the scheduler's default"""
    mem: str | None = None
    """memory of each node, such as 64G; left out: the scheduler's default"""
    time: str | None = None
    """longest duration, as Slurm writes it: 90 (minutes), 30:00, 12:00:00, 2-12, 2-12:30, 2-12:30:00; left out: the
    site's, or the scheduler's default"""
    account: str | None = None
    """account that is charged"""
    job_name: str | None = None
    """left out: dcrnn_fast"""
    hosts: tuple[str, ...] = ()
    """ssh: the nodes, the first is rank 0's"""
    push: str | None = None
    """ssh: copy the package and this file or folder of data to every host first, checksums verified"""
    submit: bool = False
    """slurm, pbs: queue the script, instead of printing it; ssh, local: start, instead of printing the commands"""
    init_site: bool = False
    """write slurm/site.env, the settings of this cluster for every job, and stop; never replaces one"""
    training: tyro.conf.Suppress[tuple[str, ...]] = ()
    """flags of the training, that stood after --"""

    def __post_init__(self) -> None:
        for name in ("config", "partition", "mem", "time", "account", "job_name", "push"):
            if getattr(self, name) == "":
                flag = name.replace("_", "-")
                raise UserError(
                    f"--{flag} is empty, as a shell variable that is not set leaves it: give it, or leave it out"
                )
        if self.scheduler is None:
            if not self.init_site:
                raise UserError("--scheduler must be one of slurm, pbs, ssh, local")
            return
        if self.config is None:
            raise UserError("--config is missing: a YAML file, or the name of a preset")
        for name, least in (("nodes", 1), ("gpus_per_node", 0), ("ntasks_per_node", 1), ("cpus_per_task", 1)):
            value = getattr(self, name)
            if value is not None and not least <= value <= _MOST_NODES:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} must be a whole number from {least} to {_MOST_NODES}, got {value}")
        if self.ntasks_per_node is not None and 0 < self.gpus_per_node < self.ntasks_per_node:
            raise UserError(
                f"--ntasks-per-node is {self.ntasks_per_node} and --gpus-per-node {self.gpus_per_node}: two processes "
                "never share a GPU; give at most one process for each"
            )
        for name, schedulers in _NOT_FOR.items():
            if getattr(self, name) not in (None, ()) and self.scheduler not in schedulers:
                flag, known = name.replace("_", "-"), " or ".join(schedulers)
                raise UserError(f"--{flag} needs --scheduler {known}, got {self.scheduler}; leave it out")

    @property
    def tasks_per_node(self) -> int:
        """Processes on each node: as asked, or one for each GPU, at least one."""
        return self.ntasks_per_node or max(1, self.gpus_per_node)

    @property
    def train_words(self) -> tuple[str, ...]:
        """The words after ``python -m dcrnn_fast.train``, without ``--resume auto``."""
        assert self.config is not None
        return ("--config", self.config, *self.training)
