"""The batch scripts without a scheduler: sound shell, and what they make of a run's end; with one: tests/cluster."""

import itertools
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.yaml_file import to_yaml
from dcrnn_fast.process import this_process
from dcrnn_fast.records.status import OVER, STATUS, Status
from tests.checkout import ROOT

SLURM = ROOT / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
run_state = runpy.run_path(str(SLURM / "run_state.py"))
efficiency = runpy.run_path(str(SLURM / "efficiency.py"))


def test_every_script_is_sound_shell() -> None:
    shared = sorted(SLURM.glob("*.sh"))
    assert len(SCRIPTS) == 11
    # Without a look into body.sh, which takes seconds for each, variables seem to be without use, or without origin.
    for words in (shared, ["--exclude=SC1091,SC2034,SC2154", *SCRIPTS]):
        done = subprocess.run([SHELLCHECK, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    for script in (*SCRIPTS, *shared):
        subprocess.run(["bash", "-n", script], check=True)


def test_scripts_are_directives_and_one_call() -> None:
    """What they do stands in body.sh; a relative --output must lie where no folder can be missing."""
    for script in SCRIPTS:
        lines = script.read_text().splitlines()
        assert len(lines) <= 16, script
        (output,) = re.findall(r"#SBATCH --output=(\S+)", script.read_text())
        assert "/" not in output
        assert ". slurm/body.sh" in lines


def test_outside_a_job_they_say_how_to_submit(tmp_path: Path) -> None:
    done = subprocess.run(["bash", SCRIPTS[0]], cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 2
    assert "this is a batch script; submit it: sbatch" in done.stderr
    done = subprocess.run(["bash", SCRIPTS[0]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"submit from the repository's root or from slurm/, not from {tmp_path}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the scripts, and an srun that only says how it is called."""
    folder = tmp_path / "project"
    (folder / "slurm").mkdir(parents=True)
    for path in (*SLURM.glob("*.sh"), *SLURM.glob("*.py"), *SCRIPTS):
        (folder / "slurm" / path.name).symlink_to(path)
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    srun.chmod(0o755)
    return folder


def run_job(
    project: Path, *words: str, script: str = "quick_test", **variables: str
) -> subprocess.CompletedProcess[str]:
    """A script, as Slurm would run it."""
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "quick_test", "DCRNN_PYTHON": sys.executable}
    environment = job | {"PATH": f"{project.parent}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        ["bash", f"slurm/{script}.sbatch", *words], cwd=project, capture_output=True, text=True, env=environment
    )


def test_what_is_wrong_in_the_environment_is_refused_before_a_folder_is_made(project: Path) -> None:
    """A site that is named and absent is not replaced by another."""
    (project / "slurm" / "site.env").write_text("DCRNN_PYTHON=/no/python\n")
    for variables, said in (
        ({"DCRNN_SITE": "absent.env"}, "DCRNN_SITE names absent.env, which is no file"),
        ({"MAX_RESTARTS": "many"}, "MAX_RESTARTS must be a whole number from 0 to 9999, got many"),
        ({}, "/no/python does not run on"),
    ):
        done = run_job(project, **variables)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]
        assert [path.name for path in project.iterdir()] == ["slurm"]


def test_scaling_is_measured_by_every_task_of_the_job(project: Path) -> None:
    said = run_job(project, "--rounds", "2", script="scaling", SLURM_JOB_NUM_NODES="3", SLURM_CPUS_PER_TASK="4")
    assert said.returncode == 0, said.stderr
    assert "--nodes=3 --kill-on-bad-exit=0 --wait=0 --ntasks=3 --ntasks-per-node=1" in said.stdout
    assert said.stdout.splitlines()[-6:] == ["-m", "bench.scaling", "--threads", "4", "--rounds", "2"]


@pytest.mark.slow
def test_the_citys_settings_are_for_the_citys_data(project: Path) -> None:
    def configurations(script: str, *words: str, **variables: str) -> list[str]:
        said = run_job(project, *words, script=script, **variables).stdout.splitlines()
        return [after for flag, after in itertools.pairwise(said) if flag == "--config"]

    assert configurations("single_gpu") == ["city"]
    assert configurations("single_gpu", "--data", "store") == []
    assert configurations("single_gpu", DATA="store", CONFIG="run.yaml") == ["run.yaml"]
    assert configurations("baseline_1node", DATA="store") == ["city"]  # the environment changes no baseline
    assert configurations("quick_test", "--data=store") == ["debug"]


@pytest.mark.slow
def test_another_job_finds_the_checkpoints_of_the_run_that_it_continues(project: Path) -> None:
    """Of a site whose checkpoints lie in a folder for each job."""
    earlier = project / "results" / "multi_gpu_1"
    earlier.mkdir(parents=True)
    folder = "/scratch/it's a rather long path with many words, which YAML breaks into several lines/multi_gpu_1"
    words = ("--results", "results/multi_gpu_1")
    for theirs, wanted in ((folder, [folder]), (None, [])):
        (earlier / "config.yaml").write_text(to_yaml(Config(output=OutputConfig(checkpoint_dir=theirs))))
        said = run_job(project, *words, DCRNN_CHECKPOINTS="/scratch").stdout.splitlines()
        assert [after for flag, after in itertools.pairwise(said) if flag == "--checkpoint-dir"] == wanted
    said = run_job(project, DCRNN_CHECKPOINTS="/scratch").stdout.splitlines()
    assert said[said.index("--checkpoint-dir") + 1] == "/scratch/quick_test_7"


@pytest.mark.parametrize("name", ["hops", "recursion", "supports"])
def test_experiments_are_flags_of_the_trainer(name: str) -> None:
    lines = [line.split() for line in (SLURM / "experiments" / f"{name}.txt").read_text().splitlines()]
    experiments = [words for words in lines if words[0] != "#"]
    assert len(experiments) == 3  # --array=0-2
    made = [parse(Config, words[1:], prog="train", description="") for words in experiments]
    assert len({repr(config) for config in made}) == 3


def _status(folder: Path, **changes: object) -> str:
    """Writes a status as a run does, and returns which run it is of."""
    values = Status("running", "t", "s", 1, 2, 3, "", "", (), (), this_process()).to_dict() | changes
    (folder / STATUS).write_text(json.dumps(values))
    said = run_state["identity"](run_state["read"](str(folder)))
    assert isinstance(said, str)
    return said


def _state(folder: Path, before: str, code: int) -> str:
    said = run_state["state"](run_state["read"](str(folder)), before, code)
    assert isinstance(said, str)
    return said


@pytest.mark.parametrize("state", OVER)
def test_a_run_that_said_how_it_ended(tmp_path: Path, state: str) -> None:
    before = _status(tmp_path, state="finished", since="earlier")
    _status(tmp_path, state=state)
    assert _state(tmp_path, before, 2) == state


@pytest.mark.parametrize(
    ("changes", "code", "state"),
    [
        ({"state": "running"}, 137, "killed"),
        ({"state": "starting"}, 1, "killed"),
        ({"state": "failed", "error": "disk full"}, 137, "failed"),
        ({"state": "failed", "error": "rank 0 lost the other ranks while counting (reset)"}, 1, "killed"),
        ({"state": "failed", "error": "BrokenPipeError: [Errno 32] Broken pipe"}, 137, "killed"),
        ({"state": "failed", "error": "rank 0 waited 9 s (--dist-timeout) for rank 1 while counting"}, 1, "killed"),
    ],
)
def test_a_run_that_others_ended(tmp_path: Path, changes: dict[str, str], code: int, state: str) -> None:
    before = _state_of_nothing(tmp_path)
    _status(tmp_path, **changes)
    assert _state(tmp_path, before, code) == state


def _state_of_nothing(folder: Path) -> str:
    said = run_state["identity"](run_state["read"](str(folder)))
    assert isinstance(said, str)
    return said


def test_it_knows_the_words_by_which_a_rank_says_that_another_is_gone() -> None:
    source = (ROOT / "dcrnn_fast" / "ranks" / "failure.py").read_text()
    assert [words for words in run_state["_LOST"] if words not in source] == []


def test_it_runs_as_a_program_without_the_package(tmp_path: Path) -> None:
    program = [sys.executable, "-I", "-S", SLURM / "run_state.py", tmp_path]
    before = subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
    _status(tmp_path, state="nan")
    assert subprocess.run([*program, before, "2"], capture_output=True, text=True, check=True).stdout == "nan\n"


@pytest.mark.parametrize(("code", "state"), [(2, "refused"), (1, "refused"), (85, "stopped"), (137, "killed")])
def test_a_run_that_never_began(tmp_path: Path, code: int, state: str) -> None:
    """The status there is an earlier run's, whatever it says; or there is none, or no status."""
    assert _state(tmp_path, _state_of_nothing(tmp_path), code) == state
    before = _status(tmp_path, state="finished")
    assert _state(tmp_path, before, code) == state
    (tmp_path / STATUS).write_text("[")
    assert _state(tmp_path, _state_of_nothing(tmp_path), code) == state


def test_efficiency_is_of_the_job_and_of_its_largest_task() -> None:
    rows = ["7|400|01:40.500|2Gn|", "7.batch|400|00:01.000||3000K", "7.0|400|00:01:39.500||512M", "nonsense"]
    assert efficiency["lines"](rows) == [
        "cores: 25.1 % of 400 reserved core seconds were used",
        "memory: the largest task used 512 MiB of 2048 MiB asked for",
    ]
    assert efficiency["seconds"]("2-03:04:05") == 183_845
    assert efficiency["lines"](["7|0|00:00:00|0|"]) == []
