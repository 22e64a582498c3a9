"""SIGKILL at random moments, to all ranks or to one, resumed until the end: the same bits as the uninterrupted run.

A resumed run begins at the last save that was told, or a later one. Some runs are asked to stop instead (SIGUSR1), and
the seconds until the checkpoint is saved are measured.
"""

import itertools
import os
import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.forked import scratch
from tests.training.rank_server import Job, RankServer
from tests.training.same_run import assert_same_run, events_of

FLAGS = (
    *("--epochs", "3", "--accumulate", "2", "--batch-size", "8", "--patience", "0"),
    *("--max-train-windows", "250", "--schedule", "plateau", "--plateau-patience", "0"),
    *("--sampling-decay", "10", "--warmup-steps", "5"),
)
KILLS_OF_A_RUN = 5
ONE_IN_STARTING, ONE_IN_ASKED, ONE_IN_SINGLE = 5, 4, 3
"""of so many attempts one comes while the run starts, one is SIGUSR1; of so many kills one is of a single rank"""
_LAUNCHER_WAITS = 5.0
"""seconds from the end of one rank until the launcher kills the others: one that starts waits for the dead"""


@dataclass(frozen=True)
class Way:
    """How the runs of a row train."""

    world: int
    every: int = 1
    more: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        return (*FLAGS, "--save-every-steps", str(self.every), *self.more)


WAYS = {
    "1 rank": Way(1),
    "2 ranks": Way(2),
    "3 ranks": Way(3),
    "1 rank, windows gathered ahead by 2 threads": Way(1, more=("--num-workers", "2")),
    "2 ranks, saved every 3 steps": Way(2, every=3),
}


@dataclass
class Found:
    """What became of the runs of a row; times in seconds."""

    kills: int = 0
    stops: int = 0
    runs: int = 0
    wrong: int = 0
    lost_saved: int = 0
    most_lost: int = 0
    saving: list[float] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """A row of the table."""
        milliseconds = [1000 * seconds for seconds in self.saving]
        return {
            "kills": self.kills,
            "asked to stop": self.stops,
            "runs": self.runs,
            "runs with other bits": self.wrong,
            "resumes that lost a saved step": self.lost_saved,
            "most steps lost": self.most_lost,
            "SIGUSR1 to saved, median ms": round(statistics.median(milliseconds)) if milliseconds else 0,
            "longest ms": round(max(milliseconds, default=0)),
        }


def measure(tries: int, seed: int, ways: dict[str, Way] = WAYS) -> dict[str, dict[str, int]]:
    """For each way: kills, and runs that ended with other bits or resumed before a step that was saved."""
    counts = {}
    server = RankServer()
    try:
        with scratch() as folder:
            for number, (name, way) in enumerate(ways.items()):
                counts[name] = _attempts(server, folder / str(number), way, tries, seed + number).counts()
    finally:
        server.close()
    return counts


def _attempts(server: RankServer, folder: Path, way: Way, tries: int, seed: int) -> Found:
    rng, found = random.Random(seed), Found()
    whole = folder / "whole"
    server.run(folder / "job", way.world, "rank_programs:train", "--results", str(whole), *way.flags)
    while found.kills < tries:
        results = folder / f"killed{found.runs}"
        found.runs += 1
        steps = folder / f"steps{found.runs}"
        program = ("rank_programs:train_noting_steps", str(steps), "--results", str(results), "--resume", "auto")
        for number in range(KILLS_OF_A_RUN):
            job = server.start(folder / f"job{found.runs}-{number}", way.world, *program, *way.flags)
            _wait_for_a_moment(job, steps, rng)
            if not _interrupt(job, results, way, rng, found):
                break  # it was through
            _look_at_resume(results, steps, found)
        server.run(folder / f"last{found.runs}", way.world, *program, *way.flags)
        _look_at_resume(results, steps, found)
        try:
            assert_same_run(whole, results)
        except AssertionError as error:
            found.wrong += 1
            print(f"  {results.name}: {str(error)[:300]}", flush=True)
    return found


def _wait_for_a_moment(job: Job, steps: Path, rng: random.Random) -> None:
    """While the run starts, or until it is some steps further: how long that takes, a busy machine decides."""
    if rng.randrange(ONE_IN_STARTING) == 0:
        time.sleep(2 * rng.random())
        return
    wanted = _steps_in(steps) + rng.randint(1, 9)
    job.until(lambda: job.ended or _steps_in(steps) >= wanted)
    time.sleep(0.05 * rng.random())


def _steps_in(steps: Path) -> int:
    return steps.read_bytes().count(b"\n") if steps.exists() else 0


def _interrupt(job: Job, results: Path, way: Way, rng: random.Random, found: Found) -> bool:
    """Ends the run in one of the ways; False: it had ended by itself."""
    rank = rng.randrange(way.world)
    if rng.randrange(ONE_IN_ASKED) == 0 and (results / "events.jsonl").exists() and not job.ended:
        began = time.time()
        os.kill(job.pid(rank), signal.SIGUSR1)
        if set(job.wait()) != {85}:
            return False
        found.stops += 1
        found.saving.append((results / "checkpoints" / "latest.pt").stat().st_mtime - began)
        return True
    if rng.randrange(ONE_IN_SINGLE) == 0 and (job.folder / f"pid.{rank}").exists() and not job.ended:
        os.kill(job.pid(rank), signal.SIGKILL)
        return _counted(job, found, spared=_LAUNCHER_WAITS)
    return _counted(job, found)


def _counted(job: Job, found: Found, spared: float = 0.0) -> bool:
    """Kills what is left after so many seconds, as launchers do; False: it had ended by itself."""
    deadline = time.monotonic() + spared
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    job.kill()
    if job.ended and job.wait() == [0] * job.world:
        return False
    found.kills += 1
    return True


def _look_at_resume(results: Path, steps: Path, found: Found) -> None:
    """Of the last resume: whether it began before a step that had been saved, and how many steps it did again."""
    if not (results / "events.jsonl").exists():
        return
    saved = lost = began = 0
    for event in events_of(results):
        if event["event"] == "save":
            saved = event["step"]
        elif event["event"] in ("start", "resume"):
            lost, saved, began = int(event["step"] < saved), event["step"], event["step"]
    found.lost_saved += lost
    done = [int(step) for step in steps.read_text().split()] if steps.exists() else []
    # Where the last run's steps begin: those before were done by earlier ones, the last of which may be lost.
    before = [last for last, first in itertools.pairwise(done) if first <= last and first == began + 1]
    found.most_lost = max([found.most_lost, *(last - began for last in before)])
