"""One real Slurm for all tests here."""

import os
from collections.abc import Iterator

import pytest

from tests.checkout import missing
from tests.cluster.real_slurm import PACKAGES, RealSlurm, missing_daemons


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealSlurm]:
    """Three nodes that share this machine, with accounts."""
    if os.geteuid() != 0:
        missing("Slurm's daemons need root here")
    if absent := missing_daemons():
        missing(f"{', '.join(absent)} not installed: apt-get install {PACKAGES}")
    slurm = RealSlurm()
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
