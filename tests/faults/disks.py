"""Disks that run full, of bytes and of inodes: one line, and the former output is whole, or the new one."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcrnn_fast.checkpoints.read import load_checkpoint
from tests.faults.forked import command, scratch
from tests.faults.scene import SMALL, must

SAVES = ("--batch-size", "16", "--save-every-steps", "1", "--save-every-epochs", "1", "--keep-last", "1")
"""so that checkpoints are written, and deleted, while training goes on"""
STEPS = 8
"""fillings between no room at all and enough"""


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """For each command that writes: full disks tried, old file whole, new one whole, in one line."""
    data = ("--data", str(scene / "readings.csv"), "--graph", str(scene / "links.csv"))
    best, port = str(scene / "run" / "checkpoints" / "best.pt"), str(scene / "port.tar")
    commands = {
        "train": ("train", *data, *SMALL, "--results", "out", "--seed", "1", *SAVES),
        "prepare": ("prepare", *data, "--output", "out"),
        "evaluate": ("evaluate", best, *data, "-o", "out"),
        "forecast": ("forecast", best, "--data", str(scene / "readings.csv"), "-o", "out/f.csv"),
        "convert": ("convert", port, *data[2:], "--mean", "50", "--std", "9", "-o", "out/model.pt"),
        "export": ("convert", best, "--export", "-o", "out/port.tar"),
    }
    return {name: _measure(words) for name, words in commands.items()}


def _measure(words: tuple[str, ...]) -> dict[str, int]:
    tried = whole = in_one_line = went_well = leftovers = 0
    for inodes in (False, True):
        with scratch() as folder, _disk(folder, "size=16m"):
            (folder / "out").mkdir()
            must(command(*words, folder=folder))
            needed = _used(folder, inodes)
        for part in range(STEPS):
            with scratch() as folder, _disk(folder, "size=16m,nr_inodes=2000"):
                (folder / "out").mkdir()
                must(command(*words, folder=folder))
                before = _contents(folder)
                _fill(folder, inodes, int(needed * part / STEPS))
                outcome = command(*words, folder=folder)
                after = _contents(folder)
            tried += 1
            went_well += outcome.code == 0
            in_one_line += outcome.code == 0 or outcome.one_line
            leftovers += any(".tmp-" in name for name in after)
            whole += outcome.code == 0 or before.items() <= _moved_back(after).items()
            if not (outcome.code == 0 or outcome.one_line):
                print(f"  {words[0]}: exit {outcome.code}: {outcome.err.strip()[-200:]}", flush=True)
    return {
        "full disks": tried, "had room": went_well, "one line": in_one_line, "old files whole": whole,
        "temporary files left": leftovers,
    }  # fmt: skip


@contextmanager
def _disk(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _used(folder: Path, inodes: bool) -> int:
    stat = os.statvfs(folder)
    return stat.f_files - stat.f_ffree if inodes else (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def _fill(folder: Path, inodes: bool, left: int) -> None:
    """Leaves so many bytes, or inodes."""
    stat = os.statvfs(folder)
    if inodes:
        for number in range(stat.f_ffree - left):
            (folder / f"filler{number}").touch()
    else:
        (folder / "filler").write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - left)))


def _contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the output, by its path.

    A checkpoint must be readable; its manifest may list one more, that did not come.
    """
    contents = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.suffix == ".pt":
            load_checkpoint(path)
        if path.is_file() and not (path.name == "manifest.json" and list(path.parent.glob("*.pt"))):
            contents[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return contents


def _moved_back(contents: dict[str, str]) -> dict[str, str]:
    """With the files that a new run set aside under their former names too."""
    aside = {}
    for name, digest in contents.items():
        parts = Path(name).parts
        kept = [part for part in parts if not part.startswith("earlier-")]
        if len(kept) < len(parts):
            aside[str(Path(*kept))] = digest
    return contents | aside
