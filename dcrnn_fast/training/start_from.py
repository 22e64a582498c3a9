"""A new training that begins with another model's weights: next month's data, converted weights, another city's graph.

No weight depends on the number of sensors or of steps, so both may differ; what the numbers mean must agree.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from dcrnn_fast.checkpoints.find import find_checkpoint
from dcrnn_fast.checkpoints.state import State, forecast_weights
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.far_readings import far_notes
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.saved_form import SavedForm, saved_form
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.silent_sensors import require_observed_sensors
from dcrnn_fast.data.window_format import WindowFormat, known_ahead_words
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few
from dcrnn_fast.model.weights import require_weights
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.resume import broadcast_state, saved_choices

# With another value of these the weights would mean something else, or have another shape.
_MUST_AGREE = {
    "model": ("hidden_units", "num_layers"),
    "graph": ("supports", "hops", "recursion", "orientation", "edge_order"),
    "data": ("time_of_day", "day_of_week"),
}


@dataclass(frozen=True, eq=False, slots=True)
class Beginning:
    """The model of ``start_from``: ``where``, its complete state, what that says of its data, and lines about finding
    it, which rank 0 alone has.
    """

    where: str
    state: State
    form: SavedForm
    found: tuple[str, ...]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those that it forecasts with: the average, if it has one."""
        return forecast_weights(self.state)

    def choices(self, config: Config) -> Config:
        """``config``, what it leaves open (``auto``) as the model was trained.

        Raises:
            UserError: the model is of another shape, or scaled in another way; each flag is named with its value.
        """
        config = saved_choices(config, self.state)
        ours, theirs = to_dict(config), to_dict(self.form.config)
        wanted = [
            (name, theirs[section][name], ours[section][name])
            for section, names in _MUST_AGREE.items()
            for name in names
            if theirs[section][name] != ours[section][name]
        ]
        if wanted:
            said = ", ".join(f"{name} = {their}" for name, their, _ in wanted)
            got = ", ".join(f"{our}" for _, _, our in wanted)
            flags = " ".join(_flag(name, their) for name, their, _ in wanted)
            raise UserError(f"--start-from {self.where} was trained with {said}; this run has {got}: give {flags}")
        if config.training.start_scaler == "kept" and config.data.scaler != (kind := self._scaler_kind()):
            raise UserError(
                f"--start-from {self.where} has a scaler of the kind {kind}, --scaler is {config.data.scaler}: leave "
                "--scaler out, or give --start-scaler fitted"
            )
        return config

    def scaler_of_any_graph(self, config: Config) -> Scaler | None:
        """The scaler to read the data with, if it is kept and the same for all sensors."""
        kept = config.training.start_scaler == "kept" and not self.form.scaler.per_sensor
        return self.form.scaler if kept else None

    def fitting(self, data: ForecastData, config: Config) -> ForecastData:
        """``data`` with the model's scaler, if that is kept.

        Raises:
            UserError: channels, targets or units are not the model's, a target was never observed, or a sensor's own
                scale is kept and the model has none for it.
        """
        self.require_form(data.window_format, config)
        if config.training.start_scaler == "fitted":
            return data
        require_observed_sensors(data.series, data.window_format.target_channels, config.data.data)
        if not self.form.scaler.per_sensor:
            return data
        self.require_scales(data.series.ids, config)
        number_of = {sensor: n for n, sensor in enumerate(self.form.graph.ids)}
        scaler = self.form.scaler.take_sensors([number_of[sensor] for sensor in data.series.ids])
        return assemble_data(data.series, data.graph, config.data, scaler=scaler, all_digits=data.all_digits)

    def require_form(self, form: WindowFormat, config: Config) -> None:
        """Checks that the windows of a series mean to the weights what those of their training did.

        Raises:
            UserError: channels, targets, what is known ahead, or units are others.
        """
        for fault in self._faults(form, config):
            raise UserError(f"--start-from {self.where} {fault}")

    def require_scales(self, ids: Iterable[str], config: Config) -> None:
        """Checks that a scale for each sensor, if there are such and they are kept, is there for these.

        Raises:
            UserError: it is not; some of them are named.
        """
        if config.training.start_scaler == "fitted" or not self.form.scaler.per_sensor:
            return
        known = set(self.form.graph.ids)
        if unknown := [sensor for sensor in ids if sensor not in known]:
            raise UserError(
                f"--start-from {self.where} has a scale for each of its {len(known)} sensors, and none for "
                f"{counted(len(unknown), 'sensor')} of {config.data.data}: {first_few(unknown)}; give --start-scaler "
                "fitted"
            )

    def lines(self, data: ForecastData, config: Config) -> tuple[str, ...]:
        """What was taken from the model, for the run's account."""
        training = self.state["training"]
        epoch = "converted weights" if training is None else f"epoch {int(training['epoch'])}"
        sensors = counted(self.form.graph.num_nodes, "sensor")
        form, old = data.window_format, self.form.window_format
        lines = [f"start: weights of {self.where} ({epoch}, trained on {sensors}); optimiser and schedule begin anew"]
        if config.training.start_scaler == "kept":
            lines.append("start: its scaler is kept (--start-scaler fitted takes this training part's instead)")
            lines += [f"{note} --start-scaler fitted scales them anew" for note in far_notes(data.series, data.scaler)]
        else:
            lines.append("start: the scaler is fitted on this training part, not the one that the weights know")
        if form.freq != old.freq:
            lines.append(f"look: start: the weights were trained on a row every {old.freq}, this data has {form.freq}")
        if form.missing_input != old.missing_input:
            lines.append(
                f"look: start: the weights know a missing reading as {old.missing_input}, here it is "
                f"{form.missing_input} (--missing-input)"
            )
        return (*self.found, *lines)

    def _scaler_kind(self) -> str:
        kind = saved_choices(Config(), self.state).data.scaler
        return "sensor" if self.form.scaler.per_sensor else kind

    def _faults(self, form: WindowFormat, config: Config) -> Iterator[str]:
        old = self.form.window_format
        if len(form.channels) != len(old.channels):
            yield (
                f"reads {counted(len(old.channels), 'channel')} ({first_few(old.channels)}), {config.data.data} has "
                f"{len(form.channels)} ({first_few(form.channels)}): choose them with --variables"
            )
        named = not ({"value", "0"} & {form.channels[0], old.channels[0]})
        if named and form.channels != old.channels:
            yield (
                f"reads the channels {', '.join(old.channels)} in this order, {config.data.data} has "
                f"{', '.join(form.channels)}: choose and order them with --variables"
            )
        if form.target_channels != old.target_channels:
            yield (
                f"forecasts {', '.join(old.target_names)}, this run {', '.join(form.target_names)}: give --targets "
                f"{' '.join(form.channels[i] for i in old.target_channels)}"
            )
        if (form.known_channels, form.calendar_ahead) != (old.known_channels, old.calendar_ahead):
            names = [form.channels[i] for i in old.known_channels] or ["calendar"] * old.calendar_ahead
            yield (
                f"was trained with {known_ahead_words(old)} known ahead, this run has {known_ahead_words(form)}: "
                + (f"give --known-ahead {' '.join(names)}" if names else "leave --known-ahead out")
            )
        for name, ours, theirs in zip(form.channels, form.units, old.units, strict=True):
            if ours and theirs and ours != theirs and config.training.start_scaler == "kept":
                yield (
                    f"knows {name} in {theirs}, {config.data.data} has it in {ours}: convert it first, or give "
                    "--start-scaler fitted"
                )


