"""What a process of a training holds in anonymous memory, by item; pages of mapped files do not count.

Some items stay, others come and go with a phase: gathering a batch, a training step, a validation. The most that there
is at once is what stays and the largest phase.

Shape legend: B batch, P past and F future steps, N nodes, V value channels, C input channels, O output channels,
H units, L layers, M diffusion terms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dcrnn_fast.kernels.saving import SAVE_ALL, kept_steps, segment_length, segment_steps
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.shapes import Shapes

MARGIN = 1.15
"""a prediction may be wrong by as much"""
Items = dict[str, int]
STEP = "a training step"
KEPT = "states kept for the backward pass"
SCRATCH = "the kernels' scratch memory"
_GATHERING = 30
"""bytes of each reading of a window while it is gathered: float32 and its mask, float64 with all digits, scaled"""
_LOSS = 16
"""bytes of each forecast number beside the forecast itself: in the loss's unit, error, and two gradients"""
_METRICS = 45
"""bytes of each forecast number of a validation: float64 forecast, target and error, and their squares"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What memory depends on beside sizes and choice.

    Attributes:
        backend: as ``chosen_backend`` says. precision: as configured.
        scratch: (windows, save) -> bytes of the kernels' scratch memory; save "": a forecast without a backward.
        workers: threads that gather ahead; ahead: the batches that they hold at most.
        averaged: there is a moving average of the weights. is_first: this is rank 0, which writes checkpoints.
    """

    backend: str
    precision: str
    on_gpu: bool
    scratch: Callable[[int, str], int]
    workers: int = 0
    ahead: int = 0
    averaged: bool = False
    is_first: bool = True

    @property
    def width(self) -> int:
        """Bytes of a number of a state."""
        return 2 if self.precision in ("bf16", "fp16") else 4


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes by item: those that stay, and those of each phase."""

    stays: Items
    phases: dict[str, Items] = field(default_factory=dict)

    @property
    def largest(self) -> str:
        """The phase that takes the most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def items(self) -> Items:
        """What there is at once when there is the most, zeros left out."""
        return {name: size for name, size in (self.stays | self.phases[self.largest]).items() if size}

    @property
    def peak(self) -> int:
        """Bytes at once, at most."""
        return sum(self.items.values())


def kept_bytes(shapes: Shapes, here: Circumstances, choice: Choice) -> int:
    """Bytes of h, r, u and c of every step, layer and node, or with ``save`` of h alone; on a GPU with the segment that
    is computed again, on a CPU without it: there it covers a few windows and lies in the scratch memory.
    """
    steps, segment = shapes.steps, segment_length("save", choice.save)
    if here.backend == "specification":
        # Autograd keeps the joined terms of both products of a cell, and about ten panels.
        joined = 2 * shapes.num_terms * 2 * shapes.hidden_units
        each = shapes.num_layers * (joined + 10 * shapes.hidden_units)
        return choice.batch_size * shapes.nodes * steps * each * here.width
    if segment == SAVE_ALL:
        panels = 4 * steps
    elif here.on_gpu:
        again = segment_steps(segment, max(shapes.past_steps, shapes.future_steps))
        panels = sum(kept_steps(segment, shapes.past_steps, shapes.future_steps)) + 4 * again
    else:
        panels = (steps - 1) // segment
    units = shapes.hidden_units
    if here.backend == "cpu":
        lanes = 32 if here.width == 2 else 16
        units = -(-units // lanes) * lanes
    return panels * shapes.num_layers * choice.batch_size * shapes.nodes * units * here.width


def need(shapes: Shapes, here: Circumstances, choice: Choice, held: Mapping[str, int] | None = None) -> Need:
    """What a process takes, of main memory or, on a GPU, of the GPU's.

    Args:
        held: what stays beside what follows from sizes and choice: the interpreter, the graph, a series in memory.
    """
    B, weights = choice.batch_size, 4 * shapes.parameters
    batch = B * shapes.window_bytes
    gathering = B * shapes.nodes * shapes.steps * shapes.value_channels * _GATHERING
    moments, batches = {"optimiser's moments": 2 * weights}, batch * (choice.accumulate + here.ahead)
    if here.on_gpu:
        copies = {"weights and their gradients": (2 + here.averaged) * weights}
        stays = {**(held or {}), **copies, **moments, "batches": batches}
    else:
        stays = {
            **(held or {}),
            **moments,
            "checkpoint on its way to the disk": 2 * (3 + here.averaged) * weights * here.is_first,
            "batches": batches,
            "batches being gathered ahead": gathering * min(here.workers, here.ahead),
        }
    low = here.width == 2
    step = {
        KEPT: kept_bytes(shapes, here, choice),
        SCRATCH: here.scratch(B, choice.save),
        "forecast, loss and their gradients": B * shapes.forecasts * (here.width + _LOSS),
        "inputs and labels in 16 bits": low * B * shapes.nodes * 2 * (
            shapes.past_steps * shapes.input_channels
            + shapes.future_steps * (shapes.output_channels + shapes.known_channels)
        ),
        "weights' gradients before they are added": weights + low * 2 * weights,
    }  # fmt: skip
    validation = {
        SCRATCH: here.scratch(B, ""),
        "forecast and its errors": B * shapes.forecasts * (here.width + 4 + _METRICS),
    }
    phases = {STEP: step, "a validation": validation}
    return Need(stays, phases if here.on_gpu else phases | {"gathering": {"a batch being gathered": gathering}})


def anonymous_bytes(proc: Path = Path("/proc")) -> int:
    """RssAnon of this process: its memory but for mapped files; 0 on a system that does not say."""
    status = proc / "self" / "status"
    if not status.is_file():
        return 0
    fields = (line.split() for line in status.read_text().splitlines() if line.startswith("RssAnon:"))
    return next((int(words[1]) * 1024 for words in fields), 0)


def plain_scratch(shapes: Shapes, backend: str, width: int, stacks: int, windows: int, save: str) -> int:
    """Scratch memory of the backends that take it from PyTorch, from their loops: the joined terms of a layer's input,
    states and gradients, for the complete batch; and ``stacks``, the dense operators. Compared with a training for
    ``manual`` alone.
    """
    panel = windows * shapes.nodes * shapes.hidden_units * width
    M, L = shapes.num_terms, shapes.num_layers
    if backend in ("manual", "specification"):
        return stacks + panel * ((6 * M + 2 * L + 10) if save else (3 * M + L * (M + 1) + 6))
    return panel * (L * 2 * M + 8)
