"""The shipped batch scripts under a real Slurm: where they run from, what they leave, when they are queued again."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.real_slurm import RealSlurm, wait_until
from tests.cluster.slurm_project import RUN, Job, Project, require_same_weights

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
LONG = (*RUN, "--epochs", "250", "--patience", "0")
"""so many epochs that five interruptions, two seconds apart, find it training on an idle machine too"""
ENDLESS = (*RUN, "--epochs", "100000", "--patience", "100000")
FILES = {
    *("config.yaml", "status.json", "metrics.csv", "events.jsonl", "sacct_summary.txt", "report.txt", "report.json"),
    *(
        "horizons.csv",
        "sensors.csv",
        "horizons.png",
        "worst_and_best.png",
        "forecasts.png",
        "map.png",
        "intervals.png",
        "checkpoints",
    ),
    *("run.html", "timing_rank0.csv", "timing_rank1.csv"),
}


@pytest.fixture(scope="module")
def project(cluster: RealSlurm, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(cluster, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def whole(project: Project) -> Job:
    """A run that nothing interrupts: two nodes, a process on each."""
    job = project.submit("--nodes=2", "--gpus-per-node=1", "--cpus-per-gpu=1", "slurm/multi_node.sbatch", *LONG)
    assert job.end() == ("COMPLETED", "0:0"), job.log
    return job


def test_a_run_leaves_its_files_and_an_account(whole: Job) -> None:
    results = whole.results
    assert {path.name for path in results.iterdir()} == FILES
    assert "2 process(es)" in whole.log
    assert whole.log.rstrip().endswith("finished, exit code 0")
    summary = (results / "sacct_summary.txt").read_text()
    assert all(word in summary for word in ("JobID", "State", "Elapsed", "MaxRSS", "AllocTRES", "gres/gpu=2"))
    assert "reserved core seconds were used" in summary
    assert "memory: the largest task used" in summary


def test_it_runs_from_its_own_folder_with_values_of_the_environment(project: Project) -> None:
    job = project.submit(
        *("--nodes=2", "--cpus-per-task=1", "--export=ALL,EPOCHS=2,BATCH_SIZE=16,RESULTS=results/its own"),
        *("cpu_nodes.sbatch", *RUN, "--batch-size=8"),
        folder="slurm",
    )
    assert job.end() == ("COMPLETED", "0:0"), job.log
    assert Path(job.facts["StdOut"]).parent == project.root / "slurm"
    configuration = (project.root / "results" / "its own" / "config.yaml").read_text()
    assert "epochs: 2\n" in configuration
    assert "batch_size: 8\n" in configuration  # flags win


def test_mistakes_end_at_once_with_one_line(project: Project, tmp_path: Path) -> None:
    """None of them is queued again; those that need no trainer leave no folder."""
    quick, site = str(project.root / "slurm" / "quick_test.sbatch"), tmp_path / "site.env"
    site.write_text("module() { [ $2 != cuda/99 ]; }\nDCRNN_MODULES='python/3.11 cuda/99'\n")
    cases = {
        "the right order: sbatch --export=ALL,EPOCHS=1 SCRIPT": project.submit(quick, "--export=ALL,EPOCHS=1"),
        "the right order: sbatch -N SCRIPT": project.submit(quick, "-N", "2"),
        "submit from the repository's root or from slurm/": project.submit(f"--chdir={tmp_path}", quick, folder=".."),
        "has 3 experiments, and no number 7": project.submit("--array=7", "slurm/experiments.sbatch"),
        "DCRNN_LAUNCHER must be srun or torchrun, got mpi": project.submit(quick, DCRNN_LAUNCHER="mpi"),
        "MAX_RESTARTS must be a whole number from 0 to 9999, got many": project.submit(quick, MAX_RESTARTS="many"),
        "unknown flag --epoch": project.submit(quick, "--epoch", "3"),
        "there is no nsys on the PATH": project.submit("slurm/nsys.sbatch"),
        "module load cuda/99 fails; correct DCRNN_MODULES in": project.submit(quick, DCRNN_SITE=str(site)),
        "which is no file": project.submit(quick, DCRNN_SITE=str(tmp_path / "absent")),
    }
    for said, job in cases.items():
        assert job.end() == ("FAILED", "2:0"), job.log
        assert said in job.log
        assert job.facts["Restarts"] == "0"
        assert job.results.exists() == ("--epoch" in said), said
    assert "refused, exit code 2" in cases["unknown flag --epoch"].log


def test_no_step_is_lost_whatever_interrupts(project: Project, cluster: RealSlurm, whole: Job) -> None:
    """The warning, a preemption, SIGKILL to either rank, a node that goes down; in the end the same bits."""
    job = project.submit("--nodes=2", "--cpus-per-task=1", "slurm/cpu_nodes.sbatch", *LONG)
    job.wait_for_training(0)
    asked, saved = time.time(), job.results / "checkpoints" / "latest.pt"
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    wait_until("the requeue", lambda: "queued again, restart 1" in job.log, 120)
    requeued, step = time.time(), job.status["step"]
    print(f"from SIGUSR1 to the saved checkpoint: {saved.stat().st_mtime - asked:.2f} s")
    job.wait_for_training(1, step)
    print(f"from the requeue to the first new step: {time.time() - requeued:.1f} s")
    job.wait_for_training(1)
    assert "stopped, and everything is saved; queued again, restart 1 of at most 20" in job.log

    urgent = project.submit("--partition=urgent", "--nodes=3", "--exclusive", "--wrap=sleep 1")
    assert urgent.end() == ("COMPLETED", "0:0")
    job.wait_for_training(2)
    assert "stopped, and everything is saved; queued again, restart 2 of at most 20" in job.log

    for restart, rank in ((3, 1), (4, 0)):
        job.kill_rank(rank)
        job.wait_for_training(restart)
        assert f"killed, exit code 137; queued again, restart {restart} of at most 20" in job.log

    node = cluster.run("scontrol", "show", "hostnames", job.facts["NodeList"]).split()[1]
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        job.wait_for_training(5)
    finally:
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)  # it may be back already
    assert job.end() == ("COMPLETED", "0:0"), job.log
    assert job.facts["Restarts"] == "5"
    require_same_weights(job.results, whole.results)


def test_torchrun_is_stopped_and_continues_beside_another_job(project: Project, cluster: RealSlurm) -> None:
    """Two jobs share a node; neither takes the other's port, and one signal reaches one of them.

    Before, both are preempted while their ranks start.
    """
    place = ("--nodelist=vnode1", "slurm/quick_test.sbatch", *LONG, "--epochs", "80")
    one = project.submit(*place, DCRNN_LAUNCHER="torchrun")
    other = project.submit(*place, DCRNN_LAUNCHER="torchrun")
    for job in (one, other):
        wait_until("torchrun's ranks", lambda job=job: job.processes("RANK=1"), 120)
    assert (one.status, other.status) == ({}, {})
    urgent = project.submit("--partition=urgent", "--nodelist=vnode1", "--exclusive", "--wrap=sleep 1")
    assert urgent.end() == ("COMPLETED", "0:0")
    one.wait_for_training(1)
    cluster.run("scancel", "--batch", "--signal=USR1", one.number)
    for job, restarts in ((one, "2"), (other, "1")):
        assert job.end() == ("COMPLETED", "0:0"), job.log
        assert job.facts["Restarts"] == restarts
    require_same_weights(one.results, other.results)


@pytest.mark.prove
def test_a_killed_launcher_leaves_no_task_behind(project: Project) -> None:
    place = ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "slurm/cpu_nodes.sbatch", *ENDLESS)
    for launcher in ("srun", "torchrun"):
        job = project.submit(*place, DCRNN_LAUNCHER=launcher)
        job.wait_for_training(0)
        job.kill_launcher()
        job.wait_for_training(1)
        assert "queued again, restart 1 of at most 20" in job.log
        job.cluster.run("scancel", job.number)
        assert job.end()[0] == "CANCELLED"


def test_what_is_not_queued_again(project: Project, cluster: RealSlurm) -> None:
    """A job at its limit of restarts, a cancelled one, one without memory at its limit, a run that meets NaN."""
    place = ("--ntasks-per-node=1", "slurm/quick_test.sbatch")
    limited = project.submit(*place, *ENDLESS, MAX_RESTARTS="0")
    cancelled = project.submit(*place, *ENDLESS)
    nan = project.submit(*place, *RUN, "--learning-rate", "1e38", "--clip-norm", "0")
    small = project.submit("--mem=60M", *place, *ENDLESS, MAX_RESTARTS="0")
    again = project.submit(*place, *ENDLESS, MAX_RESTARTS="0")
    cluster.wait_for(again.number, ("RUNNING",))
    cluster.run("scontrol", "requeue", again.number)  # as Slurm does by itself when a node fails
    staged = Path("/tmp", f"dcrnn_fast-stage-0-{cancelled.number}")
    staged.mkdir()
    limited.wait_for_training(0)
    cluster.run("scancel", "--batch", "--signal=USR1", limited.number)
    assert limited.end() == ("FAILED", "85:0"), limited.log
    assert "it is not queued again after 0 restarts (MAX_RESTARTS)" in limited.log
    cancelled.wait_for_training(0)
    cluster.run("scancel", cancelled.number)
    assert cancelled.end()[0] == "CANCELLED"
    wait_until("the cancelled run's last word", lambda: cancelled.status["state"] == "stopped", 60)
    wait_until("removal of staged data", lambda: not staged.exists(), 60)
    assert nan.end()[0] == "FAILED"
    assert nan.status["state"] == "nan"
    assert "a restart would not remove it" in nan.log
    assert small.end()[0] == "FAILED"
    assert "killed, exit code" in small.log
    assert again.end() == ("FAILED", "2:0")
    assert "restarted 1 times, more than MAX_RESTARTS=0" in again.log
    assert {job.facts["Restarts"] for job in (limited, cancelled, nan, small)} == {"0"}


@pytest.fixture(scope="module")
def a_minute_long(project: Project) -> list[Job]:
    """Jobs with Slurm's warning before it, and with no signal but those that end the job; other tests run meanwhile."""
    return [
        project.submit("--time=1", f"--signal=B:{signal}", "--ntasks-per-node=1", "slurm/quick_test.sbatch", *ENDLESS)
        for signal in ("USR1@25", "CONT@1")
    ]


