"""What the ranks of tests of ``--fit`` run."""

import os
import resource
from pathlib import Path

from tests.training.rank_programs import train


def with_less_on_the_second_rank(*flags: str) -> int:
    """Trains; rank 1 may take no more than 6 MiB beside what its first steps have left it."""
    from dcrnn_fast.training import memory

    ask = memory._room_to_fit

    def limited(run: memory.Run) -> int:
        if os.environ["RANK"] == "1":
            pages = int(Path("/proc/self/statm").read_text().split()[5])
            most = pages * resource.getpagesize() + (6 << 20)
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
            room = ask(run)
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return room
        return ask(run)

    memory._room_to_fit = limited
    return train(*flags)
