"""Hands a batch script to sbatch or qsub, and says which job it became and where it will write."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.cluster.job_script import job_name
from dcrnn_fast.cluster.site import SBATCH_VARIABLES, SITE
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line


def submit(flags: LaunchFlags, script: str) -> int:
    """Queues the script from the current folder; the scheduler keeps a copy, and no file of it is left here.

    Raises:
        UserError: the scheduler is not installed here, or refuses it; the message is its own.
    """
    program = "sbatch" if flags.scheduler == "slurm" else "qsub"
    if shutil.which(program) is None:
        raise UserError(
            f"there is no {program} on this machine: run this on the cluster's login node, or leave --submit out and "
            "take the script there"
        )
    with tempfile.NamedTemporaryFile("w", prefix="job-", suffix=".sh") as file:  # not every qsub reads its stdin
        file.write(script)
        file.flush()
        words = [program, "--parsable", file.name] if program == "sbatch" else [program, file.name]
        done = subprocess.run(words, env=_environment(flags), capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"{program} refuses the job: {one_line(ValueError(done.stderr or done.stdout))[:300]}")
    sys.stderr.write(done.stderr)
    number = done.stdout.strip().split(";")[0]
    print(f"job {number}: {_log(flags, number)}")
    return 0


def _log(flags: LaunchFlags, number: str) -> str:
    if flags.scheduler == "slurm":
        return f"its log is {Path.cwd() / f'{job_name(flags)}_{number}.out'}; squeue --job {number} shows its state"
    digits = re.match(r"\d*", number)
    where = Path.cwd() / f"{job_name(flags)}.o{digits[0] if digits else number}"
    return f"PBS writes its log to {where} when it ends; qstat {number} shows its state"


def with_site(flags: LaunchFlags) -> LaunchFlags:
    """For PBS, whose directives have no variables: queue, account and time of site.env where no flag gives them."""
    environment = _environment(flags)

    def or_site(given: str | None, variable: str) -> str | None:
        return given or environment.get(variable) or None

    return replace(
        flags,
        partition=or_site(flags.partition, "SBATCH_PARTITION"),
        account=or_site(flags.account, "SBATCH_ACCOUNT"),
        time=or_site(flags.time, "SBATCH_TIMELIMIT"),
    )


def _environment(flags: LaunchFlags) -> dict[str, str]:
    """This one, and what site.env exports; a flag that was given wins over sbatch's variable."""
    environment = dict(os.environ)
    site = Path(os.environ.get("DCRNN_SITE") or SITE)
    if os.environ.get("DCRNN_SITE") and not site.is_file():
        raise UserError(f"DCRNN_SITE names {site}, which is no file")
    if site.is_file():
        said = subprocess.run(
            ["bash", "-c", '. "$1" >&2 && env -0', "bash", str(site)], stdout=subprocess.PIPE, check=False
        )
        if said.returncode != 0:
            raise UserError(f"{site} fails; source it in a shell to see where")
        environment = dict(item.split("=", 1) for item in os.fsdecode(said.stdout).split("\0") if "=" in item)
    for variable, flag in SBATCH_VARIABLES.items():
        if getattr(flags, flag):
            environment.pop(variable, None)
    return environment