@pytest.mark.usefixtures("a_minute_long")
def test_an_array_makes_a_run_of_each_line(project: Project, tmp_path: Path) -> None:
    """In the folders that the site names."""
    site = tmp_path / "site.env"
    site.write_text(f'DCRNN_RESULTS="{tmp_path}/all results"\nDCRNN_CHECKPOINTS={tmp_path}/saved\n')
    words = ("--cpus-per-task=1", "slurm/experiments.sbatch", *RUN, "--epochs", "1")
    first = project.submit(*words, EXPERIMENTS="supports", DCRNN_SITE=str(site))
    numbers = [f"{first.number}_{task}" for task in range(3)]
    tasks = [Job(project, number) for number in numbers]
    for job in tasks:
        assert job.end() == ("COMPLETED", "0:0"), job.log
    runs = tmp_path / "all results" / f"experiments_{first.number}"
    assert {path.name for path in runs.iterdir()} == {"dual_walk", "random_walk", "laplacian"}
    assert "supports: laplacian" in (runs / "laplacian" / "config.yaml").read_text()
    assert (tmp_path / "saved" / runs.name / "laplacian" / "best.pt").is_file()
    assert f"to compare: dcrnn-fast compare '{runs}'/*" in tasks[0].log
    command = f"{project.settings['DCRNN_PYTHON']} -m dcrnn_fast.compare '{runs}'/*"
    table = project.cluster.run("bash", "-c", command, cwd=project.root)
    assert all(name in table for name in ("dual_walk", "random_walk", "laplacian")), table


