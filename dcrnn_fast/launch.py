"""``dcrnn-fast launch``: starts a training on a cluster, or prints the script that would: Slurm, PBS, ssh, local.

Flags of the training stand after ``--``: dcrnn-fast launch --scheduler slurm --nodes 2 --config run.yaml -- --epochs 9
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.errors import UserError
from dcrnn_fast.idle import refuse_idle_in_training

_OF_OTHERS = {
    "time-limit": "--time",
    "walltime": "--time",
    "num-nodes": "--nodes",
    "nnodes": "--nodes",
    "gpus": "--gpus-per-node",
    "num-gpus": "--gpus-per-node",
    "nproc-per-node": "--ntasks-per-node",
    "queue": "--partition",
    "host": "--hosts",
    "dry-run": "nothing: without --submit the script is printed only",
}
"""other launchers' flags -> ours"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    """The training's configuration, as ``dcrnn-fast train`` would read it."""

    config: str | None = None
    settings: Config = field(default_factory=Config)


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast launch ...``."""
    return run_command("launch", _run, argv)


def _run(argv: list[str]) -> int:
    flags = _flags(argv)
    if flags.init_site:
        from dcrnn_fast.cluster.site import write_site

        print(f"{write_site(Path(), flags)}: edit it; every job reads it", file=sys.stderr)
        return 0
    _require_sound_training(flags)
    if flags.scheduler == "ssh":
        from dcrnn_fast.cluster.ssh import run_on_hosts

        return run_on_hosts(flags)
    if flags.scheduler == "local":
        from dcrnn_fast.cluster.local import run_here

        return run_here(flags)
    from dcrnn_fast.cluster.job_script import job_script
    from dcrnn_fast.cluster.submit import submit, with_site

    if flags.scheduler == "pbs":
        flags = with_site(flags)
    script = job_script(flags, Path.cwd())
    if not flags.submit:
        sys.stdout.write(script)
        print("nothing was queued: --submit queues this script", file=sys.stderr)
        return 0
    return submit(flags, script)


def _flags(argv: Sequence[str]) -> LaunchFlags:
    """The flags before ``--``; those after it become ``training``."""
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    for word in words[:cut]:
        name = word.removeprefix("--").split("=")[0].replace("_", "-")
        if word.startswith("--") and name in _OF_OTHERS:
            raise UserError(f"unknown flag --{name}: here it is {_OF_OTHERS[name]}")
    flags = parse(LaunchFlags, words[:cut], prog="dcrnn-fast launch", description=__doc__ or "")
    return replace(flags, training=tuple(words[cut + 1 :]))


def _require_sound_training(flags: LaunchFlags) -> None:
    """Raises UserError if ``dcrnn-fast train`` would refuse the configuration: before a job has waited for hours."""
    assert flags.config is not None
    if "--config" in {word.split("=")[0] for word in flags.training}:
        raise UserError("--config stands before --, among the flags of launch")
    default = _Training(config=flags.config, settings=load_config(flags.config))
    words = flags.train_words
    training = parse(_Training, words, prog="dcrnn-fast train", description="", default=default)
    refuse_idle_in_training(training.settings, words, on_gpu=flags.gpus_per_node > 0)


if __name__ == "__main__":
    raise SystemExit(main())
