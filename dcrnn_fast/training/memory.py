"""Memory of a run: what a step needs, whether it fits, and the fastest settings that do.

Every decision about it is made here, from ``planning``'s account: the refusal before the first step, the flags that
are named when memory runs out, and the choice of ``--fit``.
"""

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from functools import partial

import torch

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import sized
from dcrnn_fast.model.build import SAVING, chosen_backend
from dcrnn_fast.planning.choice import Choice, choices, first_that_fits, relative_time, saves_of, windows_a_round
from dcrnn_fast.planning.memory import MARGIN, Circumstances, Need, need, plain_scratch
from dcrnn_fast.planning.scratch import Scratch, stacks_bytes
from dcrnn_fast.planning.shapes import Shapes
from dcrnn_fast.planning.words import memory_lines
from dcrnn_fast.system import MIB, available_mib, is_out_of_memory, limits, memory_mib
from dcrnn_fast.training.run import Run


def shapes_of(run: Run) -> Shapes:
    """The sizes of a run."""
    graph, form = run.data.graph, run.data.window_format
    nodes = run.model.diffusion.num_nodes  # a part of a divided graph's
    return Shapes.of(run.config, nodes=nodes, edges=graph.num_edges, value_channels=len(form.channels))


def circumstances_of(run: Run) -> Circumstances:
    """What its memory depends on beside sizes and choice."""
    precision, backend = run.config.training.precision, chosen_backend(run.model)
    width = 2 if precision in ("bf16", "fp16") else 4
    plain = partial(plain_scratch, shapes_of(run), backend, width, stacks_bytes(run.model, width))
    return Circumstances(
        backend=backend,
        precision=precision,
        on_gpu=run.ranks.device.type == "cuda",
        scratch=Scratch(run.model, precision, run.data.window_format.past_steps) if backend == "cpu" else plain,
        workers=run.host_windows.workers,
        ahead=run.host_windows.ahead,
        averaged=run.average is not None,
        is_first=run.ranks.is_first,
    )


