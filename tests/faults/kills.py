"""SIGKILL at random moments, resumed until the end: the same bits as the uninterrupted run, and no saved step lost."""

import random
import time
from pathlib import Path

from tests.faults.forked import scratch
from tests.training.rank_server import RankServer
from tests.training.same_run import assert_same_run, events_of

FLAGS = (
    *("--epochs", "3", "--save-every-steps", "1", "--accumulate", "2", "--batch-size", "8", "--patience", "0"),
    *("--max-train-windows", "250", "--schedule", "plateau", "--plateau-patience", "0"),
    *("--sampling-decay", "10", "--warmup-steps", "5"),
)
KILLS_OF_A_RUN = 5


def measure(tries: int, seed: int) -> dict[str, dict[str, int]]:
    """For 1, 2 and 3 ranks: kills, and runs that ended with other bits or resumed before a step that was saved."""
    counts = {}
    server = RankServer()
    try:
        with scratch() as folder:
            for world in (1, 2, 3):
                counts[f"{world} rank{'s' * (world > 1)}"] = _kills(server, folder / str(world), world, tries, seed)
    finally:
        server.close()
    return counts


def _kills(server: RankServer, folder: Path, world: int, tries: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed + world)
    whole = folder / "whole"
    began = time.monotonic()
    server.run(folder / "job", world, "rank_programs:train", "--results", str(whole), *FLAGS)
    seconds = time.monotonic() - began
    kills = wrong = lost = runs = 0
    while kills < tries:
        results, runs = folder / f"killed{runs}", runs + 1
        flags = ("--results", str(results), "--resume", "auto", *FLAGS)
        for number in range(min(KILLS_OF_A_RUN, tries - kills)):
            job = server.start(folder / f"job{runs}-{number}", world, "rank_programs:train", *flags)
            time.sleep(rng.random() * seconds)
            if not job.kill():
                break  # it was through
            kills += 1
            lost += _resumes_before_the_last_save(results)
        server.run(folder / f"last{runs}", world, "rank_programs:train", *flags)
        lost += _resumes_before_the_last_save(results)
        try:
            assert_same_run(whole, results)
        except AssertionError:
            wrong += 1
    return {"kills": kills, "runs": runs, "runs with other bits": wrong, "resumes that lost a saved step": lost}


def _resumes_before_the_last_save(results: Path) -> int:
    """Of the last resume: 1 if it began before a step that had been saved."""
    if not (results / "events.jsonl").exists():
        return 0
    saved = lost = 0
    for event in events_of(results):
        if event["event"] == "save":
            saved = event["step"]
        elif event["event"] in ("start", "resume"):
            lost, saved = int(event["step"] < saved), event["step"]
    return lost
