"""The window format of a series that is not opened, beside the one that a model was trained with."""

from dataclasses import replace

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.window_format import WindowFormat, targets_and_known
from dcrnn_fast.planning.source import Source


def planned_form(source: Source, data: DataConfig, trained: WindowFormat) -> WindowFormat:
    """What a training on ``source`` would cut, as far as it is known: its channels, targets, known channels and times.

    What only the series itself would say is as in ``trained``: names (by the channels' number), units, gaps, freq.

    Raises:
        UserError: a target, or a channel that is known ahead, is no channel of the series.
    """
    names = source.names
    if names:
        targets, known = targets_and_known(names, data)
    else:
        as_many = source.channels == len(trained.channels)
        nameless = ("value",) if source.channels == 1 else tuple(f"value_{i}" for i in range(source.channels))
        names = trained.channels if as_many else nameless
        targets = _places(data.targets, names, trained.target_channels) if data.targets else (0,)
        known = _places(data.known_names, names, trained.known_channels)
    return replace(
        trained,
        past_steps=data.past_steps,
        future_steps=data.future_steps,
        channels=names,
        target_channels=targets,
        units=source.units or (trained.units if names == trained.channels else ("",) * len(names)),
        time_of_day=data.time_of_day,
        day_of_week=data.day_of_week,
        known_channels=known,
        calendar_ahead=data.calendar_ahead,
    )


def _places(wanted: tuple[str, ...], names: tuple[str, ...], trained: tuple[int, ...]) -> tuple[int, ...]:
    """Where ``wanted`` are in ``names``; under other names, as many as in training are where those were."""
    if set(wanted) <= set(names):
        return tuple(names.index(name) for name in wanted)
    return trained if len(wanted) == len(trained) else tuple(range(len(wanted)))
