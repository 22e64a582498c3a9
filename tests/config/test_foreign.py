"""Names of other training programs: refused with ours, on the command line, in YAML and for files; the page has all."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from dcrnn_fast import cli
from dcrnn_fast.checkpoints.read import read_checkpoint
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.foreign import BEGIN, COMMANDS, END, FILES, SAME, SETTINGS, Foreign, as_flag, markdown
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import parse_yaml
from dcrnn_fast.errors import UserError
from tests.checkout import ROOT

OURS = {f"{name}.{f.name}" for name, section in get_type_hints(Config).items() for f in dataclasses.fields(section)}


@pytest.mark.parametrize("one", SETTINGS, ids=lambda one: one.names[0])
def test_each_name_is_refused_with_ours(one: Foreign) -> None:
    setting, _, value = one.ours.partition("=")
    assert not setting or setting in OURS
    more = f" ({one.words})" if one.words else ""
    for name in one.names:
        with pytest.raises(UserError) as refused:
            parse_yaml(f"training: {{{name}: 1}}", source="x.yaml")
        key = f"is {setting}{value and f': {value}'} here{more}" if setting else one.words
        assert str(refused.value) == f"x.yaml: unknown key in section training: {name} {key}"
        flag = f"--{setting.rpartition('.')[2].replace('_', '-')} {value}".rstrip()
        wanted = f"is {flag} here{more}" if setting else one.words
        for word in (f"--{name}", f"--{name.replace('_', '-')}"):
            assert as_flag(word, [flag[2:].split()[0] if setting else "", "epochs"]) == f"{word} {wanted}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr", "3"], "--lr is --learning-rate here"),
        (["--use_amp=1"], "--use_amp is --precision here (bf16, or fp16 on a GPU)"),
        (["--fp16"], "--fp16 is --precision fp16 here"),
        (["--wandb-entity", "lab"], "--wandb-entity is the variable WANDB_ENTITY of the environment"),
        (
            ["--devices=2"],
            "--devices is the job's, not the training's: give it to sbatch before the script, or to dcrnn-fast launch",
        ),
        (["--epochs", "3", "--input-size", "2"], "--input-size follows from the data (--variables, --time-of-day)"),
    ],
)
def test_the_command_line_says_so(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(Config, words, prog="dcrnn-fast train", description="")
    assert str(refused.value) == said


def test_no_name_is_one_of_ours_and_none_stands_twice() -> None:
    names = [name for one in SETTINGS for name in one.names]
    assert len(names) == len(set(names))
    fields = {setting.partition(".")[2] for setting in OURS} | {name.partition(".")[0] for name in OURS}
    # A section's name is no setting, and no flag: graph, data, model, training, output.
    assert set(names).isdisjoint(fields)
    assert {name for one in SAME for name in one.names} <= fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other:
    """A command that does not train."""

    results: str = ""


@pytest.mark.parametrize("word", ["--lr", "--time"])
def test_a_command_without_that_setting_does_not_name_it(word: str) -> None:
    with pytest.raises(UserError, match=f"^unknown flag {word}; "):
        parse(Other, [word, "1"], prog="dcrnn-fast compare", description="")


@pytest.mark.parametrize("name", [name for one in FILES if one.ours.endswith(".pt") for name in one.names])
def test_a_checkpoint_by_another_programs_name_is_answered_with_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"No such file or directory; it is checkpoints/\w+\.pt here$"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.ours)
def test_a_command_by_another_name_is_answered_with_ours(one: Foreign, capsys: pytest.CaptureFixture[str]) -> None:
    for name in one.names:
        assert cli.main([name.replace("_", "-")]) == 2
        assert f"unknown command {name.replace('_', '-')}; did you mean {one.ours}? " in capsys.readouterr().err
    assert not set(one.names) & cli.COMMANDS.keys()


def test_the_page_has_the_table_as_the_command_prints_it() -> None:
    page = ROOT / "docs" / "clusters.md"
    printed = subprocess.run(
        [sys.executable, "-m", "dcrnn_fast.config.foreign"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert printed == markdown()
    assert printed.count("\n") == len(SETTINGS) + len(SAME) + len(FILES) + len(COMMANDS) + 4
    text = page.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) : text.index(END) + len(END) + 1] == printed
