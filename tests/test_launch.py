"""dcrnn-fast launch: what it refuses, the scripts that it prints, the site's file; real schedulers in tests/cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from dcrnn_fast import launch
from dcrnn_fast.cluster.durations import seconds_of, walltime
from dcrnn_fast.cluster.flags import LaunchFlags
from dcrnn_fast.cluster.job_script import job_script
from dcrnn_fast.errors import UserError
from tests.checkout import GOLDEN, ROOT

SLURM = ("--scheduler", "slurm", "--config", "debug")
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def refusal(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a refused command, which printed nothing else."""
    assert launch.main(list(words)) == 2
    said = capfd.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


FULL = LaunchFlags(
    scheduler="slurm",
    config="runs/my run.yaml",
    partition="gpu,spare",
    account="lab-7",
    nodes=2,
    gpus_per_node=4,
    cpus_per_task=8,
    mem="64G",
    time="2-12:30",
    job_name="city_2",
    training=("--epochs", "30", "--data", "it's $HOME `id`.csv"),
)


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_the_script_is_as_agreed_and_sound(scheduler: str, tmp_path: Path) -> None:
    values = {name: getattr(FULL, name) for name in LaunchFlags.__dataclass_fields__}
    script = job_script(LaunchFlags(**{**values, "scheduler": scheduler}), Path("/a project"))
    agreed = (GOLDEN / f"launch_{scheduler}.sh").read_text()
    assert script.replace(sys.executable, "@PYTHON@").replace(str(ROOT), "@ROOT@") == agreed
    (tmp_path / "job.sh").write_text(script)
    for check in (["bash", "-n"], [SHELLCHECK]):
        done = subprocess.run([*check, tmp_path / "job.sh"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_values_reach_the_trainer_as_they_were_written(tmp_path: Path) -> None:
    """The shell that runs the script gives every word back: quotes, dollars, backticks, spaces."""
    script = job_script(FULL, tmp_path)
    words = script[script.index("train_job") :]
    shown = 'train_job() { printf "%s\\n" "$@"; }\n' + words
    said = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["--", *FULL.train_words]


def test_a_dry_run_prints_the_script_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch.main([*SLURM, "--nodes", "3", "--", "--epochs", "4"]) == 0
    said = capfd.readouterr()
    assert said.out.startswith("#!/usr/bin/env bash\n")
    assert "#SBATCH --nodes=3\n" in said.out
    assert said.out.endswith('train_job -- --config debug --epochs 4 "$@"\n')
    assert "--submit" in said.err


def test_pbs_has_the_sites_queue_account_and_time_where_no_flag_gives_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm").mkdir()
    exported = "SBATCH_PARTITION=long SBATCH_ACCOUNT=lab SBATCH_TIMELIMIT=2-12"
    (tmp_path / "slurm" / "site.env").write_text(f"export {exported}\n")
    assert launch.main(["--scheduler", "pbs", "--config", "debug", "--account", "other"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert {"#PBS -q long", "#PBS -A other", "#PBS -l walltime=60:00:00"} <= set(lines)
    monkeypatch.setenv("DCRNN_SITE", "absent.env")  # the one in slurm/ is not taken in its place
    assert "DCRNN_SITE names absent.env, which is no file" in refusal(capfd, "--scheduler", "pbs", "--config", "debug")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--scheduler must be one of slurm, pbs, ssh, local"),
        (("--scheduler", "slurm"), "--config is missing"),
        ((*SLURM, "--nodes", "0"), "--nodes must be a whole number from 1"),
        ((*SLURM, "--gpus-per-node", "2", "--ntasks-per-node", "3"), "never share a GPU"),
        ((*SLURM, "--hosts", "a", "b"), "--hosts needs --scheduler ssh, got slurm"),
        ((*SLURM, "--partition", "gpu\nrm -rf ~"), "--partition must be at most 200 letters"),
        ((*SLURM, "--job-name", "a/b"), "--job-name must be at most 200 letters"),
        ((*SLURM, "--job-name", "a" * 201), "--job-name must be at most 200 letters"),
        (("--scheduler", "pbs", "--config", "debug", "--partition=-p"), "a letter or digit first, got '-p'"),
        ((*SLURM, "--partition", ""), "--partition is empty, as a shell variable that is not set leaves it"),
        ((*SLURM, "--time="), "--time is empty"),
        (("--init-site", "--account", ""), "--account is empty"),
        ((*SLURM, "--mem", "64 GB"), "--mem must be a number and K, M, G or T"),
        ((*SLURM, "--time", "1:2:3:4"), "--time must be a duration as Slurm writes it"),
        ((*SLURM, "--time", "2"), "--time must be longer than the 2 minutes that saving may take, got 2"),
        ((*SLURM, "--", "--epochs", "many"), "--epochs must be a whole number, got 'many'"),
        ((*SLURM, "--", "--epoch", "3"), "did you mean --epochs?"),
        ((*SLURM, "--", "--huber-delta", "2"), "--huber-delta needs --loss huber"),
        ((*SLURM, "--", "--config", "city"), "--config stands before --"),
        ((*SLURM, "--", "--data", "a\nb.csv"), "a flag of the training must be printable text on one line"),
        (("--scheduler", "slurm", "--config", "absent.yaml"), "is neither a file nor a preset"),
        ((*SLURM, "--time-limit", "9"), "unknown flag --time-limit: here it is --time"),
        ((*SLURM, "--walltime=9"), "unknown flag --walltime: here it is --time"),
        ((*SLURM, "--num_nodes", "2"), "unknown flag --num-nodes: here it is --nodes"),
        ((*SLURM, "--gpus", "2"), "unknown flag --gpus: here it is --gpus-per-node"),
        ((*SLURM, "--queue", "x"), "unknown flag --queue: here it is --partition"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal(capfd, *words)
    assert list(tmp_path.iterdir()) == []


def test_submit_needs_the_scheduler(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no sbatch on this machine" in refusal(capfd, *SLURM, "--submit")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5_400),
        ("1:30", 90),
        ("12:00:05", 43_205),
        ("2-12", 216_000),
        ("2-12:30", 217_800),
        ("2-12:30:07", 217_807),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0:00", "1h", "-5", "1-", "1:2:3:4", "1-2:3:4:5", "٣", "UNLIMITED"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UserError, match="--time must be a duration"):
        seconds_of(text)


def test_walltime() -> None:
    assert walltime(217_807) == "60:30:07"


def test_site_is_written_once_and_exports_to_sbatch(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch.main(["--init-site", "--partition", "a b", "--account", "lab"]) == 0
    site = tmp_path / "slurm" / "site.env"
    assert list(site.parent.iterdir()) == [site]
    shown = subprocess.run(
        ["bash", "-c", f". {site} && bash -c 'echo \"$SBATCH_PARTITION, $SBATCH_ACCOUNT, $SBATCH_QOS\"'"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "a b, lab, \n"
    # Every line that is commented out is bash too.
    uncommented = "\n".join(line.removeprefix("#") for line in site.read_text().splitlines() if line[1:2] != " ")
    subprocess.run(["bash", "-n"], input=uncommented, text=True, check=True)
    before = site.read_bytes()
    capfd.readouterr()
    assert "exists, and is yours" in refusal(capfd, "--init-site")
    assert site.read_bytes() == before