def test_the_other_scripts_run(project: Project) -> None:
    one = (*RUN, "--epochs", "1")
    jobs = [
        project.submit("--mem=2G", "generate_data.sbatch", "--data", "city", "--output", "store", folder="slurm"),
        project.submit("slurm/bench.sbatch", "--help"),
        project.submit("--cpus-per-gpu=1", "slurm/single_gpu.sbatch", *one),
        project.submit("--cpus-per-task=1", "slurm/baseline_1node.sbatch", *one, EPOCHS="7", SEED="7"),
    ]
    for job in jobs:
        assert job.end() == ("COMPLETED", "0:0"), job.log
    assert (project.root / "store" / "manifest.json").is_file()
    assert "usage:" in jobs[1].log
    baseline = (jobs[3].results / "config.yaml").read_text()
    assert "epochs: 1\n" in baseline  # the environment changes no baseline
    assert "seed: 0\n" in baseline
    assert "4 process(es)" in jobs[3].log


def test_the_time_limit_ends_no_run(a_minute_long: list[Job], cluster: RealSlurm) -> None:
    for job in a_minute_long:
        job.wait_for_training(1)
        assert "stopped, and everything is saved; queued again, restart 1" in job.log
        cluster.run("scancel", job.number)
        assert job.end()[0] == "CANCELLED"
    assert "DUE TO TIME LIMIT" in a_minute_long[1].log


