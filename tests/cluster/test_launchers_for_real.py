"""Real srun, mpirun and torchrun, and variables set by hand: the same run under each, and who is missing."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dcrnn_fast.ranks.slurm_lists import host_names
from tests.checkout import ROOT, missing
from tests.cluster.real_slurm import RealSlurm
from tests.ports import free_port
from tests.training.same_run import assert_same_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2")
PYTHON = (sys.executable, "-m")
SECONDS = 240
TRAIN = (*PYTHON, "dcrnn_fast.train", "--config", "debug", "--epochs", "1", "--threads", "1", "--test-fraction", "0")
DOCTOR = (*PYTHON, "dcrnn_fast.doctor", "--all-ranks", "--json", "--dist-timeout", "120")
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "SLURM_", "OMPI_", "PMI", "TORCHELASTIC_")


@pytest.fixture(scope="module")
def environment(cluster: RealSlurm) -> dict[str, str]:
    if shutil.which("mpirun") is None:
        missing("mpirun not installed: apt-get install openmpi-bin")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
    return kept | {name: cluster.environment[name] for name in ("PATH", "SLURM_CONF")} | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def started(words: tuple[str, ...], environment: dict[str, str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        env=environment | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; none lives on."""
    try:
        return [(one.returncode, *texts) for one in processes if (texts := one.communicate(timeout=SECONDS))]
    finally:
        for one in processes:
            if one.poll() is None:
                os.killpg(one.pid, signal.SIGKILL)
                one.wait()


def test_the_run_is_the_same_to_the_bit_under_every_launcher(environment: dict[str, str], tmp_path: Path) -> None:
    torchrun = str(Path(sysconfig.get_path("scripts"), "torchrun"))
    by_torchrun = (torchrun, "--standalone", "--nproc-per-node=2", *TRAIN[1:])
    ways = {
        "srun": ("srun", "-N2", "-n2", *TRAIN),
        # mpirun's own machine has no task, and its daemons are the tasks of a Slurm step.
        "mpirun": ("salloc", "-Q", "-N2", "-n2", *MPIRUN[:2], "-np", "2", *TRAIN),
        "torchrun": by_torchrun,
    }
    for name, words in ways.items():
        ((code, _, err),) = ended(started((*words, "--results", str(tmp_path / name)), environment))
        assert code == 0, f"{name}: {err}"
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    words = (*TRAIN, "--results", str(tmp_path / "by hand"))
    for code, _, err in ended(*(started(words, environment, RANK=str(rank), **world) for rank in range(2))):
        assert code == 0, err
    for name in ways:
        assert_same_run(tmp_path / "by hand", tmp_path / name)