def beginning(config: Config, ranks: Ranks) -> Beginning | None:
    """The model of ``config.training.start_from``, the same on all ranks: rank 0 reads it.

    Raises:
        UserError: there is none, or a part of it is damaged.
    """
    start_from = config.training.start_from
    if start_from is None:
        return None
    found = ranks.together(
        "opening the model to start from", lambda: find_checkpoint(start_from) if ranks.is_first else None
    )
    state = broadcast_state(None if found is None else found.state, ranks)
    assert state is not None
    # The same everywhere, and with it what is wrong: one line then says it.
    where = os.fsdecode(bytes(ranks.from_first(b"" if found is None else os.fsencode(found.path))))
    notes = () if found is None else found.notes
    return ranks.together("checking the model to start from", lambda: _checked(state, where, notes))


def _checked(state: State, where: str, notes: tuple[str, ...]) -> Beginning:
    form = saved_form(state, where)
    weights = forecast_weights(state)
    try:
        require_weights(
            weights,
            form.config,
            input_channels=form.window_format.input_channels,
            output_channels=form.window_format.output_channels,
            known_channels=form.window_format.num_known,
        )
    except UserError as error:
        raise UserError(f"checkpoint {where}: {error}") from error
    return Beginning(where, state, form, notes)


def _flag(name: str, value: object) -> str:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {value}"
