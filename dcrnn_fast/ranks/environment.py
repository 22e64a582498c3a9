"""The launcher's variables of this process, in torchrun's names. Names of other launchers belong here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dcrnn_fast.errors import UserError


@dataclass(frozen=True, slots=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        sets_one_thread: the launcher sets OMP_NUM_THREADS=1 unless the user has set it.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    sets_one_thread: bool = False


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """torchrun's RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; without them a single process.

    Raises:
        UserError: a variable is missing or no whole number, or they contradict each other.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in environment
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        return Launch(sets_one_thread=by_torchrun)
    rank, world = _integer(environment, "RANK"), _integer(environment, "WORLD_SIZE")
    local_rank = _integer(environment, "LOCAL_RANK", rank)
    local_world = _integer(environment, "LOCAL_WORLD_SIZE", world)
    if not 0 <= rank < world:
        raise UserError(f"RANK must lie in 0 .. WORLD_SIZE - 1 = {world - 1}, got {rank}")
    if world == 1:
        return Launch(local_rank=local_rank, sets_one_thread=by_torchrun)
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]:
        raise UserError(f"WORLD_SIZE is {world} but {', '.join(missing)} is not set; start the ranks with torchrun")
    return Launch(rank, world, local_rank, local_world, by_torchrun)


def _integer(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.strip().lstrip("-").isdigit():
        raise UserError(f"environment variable {name} must be a whole number, got {text!r}")
    return int(text)
