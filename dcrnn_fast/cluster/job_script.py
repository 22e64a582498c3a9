"""The batch script of one training, for Slurm or PBS: directives, and a call of the body that all scripts share."""

import re
import shlex
import sys
from pathlib import Path

from dcrnn_fast.cluster.durations import seconds_of, walltime
from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted

JOB_NAME = "dcrnn_fast"
_WARN_SECONDS = 120
"""before the time limit, in which the ranks finish their step and save"""
_CHECKED = "# shellcheck disable=SC1091,SC2016,SC2034  # body.sh reads the variables; a $ in a value is itself"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:@+-]{0,199}", re.ASCII)
_MEMORY = re.compile(r"([1-9]\d{0,9})([KMGT]?)", re.ASCII)


def script_folder() -> Path:
    """The folder ``slurm`` of this installation: in the package, or beside it in a checkout.

    Raises:
        UserError: there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "slurm", package.parent / "slurm"):
        if (folder / "body.sh").is_file():
            return folder
    raise UserError(f"the batch scripts' folder slurm is missing in {package}: install dcrnn_fast again")


def job_script(flags: LaunchFlags, folder: Path) -> str:
    """The script that trains in ``folder``; every value in it is quoted, or of letters that need no quotes.

    Raises:
        UserError: a value that a directive cannot hold.
    """
    lines = ["#!/usr/bin/env bash", f"# Made by dcrnn-fast launch --scheduler {flags.scheduler}.", _CHECKED]
    lines += _slurm_lines(flags) if flags.scheduler == "slurm" else _pbs_lines(flags)
    scripts = script_folder()
    lines += [
        f"cd {_quoted(str(folder), 'the current folder')} || exit 2",
        f"slurm={_quoted(str(scripts), 'the folder of the scripts')}",
        '. "$slurm/body.sh"',
    ]
    if flags.scheduler == "pbs":
        lines += [f"ntasks={flags.nodes * flags.tasks_per_node}", '. "$slurm/pbs.sh"']
    words = " ".join(_quoted(word, "a flag of the training") for word in flags.train_words)
    lines += [
        f': "${{DCRNN_PYTHON:={_inside_quotes(sys.executable)}}}"',
        "values=",
        f'train_job -- {words} "$@"',
    ]
    return "\n".join(lines) + "\n"


def job_name(flags: LaunchFlags) -> str:
    """The job's name, which its log and its results folder bear."""
    return _plain(flags.job_name or JOB_NAME, "job-name")


def _slurm_lines(flags: LaunchFlags) -> list[str]:
    values = {
        "job-name": job_name(flags),
        "output": "%x_%j.out",
        "partition": flags.partition and _plain(flags.partition, "partition"),
        "account": flags.account and _plain(flags.account, "account"),
        "nodes": flags.nodes,
        "ntasks-per-node": flags.tasks_per_node,
        "gpus-per-node": flags.gpus_per_node or None,
        "cpus-per-task": flags.cpus_per_task,
        "mem": flags.mem and "".join(_memory(flags.mem)),
        "time": flags.time and _time(flags.time),
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in values.items() if value is not None]
    return [*lines, f"#SBATCH --requeue --open-mode=append --signal=B:USR1@{_WARN_SECONDS}"]


def _pbs_lines(flags: LaunchFlags) -> list[str]:
    tasks = flags.tasks_per_node
    chunk = f"select={flags.nodes}:ncpus={tasks * (flags.cpus_per_task or 1)}:mpiprocs={tasks}"
    if flags.gpus_per_node:
        chunk += f":ngpus={flags.gpus_per_node}"
    if flags.mem:
        number, unit = _memory(flags.mem)
        chunk += f":mem={number}{unit.lower() or 'm'}b"
    lines = [f"#PBS -N {job_name(flags)}"]
    lines += [f"#PBS -q {_plain(flags.partition, 'partition')}"] if flags.partition else []
    lines += [f"#PBS -A {_plain(flags.account, 'account')}"] if flags.account else []
    lines += [f"#PBS -l {chunk}", "#PBS -l place=scatter"]
    lines += [f"#PBS -l walltime={walltime(seconds_of(flags.time))}"] if flags.time else []
    return [*lines, "#PBS -j oe", "#PBS -r y"]


def _time(text: str) -> str:
    if seconds_of(text) <= _WARN_SECONDS:
        wanted = counted(_WARN_SECONDS // 60, "minute")
        raise UserError(f"--time must be longer than the {wanted} that saving may take, got {text}")
    return text


def _memory(text: str) -> tuple[str, str]:
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise UserError(f"--mem must be a number and K, M, G or T, such as 64G, got {text!r:.80}")
    return found[1], found[2]


def _plain(text: str, flag: str) -> str:
    """A name for a directive, where a scheduler's own rules of quoting would apply."""
    if not _PLAIN.fullmatch(text):
        wanted = "at most 200 letters, digits and _ . , : @ + -, a letter or digit first"
        raise UserError(f"--{flag} must be {wanted}, got {text!r:.80}")
    return text


def _quoted(text: str, what: str) -> str:
    if not text.isprintable():  # a line break would end a directive or a command
        raise UserError(f"{what} must be printable text on one line, got {text!r:.80}")
    return shlex.quote(text)


def _inside_quotes(text: str) -> str:
    return re.sub(r'(["\\$`}])', r"\\\1", _quoted(text, "the interpreter") and text)