@pytest.mark.prove
def test_without_accounts_the_summary_says_so(tmp_path: Path) -> None:
    plain = RealSlurm(nodes=1, accounting=False)
    try:
        plain.start()
        job = Project(plain, tmp_path).submit("slurm/quick_test.sbatch", "--epoch", "3")
        assert job.end() == ("FAILED", "2:0"), job.log
        assert "this cluster keeps no account" in (job.results / "sacct_summary.txt").read_text()
    finally:
        plain.stop()


def test_nsys_wraps_each_task(project: Project, tmp_path: Path) -> None:
    """A fake nsys records its own arguments, and runs the program that follows them."""
    fake = tmp_path / "nsys"
    said_in = tmp_path / "said"
    fake.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >"{said_in}"\nwhile [[ $1 != /* ]]; do shift; done\n"$@"\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{project.cluster.environment['PATH']}"
    job = project.submit("--cpus-per-gpu=1", "slurm/nsys.sbatch", *RUN, "--epochs", "1", PATH=path)
    assert job.end() == ("COMPLETED", "0:0"), job.log
    said = said_in.read_text().splitlines()
    assert said[:4] == ["profile", "--trace=cuda,nvtx,osrt", "--force-overwrite=true", said[3]]
    assert said[3] == f"--output=results/nsys_{job.number}/nsys_%q{{SLURM_PROCID}}"
    assert "--capture-range=cudaProfilerApi" not in said


def test_launch_submits(project: Project) -> None:
    """Slurm reads the #PBS lines; its qsub stands for PBS's."""
    jobs = {scheduler: launched(project, scheduler) for scheduler in ("slurm", "pbs")}
    for scheduler, job in jobs.items():
        assert job.end() == ("COMPLETED", "0:0"), job.log
        assert job.facts["JobName"] == f"by_{scheduler}"
        assert job.facts["Account"] == "lab"
        assert job.facts["Partition"] == "work"
        assert (project.root / "results" / f"it's {scheduler}" / "report.txt").is_file()


def launched(project: Project, scheduler: str) -> Job:
    """The job that ``dcrnn-fast launch`` has submitted, in a site of another partition."""
    python = project.settings["DCRNN_PYTHON"]
    site = project.root / "slurm" / "site.env"
    site.write_text("export SBATCH_ACCOUNT=lab SBATCH_PARTITION=nowhere\n")
    words = ["--scheduler", scheduler, "--config", "debug", "--partition", "work", "--job-name", f"by_{scheduler}"]
    words += ["--time", "5:00", "--submit", "--", *RUN[2:], "--epochs", "1", "--results", f"results/it's {scheduler}"]
    environment = project.cluster.environment | project.settings | {"PYTHONPATH": str(project.root)}
    environment |= dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
    done = subprocess.run(
        [python, "-m", "dcrnn_fast.launch", *words], cwd=project.root, env=environment, capture_output=True, text=True
    )
    site.unlink()
    assert done.returncode == 0, done.stderr
    job = Job(project, done.stdout.split()[1].strip(":"))
    if scheduler == "slurm":
        assert job.facts["StdOut"] in done.stdout
    return job
