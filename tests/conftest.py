"""Fixtures for all tests: where data and golden vectors lie, one thread, fixed seeds, a disk that is soon full."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from tests.checkout import GOLDEN, ROOT, missing
from tests.training.rank_server import RankServer

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A command that a test before has run in this process may have left another number."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def rank_server() -> Iterator[RankServer]:
    """Starts ranks as real processes; all tests of several processes share it."""
    server = RankServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference's vectors (inputs, weights, outputs, gradients)."""
    return GOLDEN


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets. Skips where it is absent; on CI, where it must be present, fails."""
    folder = Path(os.environ.get("DCRNN_FAST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"no real data at {folder}: set DCRNN_FAST_DATA to the folder that holds metr_la_graph, the_hague, ...")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; skips where mounting is not permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
