"""When memory runs out: the step's need, and the values that would fit.

Shape legend: S = P + F steps, L layers, N nodes, H units.
"""

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.data.ahead import batch_bytes
from dcrnn_fast.errors import UserError
from dcrnn_fast.model.build import SAVING, chosen_backend
from dcrnn_fast.system import MIB, available_mib, is_out_of_memory, limits, memory_mib
from dcrnn_fast.training.run import Run

_HEADROOM = 0.8
"""share of the available memory that a step may plan with; the rest is for workspaces and fragments"""
_LEAST = 1.05
"""what a step takes of main memory over what it keeps for its backward: 1.02 to 1.07 times with the compiled kernels"""


def bytes_per_window(run: Run, save: str | None = None) -> int:
    """Bytes that a window of a micro-batch keeps for its backward: h, r, u and c of every step, layer and node, or with
    ``save`` h alone, of every step or every K-th. On a GPU those include the segment that is computed again.

    Args:
        save: None: as configured.
    """
    form, model = run.data.window_format, run.config.model
    panels = run.model.kept_panels(form.past_steps, on_gpu=run.ranks.device.type == "cuda", save=save)
    width = 2 if run.config.training.precision in ("bf16", "fp16") else 4
    panel = model.num_layers * run.own_data.series.num_sensors * model.hidden_units
    return panels * panel * width


def bytes_beside(run: Run) -> int:
    """Bytes of main memory that are taken beside a step: the copy of the state that is being saved (weights, two
    moments, and the weights' average), the bytes of its file, and the batches that are gathered ahead.
    """
    copies = 3 + (run.average is not None)
    state = copies * sum(parameter.numel() * parameter.element_size() for parameter in run.model.parameters())
    ahead = run.host_windows.ahead * batch_bytes(run.own_data, run.config.training.batch_size)
    return 2 * state * run.ranks.is_first + ahead


def fitting_batch_size(needed_each: int, available: int, batch_size: int, most: int) -> int:
    """The largest divisor of ``batch_size``, at most ``most``, whose windows fit; 0 if not even one does."""
    limit = min(int(_HEADROOM * available) // max(needed_each, 1), most)
    return max((size for size in range(1, limit + 1) if batch_size % size == 0), default=0)


def advice(run: Run, available: int) -> str:
    """The flags with which the same step, window for window, takes less memory: smaller parts; if no window fits, fewer
    states kept as well.
    """
    training = run.config.training
    needed_each = bytes_per_window(run)
    needed = (
        f"a micro-batch of {training.batch_size} windows keeps at least {_gib(needed_each * training.batch_size)} with "
        f"{_now(run)}"
    )
    size = fitting_batch_size(needed_each, available, training.batch_size, training.batch_size // 2)
    if size:
        return f"{needed}; the same step fits in parts: {_parts(run, size)}"
    form = run.data.window_format
    longest = max(form.past_steps, form.future_steps)
    # Of equals the longest, which launches least.
    saves = [f"segments:{length}" for length in range(longest, 1, -1)] if chosen_backend(run.model) in SAVING else []
    save = min(saves, key=lambda save: bytes_per_window(run, save), default=run.config.model.save)
    if (less := bytes_per_window(run, save)) < needed_each:
        size = fitting_batch_size(less, available, training.batch_size, training.batch_size)
        if size:
            parts = "" if size == training.batch_size else f" {_parts(run, size)}"
            instead = " instead of --gradient-checkpointing" if training.gradient_checkpointing else ""
            return f"{needed}; the same step fits, and takes longer, with --save {save}{instead}{parts}"
    return f"{needed}; use fewer hidden units or layers, or a device with more memory"


def _advice_for_forecasts(run: Run, available: int) -> str:
    size = run.config.training.batch_size
    needed = f"validation forecasts {size} windows at a time with {_now(run)}"
    if size == 1:
        return f"{needed}; use fewer hidden units or layers, or a device with more memory"
    return (
        f"{needed}; the same training takes fewer with {_parts(run, max(d for d in range(1, size) if size % d == 0))}"
    )


_LOWERED = ("accumulate", "global_batch_size", "num_workers", "precision", "save", "hidden_units", "num_layers")
"""settings that decide how much memory a step takes, beside its windows"""


def _now(run: Run) -> str:
    """Their values."""
    values = to_dict(run.config.training) | to_dict(run.config.model)
    return ", ".join(f"{name} {values[name]}" for name in _LOWERED if values.get(name) is not None)


def _parts(run: Run, size: int) -> str:
    training = run.config.training
    if training.global_batch_size is not None:
        return f"--batch-size {size} (--global-batch-size {training.global_batch_size} stays)"
    return f"--batch-size {size} --accumulate {training.accumulate * (training.batch_size // size)}"


@contextmanager
def naming_what_fits(run: Run, *, training: bool = True) -> Iterator[None]:
    """Turns a failed allocation in the body into one line with values that would fit; without ``training``, a forecast.

    Raises UserError.
    """
    advise = advice if training else _advice_for_forecasts
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info(run.ranks.device)
        available = free + torch.cuda.memory_reserved(run.ranks.device)  # others may hold the rest
        raise UserError(
            f"GPU out of memory ({_gib(available)} of {_gib(total)} for this process): {advise(run, available)}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # what the failed step holds is there again for the next
        available = _available()
        raise UserError(f"out of memory ({_gib(available)} available): {advise(run, available)}") from error


def require_room(run: Run) -> None:
    """Checks before the first step that a micro-batch can fit on a CPU: the kernel ends a process that takes more than
    its control group may, without a word.

    Raises:
        UserError: it cannot, with values that would.
    """
    if run.ranks.device.type != "cpu" or math.isnan(available_mib()):
        return
    windows, here = min(run.config.training.batch_size, len(run.data.train)), run.ranks.local_world
    needed, available = bytes_per_window(run) * windows, max(_available(here) - bytes_beside(run), 0)
    swap = 0.0 if limits().memory_mib is not None else memory_mib("SwapFree") * MIB / here
    if needed * _LEAST > available + swap:
        each = f" for each of {here} processes here, LOCAL_WORLD_SIZE" if here > 1 else ""
        raise UserError(f"out of memory ({_gib(available)} available{each}): {advice(run, available)}")


def _available(processes: int = 1) -> int:
    """Bytes of main memory for this process, or for each of several that begin; 0 if the system does not say."""
    free_mib = available_mib(processes=processes)
    return 0 if math.isnan(free_mib) else int(free_mib * MIB)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
