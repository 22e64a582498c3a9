"""The form of a window: steps, channels, and the network's input at missing readings.

Shape legend: P past steps, F future steps, C input channels, O target channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dcrnn_fast.config.plain import shown
from dcrnn_fast.config.sections import DataConfig
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
            UserError: a field is missing, unknown or not what ``to_state`` writes.
        """
        if set(state) | {"in_utc"} != (known := set(cls.__dataclass_fields__)):
            raise UserError(f"the saved window format has fields {shown(sorted(state))}, wanted {sorted(known)}")
        for name, (wanted, fits) in _FIELDS.items():
            if not fits(value := state.get(name)):
                raise UserError(f"the saved window format has {name} = {shown(value)}, wanted {wanted}")
        channels, targets = state["channels"], state["target_channels"]
        if len(state["units"]) != len(channels):
            raise UserError(f"the saved window format has {len(channels)} channels and {len(state['units'])} units")
        if wrong := [target for target in targets if not 0 <= target < len(channels)]:
            raise UserError(f"the saved window format has target channel {shown(wrong[0])} of {len(channels)} channels")
        parse_freq(state["freq"])
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in state.items()}
        return cls(**values)

    def require_config(self, data: DataConfig) -> None:
        """Checks that a checkpoint's configuration speaks of the same windows.

        Raises:
            UserError: it does not.
        """
        for name in ("past_steps", "future_steps", "time_of_day", "day_of_week"):
            if (ours := getattr(self, name)) != (theirs := getattr(data, name)):
                raise UserError(f"the saved window format has {name} = {ours}, the configuration beside it {theirs}")


def _different(kind: type, least: int) -> Callable[[Any], bool]:
    """Whether a value is a list of at least so many different values of one type."""
    return lambda value: (
        isinstance(value, (list, tuple))
        and len(value) >= least
        and all(type(item) is kind for item in value)
        and len(set(value)) == len(value)
    )


def _is_steps(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_STEPS


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _are_names(value: Any) -> bool:
    return (
        _different(str, 1)(value)
        and _are_texts(value)
        and all(name.strip() and ".." not in name.split("/") for name in value)
    )


def _are_texts(value: Any) -> bool:
    """Whether this is a list of texts that UTF-8 can hold."""
    return isinstance(value, (list, tuple)) and all(
        type(text) is str and len(text) <= _LONGEST_TEXT and not any("\ud800" <= letter <= "\udfff" for letter in text)
        for text in value
    )


_MOST_STEPS = 1_000_000
_LONGEST_TEXT = 1000
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "past_steps": (f"a whole number from 1 to {_MOST_STEPS}", _is_steps),
    "future_steps": (f"a whole number from 1 to {_MOST_STEPS}", _is_steps),
    "channels": ("different names", _are_names),
    "target_channels": ("different numbers of channels", _different(int, 1)),
    "units": ("texts", _are_texts),
    "time_of_day": ("true or false", _is_flag),
    "day_of_week": ("true or false", _is_flag),
    "missing": ("zero, nan or none", lambda value: type(value) is str and value in ("zero", "nan", "none")),
    "missing_input": ("zero, last or mean", lambda value: type(value) is str and value in ("zero", "last", "mean")),
    "freq": ("text", lambda value: type(value) is str),
    "in_utc": ("true, false or nothing", lambda value: value is None or _is_flag(value)),
}
"""field -> what it must be, in words and as a test"""
