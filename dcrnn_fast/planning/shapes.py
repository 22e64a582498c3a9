"""The sizes that memory and time of a training follow from."""

import math
from dataclasses import dataclass

from dcrnn_fast.config.sections import Config
from dcrnn_fast.model.weights import num_terms, parameter_shapes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """Sizes of one process's part of the problem.

    Attributes:
        nodes: N, those whose states this process computes. edges: of the graph, self loops included.
        value_channels: of the series. input_channels: C, with time of day and day of week. output_channels: O.
        past_steps, future_steps: P and F. hidden_units, num_layers: H and L. num_terms: M diffusion terms.
        known_channels: K, what the decoder reads of each forecast step beside the forecast before.
    """

    nodes: int
    edges: int
    value_channels: int
    input_channels: int
    output_channels: int
    past_steps: int
    future_steps: int
    hidden_units: int
    num_layers: int
    num_terms: int
    known_channels: int = 0

    @classmethod
    def of(cls, config: Config, *, nodes: int, edges: int, value_channels: int) -> "Shapes":
        """Those of a configuration, its graph and the channels of its series."""
        data = config.data
        times = data.time_of_day + 7 * data.day_of_week
        return cls(
            nodes=nodes,
            edges=edges,
            value_channels=value_channels,
            input_channels=value_channels + times,
            output_channels=max(len(data.targets), 1),
            past_steps=data.past_steps,
            future_steps=data.future_steps,
            hidden_units=config.model.hidden_units,
            num_layers=config.model.num_layers,
            num_terms=num_terms(config.graph),
            known_channels=len(data.known_names) + times * data.calendar_ahead,
        )

    @property
    def steps(self) -> int:
        """P + F."""
        return self.past_steps + self.future_steps

    @property
    def parameters(self) -> int:
        """Numbers of the weights."""
        shapes = parameter_shapes(
            input_channels=self.input_channels,
            output_channels=self.output_channels,
            hidden_units=self.hidden_units,
            num_layers=self.num_layers,
            num_terms=self.num_terms,
            known_channels=self.known_channels,
        )
        return sum(map(math.prod, shapes.values()))

    @property
    def window_bytes(self) -> int:
        """Bytes of a gathered window: inputs, also those that are known ahead, and of each forecast reading the target,
        the label and whether it was observed.
        """
        read = 4 * (self.past_steps * self.input_channels + self.future_steps * self.known_channels)
        return self.nodes * (read + (4 + 4 + 1) * self.future_steps * self.output_channels)

    @property
    def forecasts(self) -> int:
        """Numbers that a window forecasts."""
        return self.nodes * self.future_steps * self.output_channels