def test_doctor_meets_under_each_launcher_and_two_jobs_on_a_machine_do_not_mix(
    environment: dict[str, str], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("vnode2\nvnode1\n")  # rank 0 on the second host of the list
    turned = started(
        ("srun", "-N2", "-n2", "--distribution=arbitrary", *DOCTOR), environment, SLURM_HOSTFILE=str(hosts)
    )
    step = ("srun", "--exact", "-N1", "-n2", "-c1", *DOCTOR)
    steps = " & ".join(f"{' '.join(step)} > {tmp_path / name}" for name in "ab")
    beside = started(("salloc", "-Q", "-N1", "-n4", "bash", "-c", f"{steps} & wait"), environment)
    by_mpi = started((*MPIRUN, *DOCTOR), environment)
    (turned_code, turned_out, turned_err), (code, _, err), (mpi_code, mpi_out, mpi_err) = ended(turned, beside, by_mpi)
    assert (turned_code, code, mpi_code) == (0, 0, 0), turned_err + err + mpi_err
    for text, launcher in (
        (turned_out, "Slurm's srun"),
        ((tmp_path / "a").read_text(), "Slurm's srun"),
        ((tmp_path / "b").read_text(), "Slurm's srun"),
        (mpi_out, "Open MPI's mpirun"),
    ):
        found = json.loads(text)
        assert found["met"].startswith(f"2 ranks, started by {launcher}, met in ")
        assert found["broken"] == []
    assert [one["host"] for one in json.loads(turned_out)["ranks"]] == ["vnode2", "vnode1"]


@pytest.mark.parametrize(
    ("launcher", "rank", "codes"),
    [
        (("srun", "-n2", "--kill-on-bad-exit=1"), "SLURM_PROCID", {143}),  # the highest: that of the rank that it ended
        (MPIRUN, "OMPI_COMM_WORLD_RANK", {2}),
    ],
)
def test_the_missing_rank_is_named_in_time(
    environment: dict[str, str], tmp_path: Path, launcher: tuple[str, ...], rank: str, codes: set[int]
) -> None:
    train = " ".join((*TRAIN, "--dist-timeout", "3", "--results", str(tmp_path / "r")))
    words = ("bash", "-c", f'if [ "${rank}" = 1 ]; then exec sleep 30; fi; exec {train}')
    ((code, _, err),) = ended(started((*launcher, *words), environment))
    assert code in codes, err
    assert "dcrnn-fast train: error: rank 1 of 2 at 127.0.0.1:2" in err
    assert "did not come within 3 s (--dist-timeout): look into the output of those tasks, which " in err
    assert not (tmp_path / "r").exists()


def test_lists_of_hosts_are_those_of_scontrol(cluster: RealSlurm) -> None:
    drawn = random.Random(5)
    lists = []
    for _ in range(60):
        parts = []
        for _ in range(drawn.randint(1, 4)):
            ranges = []
            for _ in range(drawn.randint(1, 3)):
                first = drawn.randint(0, 120)
                width = drawn.choice([1, 2, 4])
                ranges.append(
                    drawn.choice([f"{first:0{width}}", f"{first:0{width}}-{first + drawn.randint(0, 12):0{width}}"])
                )
            rack = drawn.choice(["", "[0-1]x", "[08-11]-"])
            parts.append(f"{drawn.choice(['n', 'gpu-a', 'node0'])}{rack}{drawn.choice(['', 'c'])}[{','.join(ranges)}]")
        lists.append(",".join([*parts, "login"][drawn.randint(0, 1) :]))
    for short in lists:
        assert host_names(short) == cluster.run("scontrol", "show", "hostnames", short).split(), short


SHOWN_GPUS = """
import os, sys
from types import SimpleNamespace
import torch
from dcrnn_fast.device import choose_device, device_identity
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import join_ranks

# A torch that sees the GPUs that Slurm shows this task: CUDA numbers them from 0 in each process.
shown = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: len(shown)
torch.cuda.get_device_properties = lambda device: SimpleNamespace(uuid=f"GPU{shown[device.index]}", name="fake")
ranks = join_ranks(120)
with ranks.reporting_failure():
    device = choose_device("auto", ranks.local_rank)
    try:
        ranks.require_apart("device", device_identity(device))
    except UserError as error:
        print(error, flush=True)
        sys.exit(2)
    print(ranks.rank, device, flush=True)
"""


def test_each_task_takes_its_own_gpu_and_two_on_one_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "gpus.py"
    program.write_text(SHOWN_GPUS)
    words = ("srun", "-N1", "-n2", "--kill-on-bad-exit=0", "--wait=0")
    own = started((*words, "--gpus-per-task=1", sys.executable, str(program)), environment)
    shared = started((*words, "--gpus=2", sys.executable, str(program)), environment)
    one = started((*words, "--gpus=1", sys.executable, str(program)), environment)
    found = ended(own, shared, one)
    assert [code for code, _, _ in found] == [0, 0, 2], found
    assert sorted(found[0][1].splitlines()) == ["0 cuda:0", "1 cuda:0"], "each sees its own as the only one"
    assert sorted(found[1][1].splitlines()) == ["0 cuda:0", "1 cuda:1"], "both see both"
    host = socket.gethostname()
    refused = rf"rank 0 and rank 1 have the same device \(GPU[0-9] of {re.escape(host)}, fake\): "
    assert all(re.match(refused, line) for line in found[2][1].splitlines()), found
