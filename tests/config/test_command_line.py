"""Flags: each field is one, with its default in --help; a mistake is one line that names the nearest flag."""

import dataclasses
import io
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import tyro

from dcrnn_fast.config.command_line import config_flag, parse
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.errors import UserError


def _parse(*argv: str, default: Config | None = None) -> Config:
    return parse(Config, argv, prog="dcrnn-fast train", description="Trains.", default=default)


def _help_of(flag: str, shown: str) -> str:
    """The text of one flag: from its name to the next flag's or the end."""
    match = re.search(rf" {re.escape(flag)}[ ,](.*?)(?=\n\W*--[a-z]|\Z)", shown, re.DOTALL)
    assert match, f"{flag} is not in --help"
    return " ".join(match.group(1).replace("│", " ").split())


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize("base", [Config(), load_config("debug")], ids=["defaults", "debug"])
def test_help_shows_every_flag_with_its_default(base: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        _parse("--help", default=base)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for section in (base.graph, base.data, base.model, base.training, base.output):
        for f in dataclasses.fields(section):
            value = getattr(section, f.name)
            flag = f.name.replace("_", "-")
            text = _help_of(f"--{flag}", shown)
            assert f"(default: {_shown(value)})" in text
            assert not isinstance(value, bool) or f"--no-{flag}" in text


def test_flags_reach_their_fields() -> None:
    made = _parse(
        "--batch-size", "7", "--milestones", "3", "5", "--no-time-of-day", "--day-of-week", "--sigma", "1e3", "--hops=0"
    )  # fmt: skip
    assert made.training == TrainingConfig(batch_size=7, milestones=(3, 5))
    assert made.data == DataConfig(time_of_day=False, day_of_week=True)
    assert (made.graph.sigma, made.graph.hops) == (1000.0, 0)


def test_nothing_given_is_the_default() -> None:
    assert _parse() == Config()
    base = Config(model=ModelConfig(num_layers=5))
    assert _parse(default=base) == base
    assert _parse("--hidden-units", "8", default=base).model == ModelConfig(num_layers=5, hidden_units=8)


def test_underscores_are_taken_too() -> None:
    assert _parse("--batch_size", "7").training.batch_size == 7


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            "--batch-sise 3",
            r"^unknown flag --batch-sise; did you mean --batch-size\? dcrnn-fast train --help lists them",
        ),
        ("--batch_sise=3", r"^unknown flag --batch_sise=3; did you mean --batch-size\? "),
        ("--qqqq", r"^unknown flag --qqqq; dcrnn-fast train --help lists them all$"),
        ("model.pt", r"^unknown argument model\.pt; dcrnn-fast train --help lists them all$"),
        ("--batch-size many", r"^--batch-size must be a whole number, got 'many'$"),
        ("--batch-size 1.5", r"^--batch-size must be a whole number, got '1\.5'$"),
        ("--learning-rate fast", r"^--learning-rate must be a number, got 'fast'$"),
        ("--threads two", r"^--threads must be a whole number, got 'two'$"),
        ("--milestones 3 x", r"^--milestones: .*'x'\]$"),
        ("--batch-size", r"--batch-size.*"),
        ("--precision fp8", r"'fp8'.*--precision.*'fp32'.*'bf16'.*'fp16'"),
        ("--batch-size 0", r"^batch_size must be at least 1, got 0$"),
        ("--train-fraction 0.9", r"^train_fraction \+ test_fraction must be at most 1, got 1\.1"),
        ("--milestones 20 10", r"^milestones must be increasing epochs from 2 on, got \(20, 10\)$"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_is_one_line(argv: str, said: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tyro draws its boxes as stdout's encoding allows; nothing of them may be left."""
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), encoding), io.StringIO()
    monkeypatch.setattr("sys.stdout", stdout)
    monkeypatch.setattr("sys.stderr", stderr)
    with pytest.raises(UserError, match=said) as mistake:
        _parse(*argv.split())
    assert not re.search(r"[│─╭\n]|--- |helptext", str(mistake.value))
    assert (stdout.tell(), stderr.getvalue()) == (0, "")


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """A command around the configuration, as train has it."""

    checkpoint: tyro.conf.Positional[str]
    """the model"""
    check: bool = False
    settings: Config = field(default_factory=Config)


def test_positional_arguments_and_nested_configuration() -> None:
    def made(*argv: str) -> Wrapped:
        return parse(Wrapped, argv, prog="dcrnn-fast evaluate", description="Measures.")

    assert made("best.pt", "--check", "--epochs", "3") == Wrapped(
        checkpoint="best.pt", check=True, settings=Config(training=TrainingConfig(epochs=3))
    )
    with pytest.raises(UserError, match=r"(?i)missing.*CHECKPOINT|required"):
        made("--check")
    with pytest.raises(UserError, match=r"^unknown flag --chekc; did you mean --check\?"):
        made("best.pt", "--chekc")


@dataclass(frozen=True, kw_only=True)
class Split:
    """One flag that has little but its hyphens in common with --results."""

    split: str = "test"
    targets: str = ""


def test_hyphens_alone_are_no_likeness() -> None:
    with pytest.raises(UserError, match=r"^unknown flag --results; dcrnn-fast evaluate --help lists them all$"):
        parse(Split, ["--results", "there"], prog="dcrnn-fast evaluate", description="Measures.")


def test_config_flag_is_found_before_the_rest() -> None:
    assert config_flag(["--epochs", "3"]) is None
    assert config_flag(["--epochs", "3", "--config", "debug"]) == "debug"
    assert config_flag(["--config=a.yaml", "--epochs", "3"]) == "a.yaml"
    with pytest.raises(UserError, match=r"^--config needs a value"):
        config_flag(["--config"])
