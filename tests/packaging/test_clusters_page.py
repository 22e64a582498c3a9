"""docs/clusters.md and the README's part on clusters: every command, flag, script and variable in them exists."""

import dataclasses
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest
from torch.distributed.run import get_args_parser

from bench import compare as bench_compare
from bench import scaling as bench_scaling
from dcrnn_fast import cli
from dcrnn_fast.config import command_line
from dcrnn_fast.config.foreign import BEGIN, END, markdown
from dcrnn_fast.config.yaml_file import presets
from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ON_README = README.split("## On a cluster\n")[1].split("\n## ")[0]
TEXTS = {"clusters.md": PAGE, "README.md": ON_README}
PROGRAMS = ("dcrnn-fast", "sbatch", "srun", "scancel", "mpirun", "torchrun", "slurm/container/run.sh")
OF_SLURM = {
    *("--array", "--batch", "--cpus-per-task", "--export", "--gpus-per-node", "--jobs", "--me", "--mem", "--nodes"),
    *("--ntasks-per-node", "--signal", "--time"),
}
"""options of sbatch, srun, squeue, sacct and scancel on the pages"""
OF_APPTAINER = {"--build-arg"}
BENCHES = {"bench": bench_compare, "scaling": bench_scaling}
MOST_LINES = 25


@cache
def flags_of(command: str) -> frozenset[str]:
    """The flags of ``dcrnn-fast COMMAND``, from the dataclass that they are parsed into."""
    module = importlib.import_module(f"dcrnn_fast.{cli.MODULES.get(command, command)}")
    if command == "launch":
        module = importlib.import_module("dcrnn_fast.cluster.flags")
    classes = [
        kind
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if name.endswith(("Flags", "Options")) and kind.__module__ == module.__name__ and dataclasses.is_dataclass(kind)
    ]
    (kind,) = classes
    return frozenset({f"--{name}" for name in command_line._flags(kind)} | {"--help"})


@cache
def flags_of_torchrun() -> frozenset[str]:
    return frozenset(get_args_parser()._option_string_actions)


def commands(text: str) -> Iterator[str]:
    """What the page shows as a command: lines of its blocks, and words in backticks; a comment after spaces goes."""
    shown = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    shown += [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    shown += [" ".join(code.split()) for code in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text)]
    for line in shown:
        words = re.split(r"\s{2,}", line.strip())[0]
        if words.startswith(PROGRAMS):
            yield words


def unknown(line: str) -> list[str]:
    """What in a command does not exist."""
    words = shlex.split(line)
    if words[0] == "dcrnn-fast":
        if words[1:] and words[1] not in cli.COMMANDS:
            return [f"dcrnn-fast {words[1]}"]
        cut = words.index("--") if "--" in words else len(words)
        return [
            *(_strangers(words[2:cut], flags_of(words[1])) if words[1:] else []),
            *_strangers(words[cut + 1 :], flags_of("train")),
        ]
    if words[0] == "sbatch":
        script = next((i for i, word in enumerate(words) if word.endswith(".sbatch")), len(words))
        gone = [word for word in words[script : script + 1] if not (ROOT / word).is_file()]
        return [
            *gone,
            *_strangers(words[1:script], OF_SLURM),
            *_strangers(words[script + 1 :], _of_script(words, script)),
        ]
    if words[0] in ("srun", "mpirun", "torchrun", "scancel"):
        inner = next((i for i, word in enumerate(words) if word in ("dcrnn-fast", "-m")), len(words))
        known = flags_of_torchrun() if words[0] == "torchrun" else OF_SLURM
        rest = words[inner:]
        if rest[:1] == ["-m"]:
            rest = ["dcrnn-fast", rest[1].removeprefix("dcrnn_fast."), *rest[2:]]
        return [*_strangers(words[1:inner], known), *(unknown(shlex.join(rest)) if rest else [])]
    gone = [] if (ROOT / words[0]).is_file() else [words[0]]
    if words[1:3] == ["python", "-m"]:
        return [*gone, *unknown(shlex.join(["dcrnn-fast", words[3].removeprefix("dcrnn_fast."), *words[4:]]))]
    return [*gone, *_strangers(words[1:], OF_APPTAINER)]


def _of_script(words: list[str], script: int) -> frozenset[str]:
    """The flags that a batch script hands on."""
    name = words[script].removeprefix("slurm/").removesuffix(".sbatch") if script < len(words) else ""
    if name in BENCHES:
        source = inspect.getsource(BENCHES[name])
        return frozenset(re.findall(r'"(--[\w-]+)"', source))
    return flags_of("prepare" if name == "generate_data" else "train")