class StepMemory:
    """What a step of ``run`` takes beside what its process holds when it is made, by choice."""

    def __init__(self, run: Run) -> None:
        self._run, training = run, run.config.training
        self.shapes = shapes_of(run)
        self.now = Choice(training.batch_size, training.accumulate, run.model.save)
        self.here = circumstances_of(run)
        self.peak(self.now)  # what a first call loads, once and for all, is taken before anybody asks what is left

    def need(self, choice: Choice) -> Need:
        """By item; a micro-batch has no more windows than there are."""
        windows = min(choice.batch_size, len(self._run.data.train))
        accumulate = min(choice.accumulate, -(-len(self._run.data.train) // windows))
        return need(self.shapes, self.here, Choice(windows, accumulate, choice.save))

    def peak(self, choice: Choice) -> int:
        """Bytes at once, at most: on a CPU beside what the process holds already, on a GPU with its weights."""
        return self.need(choice).peak

    def choices(self) -> list[Choice]:
        """All with as many windows in a step, the fastest first."""
        saves = saves_of((self.shapes.past_steps, self.shapes.future_steps))
        round_ = windows_a_round(self.shapes.nodes, torch.get_num_threads())
        return choices(self.now.windows, saves if self.here.backend in SAVING else ["all"], round_)


def advice(run: Run, available: int) -> str:
    """The flags with which the same step, window for window, takes less memory, the fastest first."""
    memory = StepMemory(run)
    needed = memory.peak(memory.now)
    said = (
        f"a micro-batch of {memory.now.batch_size} windows needs about {sized(needed)}, "
        f"{f'{sized(needed - available)} more than there is' if needed > available else 'which should fit'}, with "
        f"{_now(run)}"
    )
    smaller = [choice for choice in memory.choices() if choice.batch_size <= memory.now.batch_size]
    # What ran out although it should have fit needs half as much, to be sure.
    room = min(available / MARGIN, needed / 2 if needed <= available else math.inf)
    found = first_that_fits(smaller, memory.peak, room)
    if found is None:
        least = min(map(memory.peak, smaller))
        return (
            f"{said}; no micro-batch fits, the smallest takes {sized(least)}: use fewer hidden units or layers, or a "
            "device with more memory"
        )
    longer = ", and takes longer, with" if found.save != memory.now.save else " in parts:"
    return f"{said}; the same step fits{longer} {_flags(run, memory.now, found)}"


def _flags(run: Run, now: Choice, found: Choice) -> str:
    """The flags that make ``found`` of ``now``."""
    training = run.config.training
    words = []
    if found.save != now.save:
        words.append(f"--save {found.save}" + training.gradient_checkpointing * " instead of --gradient-checkpointing")
    if found.batch_size != now.batch_size:
        words.append(f"--batch-size {found.batch_size}")
        if training.global_batch_size is not None:
            words.append(f"(--global-batch-size {training.global_batch_size} stays)")
        else:
            words.append(f"--accumulate {found.accumulate}")
    return " ".join(words)


def _advice_for_forecasts(run: Run, available: int) -> str:
    size = run.config.training.batch_size
    needed = f"validation forecasts {size} windows at a time with {_now(run)}"
    if size == 1:
        return f"{needed}; use fewer hidden units or layers, or a device with more memory"
    smaller = max(part for part in range(1, size) if size % part == 0)
    now = Choice(size, run.config.training.accumulate, run.model.save)
    parts = Choice(smaller, now.windows // smaller, now.save)
    return f"{needed}; the same training takes fewer with {_flags(run, now, parts)}"


_LOWERED = ("accumulate", "global_batch_size", "num_workers", "precision", "save", "hidden_units", "num_layers")
"""settings that decide how much memory a step takes, beside its windows"""


def _now(run: Run) -> str:
    """Their values."""
    values = to_dict(run.config.training) | to_dict(run.config.model)
    return ", ".join(f"{name} {values[name]}" for name in _LOWERED if values.get(name) is not None)


@contextmanager
def naming_what_fits(run: Run, *, training: bool = True) -> Iterator[None]:
    """Turns a failed allocation in the body into one line with values that would fit; without ``training``, a forecast.

    Raises UserError.
    """
    advise = advice if training else _advice_for_forecasts
    try:
        yield
    except torch.OutOfMemoryError as error:
        available, total = _free_of_gpu(run)
        raise UserError(
            f"GPU out of memory ({sized(available)} of {sized(total)} for this process): {advise(run, available)}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # what the failed step holds is there again for the next
        available = _available()
        try:
            said = advise(run, available)
        except (RuntimeError, MemoryError) as again:
            if not is_out_of_memory(again):
                raise
            said = f"not even a few windows fit, with {_now(run)}"
        raise UserError(f"out of memory ({sized(available)} available): {said}") from error


def require_room(run: Run) -> None:
    """Checks before the first step that a micro-batch can fit on a CPU: the kernel ends a process that takes more than
    its control group may, without a word.

    Raises:
        UserError: it cannot, with values that would.
    """
    if run.ranks.device.type != "cpu" or math.isnan(available_mib()):
        return
    memory, here = StepMemory(run), run.ranks.local_world
    available = _available(here)
    swap = 0.0 if limits().memory_mib is not None else memory_mib("SwapFree") * MIB / here
    if memory.peak(memory.now) / MARGIN > available + swap:
        raise UserError(f"out of memory ({sized(available)} available{_each(here)}): {advice(run, available)}")


def fit_to_memory(run: Run) -> None:
    """With ``fit``: gives ``run`` the fastest batch size, accumulation and saving that fit on every rank, with the same
    windows in every step, and the lines that say so. All ranks must call it.

    Raises:
        UserError: the system does not say how much memory there is, or nothing fits.
    """
    if not run.config.training.fit:
        return
    ranks = run.ranks
    memory = ranks.together("measuring a step's memory", lambda: StepMemory(run))
    ordered = ranks.exchange("ordering what may fit", [astuple(choice) for choice in memory.choices()])
    every = [Choice(*values) for values in ordered[0]]
    available = ranks.together("asking for the memory", lambda: _room_to_fit(run))
    # Each rank's room and what it would take: all come to the same choice, or to the same words.
    told = ranks.exchange("comparing memory", [available, *map(memory.peak, every)])
    ranks.together("fitting the step to the memory", lambda: _take_the_first(run, memory, every, told))


def _room_to_fit(run: Run) -> int:
    on_gpu = run.ranks.device.type == "cuda"
    available = _free_of_gpu(run)[0] if on_gpu else _available(run.ranks.local_world)
    if not available:
        raise UserError("--fit needs to know how much memory there is, and this system does not say; leave it out")
    return available


def _take_the_first(run: Run, memory: StepMemory, every: list[Choice], told: list[list[int]]) -> None:
    """Args: ``told``: of each rank its room and the bytes of each choice."""

    def tightest(choice: int) -> list[int]:
        return max(told, key=lambda bytes_: bytes_[1 + choice] / bytes_[0])

    def share(choice: int) -> float:
        return tightest(choice)[1 + choice] * MARGIN / tightest(choice)[0]

    fitting = next((choice for choice in range(len(every)) if share(choice) <= 1), None)
    least = min(range(len(every)), key=share)
    available = tightest(least if fitting is None else fitting)[0]
    each = _each(run.ranks.local_world)
    if fitting is None:
        needed = tightest(least)[1 + least]
        raise UserError(
            f"--fit: nothing fits in {sized(available)}{each}: the nearest, {every[least].flags()}, needs "
            f"{sized(needed)} and {MARGIN - 1:.0%} to spare, {sized(needed * MARGIN - available)} more; use fewer "
            "hidden units or layers, fewer processes on a machine, or a machine with more memory"
        )
    found = every[fitting]
    run.model.save = found.save
    run.config = replace(
        run.config,
        model=replace(run.config.model, save=found.save),
        training=replace(run.config.training, batch_size=found.batch_size, accumulate=found.accumulate),
    )
    changed = "as configured" if found == memory.now else f"instead of {memory.now.flags()}"
    round_ = windows_a_round(memory.shapes.nodes, torch.get_num_threads())
    slower = relative_time(found, round_) / relative_time(every[0], round_)
    run.fitted = (
        f"fit: {found.flags()}, {changed}: the fastest of {len(every)} ways to take {found.windows} windows a step "
        f"that fits in {sized(available)}{each}",
        *([f"fit: about {slower:.2f} x the time of the fastest, {every[0].flags()}"] if found != every[0] else []),
        *memory_lines(memory.need(found), "beside what the process holds already"),
    )


def _each(here: int) -> str:
    return f" for each of {here} processes here, LOCAL_WORLD_SIZE" if here > 1 else ""


def _free_of_gpu(run: Run) -> tuple[int, int]:
    """Bytes of the GPU for this process, and all that it has; others may hold the rest."""
    free, total = torch.cuda.mem_get_info(run.ranks.device)
    return free + torch.cuda.memory_reserved(run.ranks.device), total


def _available(processes: int = 1) -> int:
    """Bytes of main memory for this process, or for each of several that begin; 0 if the system does not say."""
    free_mib = available_mib(processes=processes)
    return 0 if math.isnan(free_mib) else int(free_mib * MIB)
