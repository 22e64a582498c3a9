"""When memory runs out: what the step needs, and the values that would fit.

Shape legend: S = P + F steps, L layers, N nodes, H units.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcrnn_fast.errors import UserError
from dcrnn_fast.training.run import Run

_HEADROOM = 0.8
"""of the memory there is that a step may plan with; the rest is for workspaces and fragments"""


def bytes_per_window(run: Run) -> int:
    """What one window of a micro-batch keeps for its backward, of every layer and node: h, r, u and c of every step, or
    with ``--save`` h alone, of every step or every K-th; on a GPU then also the segment that is computed again.
    """
    form, model = run.data.window_format, run.config.model
    panels = run.model.kept_panels(form.past_steps, on_gpu=run.ranks.device.type == "cuda")
    width = 2 if run.config.training.precision in ("bf16", "fp16") else 4
    panel = model.num_layers * run.data.graph.num_nodes * model.hidden_units
    return panels * panel * width


def fitting_batch_size(needed_each: int, available: int, batch_size: int) -> int:
    """The largest divisor of ``batch_size``, smaller than it, whose windows fit; 1 where none does."""
    limit = min(int(_HEADROOM * available) // max(needed_each, 1), batch_size // 2)
    return max((size for size in range(1, limit + 1) if batch_size % size == 0), default=1)


def advice(run: Run, available: int) -> str:
    """The flags with which the same step, window for window, takes less memory."""
    training = run.config.training
    needed_each = bytes_per_window(run)
    size = fitting_batch_size(needed_each, available, training.batch_size)
    needed = f"a micro-batch of {training.batch_size} windows keeps at least {_gib(needed_each * training.batch_size)}"
    if size == training.batch_size:
        return f"{needed}; use fewer hidden units or layers, or a device with more memory"
    accumulate = training.accumulate * (training.batch_size // size)
    return f"{needed}; the same step fits in parts: --batch-size {size} --accumulate {accumulate}"


@contextmanager
def naming_what_fits(run: Run) -> Iterator[None]:
    """Turns an allocation that fails in the body into one line with what would fit.

    Raises UserError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        total = torch.cuda.mem_get_info(run.ranks.device)[1]
        raise UserError(f"GPU out of memory ({_gib(total)} in all): {advice(run, total)}") from error
    except RuntimeError as error:
        # PyTorch's CPU allocator has no exception type of its own.
        if "DefaultCPUAllocator: can't allocate memory" not in str(error):
            raise
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        raise UserError(f"out of memory ({_gib(available)} available): {advice(run, available)}") from error


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
