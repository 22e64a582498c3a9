"""slurm/site.env: what holds for every job of a cluster; written once, then the user's."""

import shlex
from pathlib import Path

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import require_writable_folder, write_bytes

SITE = Path("slurm", "site.env")

# sbatch's variable -> what it sets; and the flag of launch that takes its place
SBATCH_VARIABLES = {
    "SBATCH_PARTITION": "partition",
    "SBATCH_ACCOUNT": "account",
    "SBATCH_TIMELIMIT": "time",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_GPUS_PER_NODE": "gpus_per_node",
    "SBATCH_JOB_NAME": "job_name",
}

_TEMPLATE = """\
# This cluster's settings, in bash. Every job reads them. #SBATCH lines cannot read a file, but sbatch takes SBATCH_*
# from its environment: `. slurm/site.env` before sbatch; `dcrnn-fast launch --submit` does that by itself.

# Where jobs wait, and who pays.
{partition}
{account}
#export SBATCH_TIMELIMIT=12:00:00
#export SBATCH_QOS=normal
#export SBATCH_CONSTRAINT=a100

# What a job loads first, and its Python; left out: .venv of this folder, else python3.
#DCRNN_MODULES="python/3.11 cuda/12.6"
#DCRNN_PYTHON=/path/to/env/bin/python
#DCRNN_PYTHON=(slurm/container/run.sh python)

# Fast disk of each node, where --stage copies the data; left out: SLURM_TMPDIR, TMPDIR or /tmp.
#export TMPDIR=/local/$USER

# Each job gets a folder of its own below these; left out: results, and checkpoints in it.
# ${{...:=...}} leaves what a job was given (sbatch --export=ALL,DCRNN_LAUNCHER=torchrun).
#: "${{DCRNN_RESULTS:=/path/to/shared/$USER/results}}"
#: "${{DCRNN_CHECKPOINTS:=/path/to/shared/$USER/checkpoints}}"

# Restarts of a job that was stopped or killed; srun (a task for each process) or torchrun (a task for each node).
#: "${{MAX_RESTARTS:=20}}"
#: "${{DCRNN_LAUNCHER:=srun}}"

# The network between the nodes, where the default is wrong.
#export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
"""


def write_site(root: Path, flags: LaunchFlags) -> Path:
    """Writes slurm/site.env below ``root``, with the partition and the account that were given.

    Raises:
        UserError: there is one, or it cannot be written.
    """
    path = root / SITE
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists, and is yours: edit it, or move it away first")

    def line(name: str, value: str | None, example: str) -> str:
        if value is None:
            return f"#export {name}={example}"
        if not value.isprintable():
            raise UserError(f"--{SBATCH_VARIABLES[name]} must be printable text on one line, got {value!r:.80}")
        return f"export {name}={shlex.quote(value)}"

    text = _TEMPLATE.format(
        partition=line("SBATCH_PARTITION", flags.partition, "gpu"),
        account=line("SBATCH_ACCOUNT", flags.account, "project"),
    )
    require_writable_folder(path.parent, "folder of site.env")
    write_bytes(path, text.encode())
    return path
