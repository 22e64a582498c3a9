"""What a user switches on to look into single steps: nsys, torch.profiler, the record of the GPU's allocations.

Instruments are no watchers: they belong inside a step, on every rank, and report to other programs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dcrnn_fast.config.sections import Config, range_of_steps
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import described
from dcrnn_fast.training.phases import Phases
from dcrnn_fast.training.run import Run

FOLDER = "profile"
"""in the results folder"""
_ALLOCATIONS = 100_000
"""the latest ones that a snapshot holds"""


def require_instruments(config: Config, device: torch.device) -> None:
    """Checks that what is asked for exists on this device.

    Raises:
        UserError: it does not.
    """
    if config.watch.memory_snapshot and device.type != "cuda":
        raise UserError(
            f"--memory-snapshot records the allocations of a GPU, and this run is on the {device.type}: leave it out"
        )


@contextmanager
def instruments(run: Run, say: Callable[[str], None]) -> Iterator[None]:
    """Puts those that are asked for around the run's steps, and ends them with the block."""
    watch, device = run.config.watch, run.ranks.device
    folder = Path(run.config.output.results, FOLDER)
    windows = []
    if watch.nsys_steps is not None:
        windows.append(_Window("--nsys-steps", range_of_steps(watch.nsys_steps), _NsysRange(device), say))
    if watch.profile_steps is not None:
        trace = _Trace(run.phases, folder / f"rank{run.ranks.rank}.json.gz", device)
        windows.append(_Window("--profile-steps", range_of_steps(watch.profile_steps), trace, say))
    run.phases.instruments += windows
    try:
        with _memory_record(folder / f"memory_rank{run.ranks.rank}.pickle", say, on=watch.memory_snapshot):
            yield
    finally:
        for window in windows:
            window.close()
        run.phases.instruments.clear()


class _NsysRange:
    """The range of steps that ``nsys profile --capture-range=cudaProfilerApi`` captures."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        """Raises UserError without a GPU."""
        if self._device.type != "cuda":
            raise UserError(
                f"the run is on the {self._device.type}, where no range can be opened: take nsys profile without "
                "--capture-range"
            )
        torch.cuda.synchronize(self._device)
        torch.cuda.profiler.start()

    def stop(self) -> str:
        torch.cuda.synchronize(self._device)
        torch.cuda.profiler.stop()
        return "captured"


class _Trace:
    """A trace of torch.profiler in Chrome's format, with the phases as ranges."""

    def __init__(self, phases: Phases, path: Path, device: torch.device) -> None:
        self._phases, self._path, self._device = phases, path, device
        self._profile: Any = None

    def start(self) -> None:
        from torch.profiler import ProfilerActivity, profile, record_function

        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (self._device.type == "cuda")]
        self._profile = profile(activities=activities)
        self._profile.start()
        self._phases.ranges.append(record_function)

    def stop(self) -> str:
        self._phases.ranges.pop()
        self._profile.stop()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f"unfinished-{self._path.name}")
        try:
            self._profile.export_chrome_trace(str(unfinished))
            os.replace(unfinished, self._path)
        finally:
            unfinished.unlink(missing_ok=True)
            self._profile = None
        return str(self._path)


class _Window:
    """Switches something on before the first of some steps and off after the last; a failure is a line."""

    def __init__(self, flag: str, steps: range, switch: _NsysRange | _Trace, say: Callable[[str], None]) -> None:
        self._flag, self._steps, self._switch, self._say = flag, steps, switch, say
        self._on = self._over = False

    def before(self, step: int) -> None:
        if not self._over and not self._on and step in self._steps:
            self._on = self._try(self._switch.start)

    def after(self, step: int) -> None:
        if self._on and step + 1 >= self._steps.stop:
            self._end()

    def close(self) -> None:
        if self._on:
            self._end()
        elif not self._over:
            self._say(f"{self._flag} {self._steps.start}:{self._steps.stop}: this run took none of these steps")

    def _end(self) -> None:
        self._on, self._over = False, True
        self._try(lambda: self._say(f"{self._flag} {self._steps.start}:{self._steps.stop}: {self._switch.stop()}"))

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:
            self._over = True
            self._say(f"{self._flag}: {described(error)}; training goes on")
            return False
        return True


@contextmanager
def _memory_record(path: Path, say: Callable[[str], None], *, on: bool) -> Iterator[None]:
    """Records the GPU's allocations, and writes the record at the end, also when memory ran out."""
    if not on:
        yield
        return
    torch.cuda.memory._record_memory_history(max_entries=_ALLOCATIONS)
    try:
        yield
    finally:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.cuda.memory._dump_snapshot(str(path))
            torch.cuda.memory._record_memory_history(enabled=None)
            say(f"--memory-snapshot: {path}, for https://pytorch.org/memory_viz")
        except Exception as error:
            say(f"--memory-snapshot: {described(error)}")