def _strangers(words: list[str], known: frozenset[str] | set[str]) -> list[str]:
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_exists(name: str) -> None:
    lines = list(commands(TEXTS[name]))
    assert len(lines) > (45 if name == "clusters.md" else 5)
    assert {line: wrong for line in lines if (wrong := unknown(line))} == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("dcrnn-fast trian --epochs 3", ["dcrnn-fast trian"]),
        ("dcrnn-fast launch --submitt --config city -- --epohcs 3", ["--submitt", "--epohcs"]),
        ("sbatch --nodse=3 slurm/single_gpu.sbatch --epohcs 3", ["--nodse=3", "--epohcs"]),
        ("sbatch slurm/no_such.sbatch", ["slurm/no_such.sbatch"]),
        ("sbatch slurm/bench.sbatch --wrokload metr-la", ["--wrokload"]),
        ("sbatch slurm/scaling.sbatch --polt scaling.svg", ["--polt"]),
        ("torchrun --standalon -m dcrnn_fast.train --epohcs 3", ["--standalon", "--epohcs"]),
        ("srun --nodes=2 dcrnn-fast doctor --all-rnaks", ["--all-rnaks"]),
        ("slurm/container/run.sh python -m dcrnn_fast.train --epohcs 3", ["--epohcs"]),
    ],
)
def test_what_does_not_exist_is_found(line: str, wrong: list[str]) -> None:
    assert unknown(line) == wrong


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_in_the_text_exists(name: str) -> None:
    """Also one that stands alone in backticks; the table of other programs' names has a test of its own."""
    text = re.sub(f"{BEGIN}.*{END}", "", TEXTS[name], flags=re.DOTALL)
    ours = frozenset.union(*(flags_of(command) for command in cli.COMMANDS))
    known = ours | OF_SLURM | OF_APPTAINER | flags_of_torchrun() | {"--workload"}
    used = {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert used - known == set()


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_is_read_somewhere(name: str) -> None:
    sources = [*ROOT.glob("slurm/**/*"), *ROOT.glob("dcrnn_fast/**/*.py")]
    read = "\n".join(path.read_text(encoding="utf-8") for path in sources if path.is_file())
    used = set(re.findall(r"\b(?:DCRNN_[A-Z_]+|MAX_RESTARTS|EXPERIMENTS)\b", TEXTS[name]))
    assert [variable for variable in sorted(used) if variable not in read] == []


def test_every_preset_exists() -> None:
    named = {line.split("--config ")[1].split()[0] for line in commands(PAGE) if "--config " in line}
    assert {preset for preset in named if not preset.endswith(".yaml")} <= set(presets())


def test_the_table_of_other_names_is_made_from_the_code() -> None:
    (table,) = re.findall(f"{BEGIN}.*{END}\n", PAGE, re.DOTALL)
    again = "python -m dcrnn_fast.config.foreign"
    assert table == markdown(), f"outdated; {again} prints it"


def test_every_script_is_on_the_page() -> None:
    scripts = {path.name for path in (ROOT / "slurm").glob("*.sbatch")}
    assert len(scripts) >= 9
    assert {script for script in scripts if script not in PAGE} == set()


def test_messages_of_the_table_are_real() -> None:
    """The words by which a user finds a line of the table are those that the package or the scripts print."""
    printed = "\n".join(
        path.read_text(encoding="utf-8") for path in [*ROOT.glob("dcrnn_fast/**/*.py"), ROOT / "slurm/body.sh"]
    )
    (section,) = re.findall(r"## When it hangs.*?\n(.*?)\n## ", PAGE, re.DOTALL)
    firsts = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    said = [
        re.sub(r"^\.\.\. | \.\.\.$|\b\d+\b", "", code) for first in firsts for code in re.findall(r"`([^`]+)`", first)
    ]
    parts = [part.strip() for words in said for part in words.split("...") if len(part.strip()) > 6]
    assert len(parts) > 5
    assert [part for part in parts if not re.search(re.escape(part).replace(r"\ \ ", r".{0,20}"), printed)] == []


def test_the_readme_has_a_short_part() -> None:
    assert ON_README.rstrip().count("\n") + 1 <= MOST_LINES
    assert "docs/clusters.md" in ON_README
