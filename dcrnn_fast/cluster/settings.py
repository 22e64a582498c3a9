"""What a launcher reads in the training's own flags: where its results go, which files it reads."""

from dataclasses import dataclass, field

from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    config: str | None = None
    settings: Config = field(default_factory=Config)


def training_words(flags: LaunchFlags) -> list[str]:
    """The words after ``dcrnn-fast train``: a run that was stopped goes on, unless they say otherwise."""
    words = list(flags.train_words)
    resumes = any(word.split("=")[0] == "--resume" for word in words)
    return words if resumes else [*words, "--resume", "auto"]


def settings_of(flags: LaunchFlags) -> Config:
    """The training's configuration, as ``dcrnn-fast train`` will read it.

    Raises:
        UserError: it would refuse it.
    """
    assert flags.config is not None
    default = _Training(config=flags.config, settings=load_config(flags.config))
    words = list(flags.train_words)
    return parse(_Training, words, prog="dcrnn-fast train", description="", default=default).settings


def result_folder(flags: LaunchFlags) -> str:
    """The folder of ``--results``."""
    return settings_of(flags).output.results
