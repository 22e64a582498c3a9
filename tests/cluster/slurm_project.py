"""A folder with the shipped batch scripts, unmodified, and the jobs that tests submit from it."""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tests.checkout import ROOT
from tests.cluster.real_slurm import RealSlurm, wait_until

RUN = ("--config", "debug", "--threads", "1", "--city-days", "4", "--max-validation-windows", "32")
"""flags of every training here: seconds"""
_GOES_ON = ("PENDING", "RUNNING", "COMPLETING", "SIGNALING")
"""states of a job that has not ended; Slurm shows the last one while it delivers a signal"""


class Project:
    """A repository's root with slurm/ as it is shipped; package and kernels are this checkout's."""

    def __init__(self, cluster: RealSlurm, root: Path) -> None:
        self.cluster, self.root = cluster, root
        ignored = shutil.ignore_patterns("site.env", "*.out", "__pycache__")
        shutil.copytree(ROOT / "slurm", root / "slurm", ignore=ignored)
        for path in (ROOT / "dcrnn_fast", ROOT / "kernels", ROOT / "bench", *ROOT.glob("_dcrnn_fast_C*")):
            (root / path.name).symlink_to(path)
        self.settings = {
            "DCRNN_PYTHON": os.environ.get("DCRNN_PYTHON", sys.executable),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }

    def submit(self, *words: str, folder: str = ".", **settings: str) -> "Job":
        """sbatch with these words, from a folder of the project."""
        environment = self.cluster.environment | self.settings | settings
        said = self.cluster.run("sbatch", "--parsable", *words, cwd=self.root / folder, env=environment)
        return Job(self, said.strip())


class Job:
    """A submitted job."""

    def __init__(self, project: Project, number: str) -> None:
        self.project, self.number, self.cluster = project, number, project.cluster

    @property
    def facts(self) -> dict[str, str]:
        return self.cluster.job(self.number)

    @property
    def log(self) -> str:
        paths = {Path(self.facts[name]) for name in ("StdOut", "StdErr")}
        return "".join(path.read_text() for path in paths if path.exists())

    @property
    def results(self) -> Path:
        return self.project.root / "results" / f"{self.facts['JobName']}_{self.number}"

    @property
    def status(self) -> dict[str, Any]:
        """status.json; {} before there is one."""
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.results / "status.json").read_text())
            return found
        return {}

    def end(self, seconds: float = 240) -> tuple[str, str]:
        """Its state and exit code when it is over, or waits for another start that nobody hastens."""
        facts = self.cluster.wait_for(
            self.number, ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), seconds
        )
        return facts["JobState"], facts["ExitCode"]

    def wait_for_training(self, restarts: int, after: int | None = None) -> None:
        """Until this start of it has trained some steps, or one ``after`` that number."""

        def trains() -> bool:
            facts = self.facts
            if facts["JobState"] == "PENDING":
                self.cluster.hasten(self.number)
            assert facts["JobState"] in _GOES_ON, f"{facts['JobState']}: {self.log[-3000:]}"
            status = self.status
            begun = facts["Restarts"] == str(restarts) and facts["JobState"] == "RUNNING"
            return begun and status.get("state") == "running" and status["since"] >= self._started(restarts)

        first = -1

        def moves() -> bool:
            nonlocal first
            step = self.status.get("step", 0) if trains() else -1
            if after is not None:
                return step > after
            if first < 0 <= step:
                first = step
            return 0 <= first < step - 4

        try:
            wait_until(f"training of job {self.number}, restart {restarts}", moves, 180)
        except AssertionError as error:
            facts = self.facts
            raise AssertionError(f"{error}; {facts['JobState']}, {self.status}\n{self.log[-3000:]}") from error

    def _started(self, restarts: int) -> str:
        """When the batch script started the trainer, by its own line."""
        lines = [line for line in self.log.splitlines() if f", restart {restarts}, results in" in line]
        return lines[-1].split(",")[0].rstrip("Z") if lines else "9"

    def processes(self, *variables: str) -> list[int]:
        """Those of the training that have these variables (NAME=VALUE)."""
        found, wanted = [], {f"SLURM_JOB_ID={self.number}", "SLURM_STEP_ID=0", *variables}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if wanted <= set(environment) and b"dcrnn_fast.train" in words and b"srun" not in words:
                    found.append(int(entry.name))
        return found

    def kill_launcher(self) -> None:
        """SIGKILL to srun's processes, which are in the batch script's step."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    names = (entry / "environ").read_bytes().split(b"\0")
                    if (entry / "comm").read_text() == "srun\n" and f"SLURM_JOB_ID={self.number}".encode() in names:
                        os.kill(int(entry.name), signal.SIGKILL)

    def kill_rank(self, rank: int) -> None:
        """SIGKILL to one process of the training."""
        os.kill(self.processes(f"SLURM_PROCID={rank}")[0], signal.SIGKILL)


def weights(results: Path) -> dict[str, torch.Tensor]:
    """The last state of a run."""
    model: dict[str, torch.Tensor] = torch.load(results / "checkpoints" / "latest.pt", weights_only=True)["model"]
    return model


def require_same_weights(one: Path, other: Path) -> None:
    """Bit for bit."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
