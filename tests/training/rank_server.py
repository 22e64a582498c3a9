"""Starts ranks as real processes, without paying the import of torch for each: one process imports, the ranks fork.

Run as a script it reads requests from stdin, one JSON object a line. Each request forks a supervisor in a process group
of its own (so that a test can SIGKILL the whole run), which forks the ranks with torchrun's environment, ends the
others when one fails, as torchrun does, and writes their exit codes to ``FOLDER/codes.json``.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Job:
    """A run that was started: its process group, and the folder with its output."""

    group: int
    folder: Path
    world: int

    @property
    def ended(self) -> bool:
        """Whether its exit codes are there."""
        return (self.folder / "codes.json").exists()

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Waits for ``condition``; fails with what the ranks wrote if the job ends, or dies, without it."""
        deadline = time.monotonic() + seconds
        while True:
            over = self.ended or not _alive(self.group)  # asked first: what it did last may be the condition
            if condition():
                return
            words = "".join(map(self.errors, range(self.world))) or self.output(0)
            assert not over, f"the job is over, and that for which the test waits did not happen: {words}"
            assert time.monotonic() < deadline, f"nothing happened for {seconds} s: {words}"
            time.sleep(0.002)

    def wait(self, seconds: float = 120.0) -> list[int]:
        """Exit codes by rank; negative: the signal that ended it."""
        self.until(lambda: self.ended, seconds)
        codes: list[int] = json.loads((self.folder / "codes.json").read_text())
        return codes

    def kill(self) -> bool:
        """SIGKILL to all of it, as a power cut would; False: it had ended by itself."""
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:
            return False
        deadline = time.monotonic() + 60
        while any((self.folder / f"pid.{rank}").exists() and _alive(self.pid(rank)) for rank in range(self.world)):
            assert time.monotonic() < deadline, "a rank outlives SIGKILL"
            time.sleep(0.005)
        return True

    def pid(self, rank: int) -> int:
        return int((self.folder / f"pid.{rank}").read_text())

    def output(self, rank: int) -> str:
        return _text(self.folder / f"out.{rank}")

    def errors(self, rank: int) -> str:
        return _text(self.folder / f"err.{rank}")


class RankServer:
    """The tests' side: start runs."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"},
        )

    def start(self, folder: Path, world: int, target: str, *args: object, env: dict[str, str] | None = None) -> Job:
        """Calls ``module:function(*args)`` on ``world`` ranks; its result is the exit code."""
        folder.mkdir(parents=True)
        port = free_port()
        request = {
            "folder": str(folder),
            "world": world,
            "target": target,
            "args": args,
            "env": env or {},
            "port": port,
        }
        self._server.stdin.write(json.dumps(request | {"env": env or {}}) + "\n")
        self._server.stdin.flush()
        return Job(int(self._server.stdout.readline()), folder, world)

    def run(
        self,
        folder: Path,
        world: int,
        target: str,
        *args: object,
        env: dict[str, str] | None = None,
        seconds: float = 120.0,
    ) -> Job:
        """``start``, waited for; all ranks must end with 0. One that takes longer is killed: it would go on writing."""
        job = self.start(folder, world, target, *args, env=env)
        try:
            codes = job.wait(seconds)
        except AssertionError:
            job.kill()
            raise
        assert codes == [0] * world, f"{job.output(0)}\n{''.join(job.errors(rank) for rank in range(world))}"
        return job

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended between the two questions
        return False


def _serve() -> None:
    # The first optimiser imports torch._dynamo: two seconds that no rank should pay for itself.
    for module in ("dcrnn_fast.train", "rank_programs", "torch._dynamo"):
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _supervise(json.loads(line))
        print(pid, flush=True)


def _supervise(request: dict) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder, world = Path(request["folder"]), request["world"]
    pids = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            _be_rank(request, folder, rank)
        pids.append(pid)
        (folder / "pid.tmp").write_text(str(pid))
        (folder / "pid.tmp").rename(folder / f"pid.{rank}")  # a test that sees it may kill this process at once
    codes: dict[int, int] = {}
    while len(codes) < world:
        pid, status = os.wait()
        codes[pids.index(pid)] = os.waitstatus_to_exitcode(status)
        if codes[pids.index(pid)] != 0:
            for rank, other in enumerate(pids):
                if rank not in codes:
                    os.kill(other, signal.SIGTERM)
    beside = folder / "codes.tmp"
    beside.write_text(json.dumps([codes[rank] for rank in range(world)]))
    beside.rename(folder / "codes.json")
    os._exit(0)


def _be_rank(request: dict, folder: Path, rank: int) -> None:
    world = request["world"]
    if world > 1:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(request["port"]))
    os.environ.update(request["env"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module, function = request["target"].split(":")
    try:
        code = getattr(importlib.import_module(module), function)(*request["args"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    _serve()
