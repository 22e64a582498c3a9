"""The form of a window: steps, channels, and the network's input at missing readings.

Shape legend: P past steps, F future steps, C input channels, O target channels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dcrnn_fast.data.times import parse_freq
from dcrnn_fast.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowFormat:
    """The contract between a trained model and the data it is given; saved in every checkpoint.

    Attributes:
        past_steps: P; future_steps: F.
        channels: names of the value channels, in the order that the network reads them; units: theirs.
        target_channels: which of them are forecast, as indices.
        time_of_day: one more input channel, the fraction of the day; day_of_week: seven more, one-hot from Monday.
        missing: zero, nan or none; missing_input: zero, last or mean (see ``DataConfig``).
        freq: time between rows, such as 5min or 1MS.
        in_utc: whether the times had a zone or an offset, and were read as UTC; None: not known.
    """

    past_steps: int
    future_steps: int
    channels: tuple[str, ...]
    target_channels: tuple[int, ...]
    units: tuple[str, ...]
    time_of_day: bool
    day_of_week: bool
    missing: str
    missing_input: str
    freq: str
    in_utc: bool | None = None

    @property
    def input_channels(self) -> int:
        """C: value channels, then time of day, then the seven days."""
        return len(self.channels) + self.time_of_day + 7 * self.day_of_week

    @property
    def output_channels(self) -> int:
        """O."""
        return len(self.target_channels)

    @property
    def window_steps(self) -> int:
        """P + F."""
        return self.past_steps + self.future_steps

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the O target channels."""
        return tuple(self.channels[i] for i in self.target_channels)

    @property
    def target_units(self) -> tuple[str, ...]:
        """Units of the O target channels."""
        return tuple(self.units[i] for i in self.target_channels)

    @property
    def interval(self) -> np.timedelta64:
        """Time between rows, in seconds or months."""
        return parse_freq(self.freq)

    def to_state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "WindowFormat":
        """The format of ``to_state``; ``in_utc`` is newer than the rest, and may be missing.

        Raises:
            UserError: a field is missing or unknown.
        """
        if set(state) | {"in_utc"} != (known := set(cls.__dataclass_fields__)):
            raise UserError(f"the saved window format has fields {sorted(state)}, wanted {sorted(known)}")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in state.items()}
        return cls(**values)
