"""The form of a window: steps, channels, and the network's input at missing readings.

Shape legend: P past steps, F future steps, C input channels, O target channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dcrnn_fast.config.data import CALENDAR, DataConfig
from dcrnn_fast.config.plain import shown
from dcrnn_fast.data.series import SensorSeries
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
        known_channels: those whose values are known for the forecast's steps, as indices: the decoder reads them there.
        calendar_ahead: the decoder reads the time channels of the forecast's steps too.
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
    known_channels: tuple[int, ...] = ()
    calendar_ahead: bool = False

    @property
    def input_channels(self) -> int:
        """C: value channels, then time of day, then the seven days."""
        return len(self.channels) + self.num_times

    @property
    def num_times(self) -> int:
        """Time channels: time of day, then the seven days."""
        return self.time_of_day + 7 * self.day_of_week

    @property
    def num_known(self) -> int:
        """K: what the decoder reads of each forecast step: known channels, then time channels."""
        return len(self.known_channels) + self.num_times * self.calendar_ahead

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of the channels that are known ahead."""
        return tuple(self.channels[i] for i in self.known_channels)

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
    def rule_of_readings(self) -> str:
        """The rule for missing readings by which new data is read.

        Trained without any missing reading, a model that knows channels ahead still has none of its targets in the rows
        of the future.
        """
        return "nan" if self.missing == "none" and self.known_channels else self.missing

    @property
    def interval(self) -> np.timedelta64:
        """Time between rows, in seconds or months."""
        return parse_freq(self.freq)

    def to_state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "WindowFormat":
        """The format of ``to_state``; ``in_utc`` and what is known ahead are newer than the rest, and may be missing.

        Raises:
            UserError: a field is missing, unknown or not what ``to_state`` writes.
        """
        if {*_NEWER, *state} != (known := set(cls.__dataclass_fields__)):
            raise UserError(f"the saved window format has fields {shown(sorted(state))}, wanted {sorted(known)}")
        state = _NEWER | dict(state)
        for name, (wanted, fits) in _FIELDS.items():
            if not fits(value := state[name]):
                raise UserError(f"the saved window format has {name} = {shown(value)}, wanted {wanted}")
        channels, targets, ahead = state["channels"], state["target_channels"], state["known_channels"]
        if len(state["units"]) != len(channels):
            raise UserError(f"the saved window format has {len(channels)} channels and {len(state['units'])} units")
        if wrong := [target for target in targets if not 0 <= target < len(channels)]:
            raise UserError(f"the saved window format has target channel {shown(wrong[0])} of {len(channels)} channels")
        if wrong := [channel for channel in ahead if not 0 <= channel < len(channels) or channel in targets]:
            raise UserError(
                f"the saved window format has known channel {shown(wrong[0])}, of {len(channels)} channels, "
                f"{len(targets)} of them targets"
            )
        if state["calendar_ahead"] and not (state["time_of_day"] or state["day_of_week"]):
            raise UserError("the saved window format has the calendar ahead, and no channel of it")
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
        if (self.known_names, self.calendar_ahead) != (data.known_names, data.calendar_ahead):
            raise UserError(
                f"the saved window format has {known_ahead_words(self)} known ahead, the configuration beside it "
                f"{known_ahead_words(data)}"
            )


def known_ahead_words(form: WindowFormat | DataConfig) -> str:
    """What the decoder knows ahead, for messages: "rain, the calendar"; "nothing"."""
    return ", ".join((*form.known_names, *["the calendar"] * form.calendar_ahead)) or "nothing"


def window_format_of(series: SensorSeries, config: DataConfig) -> WindowFormat:
    """The window format of a series under a configuration.

    Raises:
        UserError: a target, or a channel that is known ahead, is no channel of the series, or one is both.
    """
    targets, known = targets_and_known(series.channels, config)
    return WindowFormat(
        past_steps=config.past_steps,
        future_steps=config.future_steps,
        channels=series.channels,
        target_channels=targets,
        units=series.units,
        time_of_day=config.time_of_day,
        day_of_week=config.day_of_week,
        missing=series.missing,
        missing_input=config.missing_input,
        freq=series.freq,
        in_utc=series.in_utc,
        known_channels=known,
        calendar_ahead=config.calendar_ahead,
    )


def targets_and_known(channels: tuple[str, ...], config: DataConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The channels that are forecast and those that are known ahead, as indices into ``channels``.

    Raises:
        UserError: a target, or a channel that is known ahead, is none of them, or one is both.
    """
    targets = config.targets or channels[:1]
    if unknown := [name for name in targets if name not in channels]:
        raise UserError(f"targets: no channel {unknown[0]!r}; the channels are {', '.join(channels)}")
    if len(set(targets)) != len(targets):
        raise UserError(f"targets: each channel once, got {', '.join(targets)}")
    known, others = config.known_names, [name for name in channels if name not in targets]
    if CALENDAR in config.known_ahead and CALENDAR in channels:
        raise UserError(
            f"known_ahead: {CALENDAR} means time of day and day of the week, and {config.data} has a channel of this "
            "name: rename that channel"
        )
    if unknown := [name for name in known if name not in channels]:
        there = f"the channels beside the target are {', '.join(others)}" if others else "there is none but the target"
        raise UserError(f"known_ahead: no channel {unknown[0]!r}; {there} ({CALENDAR}: the time alone)")
    if both := [name for name in known if name in targets]:
        raise UserError(
            f"known_ahead: {both[0]} is a target, which is forecast: name other channels, or other --targets"
        )
    return tuple(map(channels.index, targets)), tuple(map(channels.index, known))


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
_NEWER: dict[str, Any] = {"in_utc": None, "known_channels": (), "calendar_ahead": False}
"""fields that the first checkpoints lack, and what they then mean"""
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
    "known_channels": ("different numbers of channels", _different(int, 0)),
    "calendar_ahead": ("true or false", _is_flag),
}
"""field -> what it must be, in words and as a test"""
