"""What an exported model does around the network if its inputs are readings, and the description that goes with it.

Shape legend: B batch, P past steps, F future steps, N nodes, C value channels, D time channels, O target channels, K
known channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.interop.portable import PortableModel

Inputs = dict[str, tuple[str, tuple[Any, ...]]]
"""name -> type and shape, in order; "batch" stands for any size"""
DAY = 86400
THURSDAY = 3
"""the day of the week of 1970-01-01, counted from Monday"""


@dataclass(frozen=True, kw_only=True, eq=False)
class RawForm:
    """From readings to scaled inputs, and from the scaled forecast to original units.

    Attributes:
        mean, std: (C,) or (N, C), original units.
        targets: numbers of the forecast channels; known: of those that are known ahead.
        missing: zero, nan or none; missing_input: zero, last or mean; missing_value: more values that mean a gap.
        at_least: forecasts below this are raised to it.
    """

    past_steps: int
    future_steps: int
    num_nodes: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    targets: tuple[int, ...]
    known: tuple[int, ...]
    time_of_day: bool
    day_of_week: bool
    calendar_ahead: bool
    missing: str
    missing_input: str
    missing_value: tuple[float, ...]
    at_least: float | None

    @property
    def num_times(self) -> int:
        """D."""
        return self.time_of_day + 7 * self.day_of_week

    def inputs(self) -> Inputs:
        """What the exported model reads."""
        P, F, N, C = self.past_steps, self.future_steps, self.num_nodes, self.mean.shape[-1]
        wanted: Inputs = {"readings": ("float32", ("batch", P, N, C))}
        if self.num_times:
            wanted["times"] = ("int64", ("batch", P))
        if self.known:
            wanted["known"] = ("float32", ("batch", F, N, len(self.known)))
        if self.calendar_ahead and self.num_times:
            wanted["future_times"] = ("int64", ("batch", F))
        return wanted


def scaled_inputs(model: PortableModel) -> Inputs:
    """``RawForm.inputs`` of a model that reads scaled inputs."""
    num_nodes = model.diffusion.num_nodes
    wanted: Inputs = {"scaled_inputs": ("float32", ("batch", model.past_steps, num_nodes, model.input_channels))}
    if model.known_channels:
        wanted["known"] = ("float32", ("batch", model.future_steps, num_nodes, model.known_channels))
    return wanted
