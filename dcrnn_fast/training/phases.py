"""The phases of a step: a named range for profilers and a clock, in one.

What the host does takes the time between its two ends. A GPU works on while the host launches: there a phase lies
between two events on the stream, which are read after the next step, when nothing has to wait for them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from dcrnn_fast.training.nvtx_ranges import nvtx_range

PARTS = ("data", "forward", "backward", "communication", "optimizer")
_PART_OF = {
    "data": "data",
    "count": "communication",
    "forward": "forward",
    "loss": "forward",
    "backward": "backward",
    "all_reduce": "communication",
    "optimizer": "optimizer",
}
_ON_HOST = ("data", "count")


class Instrument(Protocol):
    """What is switched on before one step and off after another."""

    def before(self, step: int) -> None: ...
    def after(self, step: int) -> None: ...


@dataclass(slots=True)
class Spent:
    """Seconds of this rank's steps: in all, and in each part; None: inside CUDA graphs, where parts are one."""

    steps: int = 0
    total: float = 0.0
    parts: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    def add(self, part: str, seconds: float) -> None:
        """Counts some more of a part."""
        self.parts[part] = (self.parts[part] or 0.0) + seconds

    @property
    def other(self) -> float:
        """What is in no part."""
        return max(self.total - sum(filter(None, self.parts.values())), 0.0)


class Phases:
    """The clock of a rank's steps; ``phases("forward")`` encloses a part of one.

    Args:
        waited_seconds: for which this rank has waited for its partners inside of phases, in all so far: communication.
            Of a GPU it is not known when the wait was.
    """

    def __init__(self, device: torch.device, waited_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.ranges: list[Callable[[str], AbstractContextManager[object]]] = [nvtx_range]
        self.instruments: list[Instrument] = []
        self._on_gpu = device.type == "cuda"
        self._waited_seconds = waited_seconds
        self._counts = True
        self._whole = False
        self._known = {name: _Phase(self, name) for name in _PART_OF}
        self._spent = Spent()
        self._now: list[tuple[str, Any, Any]] = []
        self._earlier: list[tuple[str, Any, Any]] = []
        self._free: list[Any] = []

    def __call__(self, name: str) -> AbstractContextManager[object]:
        """A phase by the name of its range; several belong to one part. They are not in each other."""
        return self._known[name]

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Encloses the optimiser step with this number, counted from 0."""
        for instrument in self.instruments:
            instrument.before(number)
        began = time.perf_counter()
        with self.opened("step"):
            yield
        self._settle()
        self._spent.total += time.perf_counter() - began
        self._spent.steps += 1
        for instrument in self.instruments:
            instrument.after(number)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """For what is no step: a trial, a warm-up, the capture of a graph."""
        counts, self._counts = self._counts, False
        try:
            yield
        finally:
            self._counts = counts

    def are_one(self) -> None:
        """From now on a step is replayed from graphs: one range encloses it, and its parts have no ends on the host."""
        self._whole = True
        self._clear()

    def take(self) -> Spent:
        """What was counted since the last call."""
        self._settle()
        self._settle()
        spent = self._spent
        self._clear()
        return spent

    def opened(self, name: str) -> ExitStack:
        """The profilers' ranges of a name, begun; to be used as a context manager."""
        stack = ExitStack()
        for range_of in self.ranges:
            stack.enter_context(range_of(name))
        return stack

    def opened_phase(self, name: str) -> ExitStack | None:
        """The same of a phase; None: the range of the step stands for all."""
        return None if self._whole else self.opened(name)

    def begin(self, name: str) -> Any:
        """The time, or an event that will have it; None: not counted."""
        if not self._counts:
            return None
        if self._on_gpu and name not in _ON_HOST:
            return self._event()
        return time.perf_counter(), self._waited_seconds()

    def end(self, name: str, began: Any) -> None:
        """Counts what has passed since ``begin``."""
        if isinstance(began, tuple):
            began_at, waited_before = began
            waited = self._waited_seconds() - waited_before
            self._spent.add(_PART_OF[name], time.perf_counter() - began_at - waited)
            if waited:
                self._spent.add("communication", waited)
        elif began is not None:
            self._now.append((_PART_OF[name], began, self._event()))

    def _clear(self) -> None:
        self._spent = Spent()
        if self._whole:
            self._spent.parts |= dict.fromkeys(("forward", "backward", "optimizer"))

    def _event(self) -> Any:
        event = self._free.pop() if self._free else torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _settle(self) -> None:
        """Reads the events of the step before the last: they are over, as the last one has waited for its results."""
        for part, began, ended in self._earlier:
            ended.synchronize()
            self._spent.add(part, began.elapsed_time(ended) / 1000)
            self._free += (began, ended)
        self._earlier, self._now = self._now, []


class _Phase:
    """One name's phase, used again and again: entering it costs about a microsecond."""

    __slots__ = ("_began", "_name", "_phases", "_ranges")

    def __init__(self, phases: Phases, name: str) -> None:
        self._phases, self._name = phases, name
        self._began: Any = None
        self._ranges: ExitStack | None = None

    def __enter__(self) -> None:
        self._ranges = self._phases.opened_phase(self._name)
        self._began = self._phases.begin(self._name)

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._phases.end(self._name, self._began)
        if self._ranges is not None:
            self._ranges.__exit__(*error)
