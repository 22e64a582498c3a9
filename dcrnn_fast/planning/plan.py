"""A plan: sizes, memory by item, times and bytes on the network, for people and as JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dcrnn_fast.messages import sized
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.memory import MARGIN, Need
from dcrnn_fast.planning.parts import Part
from dcrnn_fast.planning.shapes import Shapes
from dcrnn_fast.planning.source import Source


@dataclass(frozen=True, slots=True)
class NetworkBytes:
    """Bytes that a process sends in a step, and their time over a network of a stated rate: a model, not measured.

    Attributes:
        gradients: of a ring's all-reduce. halo: rows of other processes' nodes, in a step, or 0: no graph is shared.
        seconds: on the way, if the rate is known; the way is not beside the computing.
    """

    gradients: int
    halo: int
    seconds: float | None

    @classmethod
    def of(cls, shapes: Shapes, ranks: int, gbit_per_second: float | None, halo: int = 0) -> "NetworkBytes":
        """Args: halo: bytes that a process sends to its partners in a step."""
        gradients = 2 * (ranks - 1) * 4 * (shapes.parameters + 1) // ranks
        rate = None if gbit_per_second is None else gbit_per_second * 1e9 / 8
        return cls(gradients, halo, None if rate is None else (gradients + halo) / rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a training would take.

    Attributes:
        now: batch size, accumulation and saving as configured; need: what a process then takes.
        room: bytes that each process may take; None: not known.
        best: the fastest choice that fits, or None; least: the one that takes the least.
        need_of, seconds_of: the same of other choices. seconds: of an optimiser step as configured, network left out.
        epoch: windows, steps and seconds, as far as they are known.
        part: of a graph that processes share, the one that is planned for; ``shapes`` are its sizes.
    """

    shapes: Shapes
    source: Source
    precision: str
    backend: str
    on_gpu: bool
    threads: int
    ranks: int
    local_ranks: int
    now: Choice
    need: Need
    room: float | None
    best: Choice | None
    least: Choice
    need_of: Callable[[Choice], Need]
    seconds: float | None
    seconds_of: Callable[[Choice], float] | None
    epoch: dict[str, float]
    part: Part | None
    network: NetworkBytes

    @property
    def short_of(self) -> int:
        """Bytes by which a process as configured takes more than it may; 0: it fits."""
        return 0 if self.room is None else max(int(self.need.peak - self.room), 0)

    @property
    def checkpoint_bytes(self) -> int:
        """Of a checkpoint: weights and the optimiser's two moments; the graph comes on top."""
        return 3 * 4 * self.shapes.parameters

    @property
    def step_seconds(self) -> float | None:
        """Of an optimiser step, with the network if its rate is known."""
        return None if self.seconds is None else self.seconds + (self.network.seconds or 0.0)

    def refusal(self) -> str:
        """Why it does not fit, and the nearest that would."""
        assert self.room is not None
        each = f" for each of {self.local_ranks} processes" if self.local_ranks > 1 else ""
        said = (
            f"does not fit: a process needs {sized(self.need.peak)}, {sized(self.short_of)} more than the "
            f"{sized(self.room)}{each} that there are"
        )
        if self.best is not None:
            needed = sized(self.need_of(self.best).peak)
            return f"{said}; the nearest that fits, the same step: {self.best.flags()} ({needed})"
        least = self.need_of(self.least).peak
        if least - self.source.in_memory <= self.room / MARGIN:
            return (
                f"{said}, of which the series takes {sized(self.source.in_memory)}; a prepared store is not held in "
                "memory: dcrnn-fast prepare, then --data STORE"
            )
        return (
            f"{said}; nothing fits: {self.least.flags()} takes {sized(least)}, "
            f"{sized(max(least * MARGIN - self.room, 0))} too much with room to spare; use fewer hidden "
            "units or layers, fewer processes on a machine, or a machine with more memory"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; sizes in bytes, times in seconds, None: not known."""
        return {
            "shapes": asdict(self.shapes) | {"parameters": self.shapes.parameters},
            "series": {
                "rows": self.source.rows,
                "bytes_in_memory": self.source.in_memory,
                "bytes_mapped": self.source.mapped,
            },
            "notes": list(self.source.notes),
            "precision": self.precision,
            "backend": self.backend,
            "threads": self.threads,
            "ranks": self.ranks,
            "ranks_per_host": self.local_ranks,
            "part": None
            if self.part is None
            else {
                "parts": len(self.part.account.nodes_G),
                "how": self.part.how,
                "nodes": self.shapes.nodes,
                "halo_rows": self.part.halo_rows,
                "balance": self.part.account.balance,
            },
            "choice": asdict(self.now),
            "memory": {
                "process": self.need.peak,
                "items": self.need.items,
                "largest_phase": self.need.largest,
                "host": self.need.peak * self.local_ranks,
                "room_of_a_process": self.room,
                "short_of": self.short_of,
            },
            "best_that_fits": None if self.best is None else asdict(self.best),
            "step_seconds": self.seconds,
            "epoch": self.epoch,
            "checkpoint_bytes": self.checkpoint_bytes,
            "network": asdict(self.network),
        }
