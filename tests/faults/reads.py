"""Reading a checkpoint while another process replaces it again and again: always a whole one, never an older one."""

import os
import signal
import time
from pathlib import Path

import torch

from dcrnn_fast.checkpoints.find import newest_good, read_good
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import BEST, LATEST, save_checkpoint
from dcrnn_fast.errors import UserError
from tests.faults.forked import scratch

MEGABYTES = 70
READERS = 2


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """Reads of two processes, those called damaged, those that came with a note or from an older file."""
    state = load_checkpoint(scene / "run" / "checkpoints" / "best.pt")
    state["training"]["ballast"] = torch.zeros(MEGABYTES << 18)
    with scratch() as folder:
        state["training"]["step"] = 1
        save_checkpoint(folder, state, LATEST, BEST)
        writer = os.fork()
        if writer == 0:
            _write(folder, state)
        readers = [_start_reader(folder, tries // READERS) for _ in range(READERS)]
        found = [_result(reader) for reader in readers]
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    names = ("reads", "called damaged", "noted or older")
    return {"latest.pt, best.pt": dict(zip(names, map(sum, zip(*found, strict=True)), strict=True))}


def _write(folder: Path, state: dict) -> None:
    try:
        while True:
            state["training"]["step"] += 1
            save_checkpoint(folder, state, LATEST, BEST)
    finally:
        os._exit(1)


def _start_reader(folder: Path, reads: int) -> tuple[int, int]:
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(send, " ".join(map(str, _read(folder, reads))).encode())
        finally:
            os._exit(0)
    os.close(send)
    return pid, receive


def _result(reader: tuple[int, int]) -> list[int]:
    pid, receive = reader
    with os.fdopen(receive) as pipe:
        words = pipe.read().split()
    os.waitpid(pid, 0)
    return list(map(int, words))


def _read(folder: Path, reads: int) -> tuple[int, int, int]:
    damaged = wrong = step = 0
    ways = (lambda: read_good(folder / LATEST), lambda: newest_good(folder), lambda: read_good(folder / BEST))
    for number in range(reads):
        try:
            found = ways[number % len(ways)]()
        except UserError:
            damaged += 1
            continue
        now = found.state["training"]["step"]
        wrong += bool(found.notes) or (found.path.name == LATEST and now < step)
        step = max(step, now) if found.path.name == LATEST else step
        time.sleep(0.001)
    return reads, damaged, wrong
