"""``dcrnn-fast convert``: a checkpoint from the weights of another DCRNN, or (--export) the public PyTorch port's from ours.

The port's ``.tar`` or state dict is understood exactly. LibCity's, LargeST's and the authors' TensorFlow variables (as
``.npz``) are mapped by name and shape: no original weights were at hand. Weights carry neither graph nor scaler: give
--graph, and --mean and --std of the training readings, or --data to compute them as published. Hops, channels and steps
come from the shapes and the file, as defaults of their flags; the values that are used are printed.
"""  # noqa: E501

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from dcrnn_fast.checkpoints.find import is_trained
from dcrnn_fast.checkpoints.manifest import MANIFEST, require_own_manifest
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.checkpoints.state import make_state
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import Backend, ModelConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.data.sources import source_files
from dcrnn_fast.data.times import format_freq, parse_freq
from dcrnn_fast.data.window_format import WindowFormat
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, require_apart, require_creatable_folder
from dcrnn_fast.graph import SensorGraph, read_graph
from dcrnn_fast.idle import refuse_idle_in_converting, refuse_idle_in_exporting
from dcrnn_fast.interop import NUM_SUPPORTS, ImportedWeights, read_weights, with_one_hot_days
from dcrnn_fast.interop.weights import layout_notes
from dcrnn_fast.messages import counted
from dcrnn_fast.port_export import export_checkpoint

_DEFAULT_FREQ = "5min"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertFlags:
    """Settings that the weights do not hold."""

    checkpoint: tyro.conf.Positional[str]
    """weights of another DCRNN; with --export a checkpoint of dcrnn_fast, or a folder of them (its best one)"""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write; left out: model.pt, with --export model.tar"""
    export: bool = False
    """write the public PyTorch port's checkpoint from one of dcrnn_fast"""
    mean: tuple[float, ...] = ()
    """scaler: mean of each value channel, original units"""
    std: tuple[float, ...] = ()
    """scaler: standard deviation of each value channel, original units"""
    channels: tuple[str, ...] = ()
    """names of the value channels, in the order of the weights; left out: the data's, else value"""
    units: tuple[str, ...] = ()
    """units of the value channels"""
    backend: Backend = "auto"
    graph: GraphConfig = field(default_factory=GraphConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(data="", missing_input="zero", scaler="published")  # as their code has it
    )


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast convert ...``: 0 written, 2 a mistake."""
    return run_command("convert", _run, argv)


def _run(argv: list[str]) -> int:
    flags = _parse(argv)
    output = Path(flags.output or ("model.tar" if flags.export else "model.pt"))
    inputs = (flags.checkpoint, *source_files(flags.data, flags.graph))
    outputs = (output,) if flags.export else (output, output.with_name(MANIFEST))
    if output.name.casefold() == MANIFEST:
        raise UserError(f"--output {output}: {MANIFEST} lists the checkpoints of its folder: name another file")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: name a file")
    require_apart(outputs, inputs, "--output")
    if flags.export:
        refuse_idle_in_exporting(argv)
        lines = export_checkpoint(flags.checkpoint, flags.output or "model.tar")
    else:
        weights = read_weights(flags.checkpoint)
        flags = _parse(argv, told_by(weights, flags))
        refuse_idle_in_converting(flags.data, flags.graph, argv)
        lines = convert(weights, flags)
    print("\n".join(lines), flush=True)
    return 0


def _parse(argv: list[str], default: ConvertFlags | None = None) -> ConvertFlags:
    return parse(ConvertFlags, argv, prog="dcrnn-fast convert", description=__doc__ or "", default=default)


def told_by(weights: ImportedWeights, flags: ConvertFlags) -> ConvertFlags:
    """``flags`` with the weights' own settings, as defaults with which the command line is read a second time.

    Raises:
        UserError: the kind of supports contradicts the file or the number of diffusion terms.
    """
    settings = weights.settings
    supports, said = flags.graph.supports, settings.get("filter_type")
    trained: Any = said if isinstance(said, str) else None
    if trained in NUM_SUPPORTS and trained != supports:
        if supports != GraphConfig().supports:
            raise UserError(f"the weights' file says filter_type {trained}, --supports says {supports}")
        supports = trained
    hops = weights.hops(NUM_SUPPORTS[supports])
    # LargeST applies P(A) and P(A^T) as they are; all others transpose them.
    orientation = "paper" if weights.layout == "largest" else flags.graph.orientation
    time_of_day, day_of_week = _time_channels(weights)
    return replace(
        flags,
        graph=replace(flags.graph, supports=supports, hops=hops, orientation=orientation),
        data=replace(
            flags.data,
            past_steps=_count(settings.get("seq_len"), flags.data.past_steps),
            future_steps=_count(settings.get("horizon"), flags.data.future_steps),
            time_of_day=time_of_day,
            day_of_week=day_of_week,
            # The codes that these weights come from follow the published recipe, on any data.
            missing_input="zero" if flags.data.missing_input == "auto" else flags.data.missing_input,
            scaler="published" if flags.data.scaler == "auto" else flags.data.scaler,
        ),
    )


def _count(told: object, otherwise: int) -> int:
    return told if type(told) is int and told >= 1 else otherwise


def _time_channels(weights: ImportedWeights) -> tuple[bool, bool]:
    """(time of day, day of week) that the input channels beyond the outputs most likely are."""
    beyond = weights.input_channels - weights.output_channels
    if weights.layout == "largest":
        return beyond >= 1, beyond >= 2
    return beyond >= 1 and beyond != 7, beyond in (7, 8)


def convert(weights: ImportedWeights, flags: ConvertFlags) -> list[str]:
    """Writes the checkpoint; returns the lines to print.

    Raises:
        UserError: scaler or graph is missing, or graph, channels or steps do not fit the weights; the output is a
            trained checkpoint.
    """
    output = Path(flags.output or "model.pt")
    require_own_manifest(require_creatable_folder(output.parent, "output folder"))
    if is_trained(output):
        raise UserError(f"--output {output} is a trained checkpoint, which would be lost: name another file")
    weights, num_values = _with_our_channels(weights, flags.data)
    if flags.data.data:
        graph, window_format, scaler, source, data = _from_data(weights, num_values, flags)
    else:
        graph, window_format = read_graph(flags.graph), _window_format(weights, num_values, flags)
        data = replace(
            flags.data,
            missing=window_format.missing,  # type: ignore[arg-type]
            missing_input=window_format.missing_input,  # type: ignore[arg-type]
        )
        given, source = _given_scaler(num_values, flags), "given"
        if given is None:
            raise UserError("the weights do not carry their scaler: give --mean and --std, or --data to compute them")
        scaler = given
    nodes = weights.settings.get("num_nodes")
    if isinstance(nodes, int) and nodes != graph.num_nodes:
        raise UserError(f"the weights were trained on {nodes} nodes, the graph has {graph.num_nodes}")
    config = Config(
        graph=flags.graph,
        data=replace(data, freq=window_format.freq),
        model=ModelConfig(hidden_units=weights.hidden_units, num_layers=weights.num_layers, backend=flags.backend),
    )
    model = weights.build(graph, flags.graph, future_steps=window_format.future_steps, backend=flags.backend)
    state = make_state(config, model, graph, window_format, scaler)
    with folder_for_new_files(output.parent, "output folder") as folder:
        clear_leftovers(folder, (output.name, MANIFEST))
        save_checkpoint(folder, state, output.name)
    return [
        *_summary(weights, graph, window_format, flags),
        f"scaler: {_scaler_words(scaler)} ({source})",
        *_notes(weights, num_values, source, flags),
        f"written: {output}",
    ]


def _with_our_channels(weights: ImportedWeights, data: DataConfig) -> tuple[ImportedWeights, int]:
    """Weights that read one-hot days, and the number of value channels among their inputs."""
    day_channels = 1 if weights.layout == "largest" else 7
    num_values = weights.input_channels - data.time_of_day - day_channels * data.day_of_week
    if num_values < weights.output_channels:
        raise UserError(
            f"the weights read {weights.input_channels} channels and forecast {weights.output_channels}; with "
            f"{_time_words(data.time_of_day, data.day_of_week, day_channels)} {max(num_values, 0)} would be left for "
            "readings: check --time-of-day and --day-of-week"
        )
    if weights.layout == "largest" and data.day_of_week:
        weights = with_one_hot_days(weights)
    return weights, num_values


def _from_data(
    weights: ImportedWeights, num_values: int, flags: ConvertFlags
) -> tuple[SensorGraph, WindowFormat, Scaler, str, DataConfig]:
    given = _given_scaler(num_values, flags)
    data = open_data(flags.data, flags.graph, scaler=given)
    form = data.window_format
    if len(form.channels) != num_values or form.output_channels != weights.output_channels:
        raise UserError(
            f"the weights read {num_values} value channel(s) and forecast {weights.output_channels}; {flags.data.data} "
            f"gives {len(form.channels)} ({', '.join(form.channels)}) and {form.output_channels}: choose with "
            "--variables and --targets"
        )
    if flags.channels and flags.channels != form.channels:
        raise UserError(f"--channels {' '.join(flags.channels)}: {flags.data.data} has {' '.join(form.channels)}")
    units = _units(num_values, flags) if flags.units else form.units
    source = "given" if given else f"computed on the training part of {flags.data.data}"
    return data.graph, replace(form, units=units), data.scaler, source, data.config


def _window_format(weights: ImportedWeights, num_values: int, flags: ConvertFlags) -> WindowFormat:
    data = flags.data
    default = ("value",) if num_values == 1 else tuple(f"value_{i}" for i in range(num_values))
    channels = flags.channels or default
    if len(channels) != num_values or len(set(channels)) != num_values:
        raise UserError(f"the weights read {num_values} value channel(s), --channels names {' '.join(channels)}")
    targets = data.targets or channels[: weights.output_channels]
    if unknown := [name for name in targets if name not in channels]:
        raise UserError(f"--targets: no channel {unknown[0]!r}; the channels are {', '.join(channels)}")
    if len(targets) != weights.output_channels:
        raise UserError(f"the weights forecast {weights.output_channels} channel(s), --targets names {len(targets)}")
    return WindowFormat(
        past_steps=data.past_steps,
        future_steps=data.future_steps,
        channels=channels,
        target_channels=tuple(channels.index(name) for name in targets),
        units=_units(num_values, flags),
        time_of_day=data.time_of_day,
        day_of_week=data.day_of_week,
        missing="zero" if data.missing == "auto" else data.missing,
        missing_input="zero" if data.missing_input == "auto" else data.missing_input,
        freq=format_freq(parse_freq(data.freq or _DEFAULT_FREQ)),
    )


def _units(num_values: int, flags: ConvertFlags) -> tuple[str, ...]:
    if flags.units and len(flags.units) != num_values:
        raise UserError(f"--units needs one for each of {num_values} value channel(s), got {len(flags.units)}")
    return flags.units or ("",) * num_values


def _given_scaler(num_values: int, flags: ConvertFlags) -> Scaler | None:
    if not flags.mean and not flags.std:
        return None
    if len(flags.mean) != num_values or len(flags.std) != num_values:
        raise UserError(
            f"--mean and --std need one number for each of {num_values} value channel(s), got {len(flags.mean)} and "
            f"{len(flags.std)}; a channel that was not scaled has mean 0 and std 1"
        )
    if not all(std > 0 for std in flags.std):
        raise UserError(f"--std must be positive, got {_numbers(flags.std)}")
    scaler = Scaler(flags.mean, flags.std)
    scaler.require_usable("--mean and --std")
    return scaler


def _summary(weights: ImportedWeights, graph: SensorGraph, form: WindowFormat, flags: ConvertFlags) -> list[str]:
    ways = flags.graph
    reads = f"reads {', '.join(form.channels)}"
    if form.time_of_day or form.day_of_week:
        reads += f" with {_time_words(form.time_of_day, form.day_of_week, 7)}"
    return [
        f"weights: {weights.layout}, {counted(weights.num_layers, 'layer')} of {weights.hidden_units} units, "
        f"{sum(tensor.numel() for tensor in weights.state.values())} parameters",
        f"graph: {counted(graph.num_nodes, 'node')}, {counted(graph.num_edges, 'edge')}; supports {ways.supports}, "
        f"hops {ways.hops}, orientation {ways.orientation}, recursion {ways.recursion}, edge order {ways.edge_order}",
        f"windows: {reads}, every {form.freq}, {form.past_steps} steps in, {form.future_steps} out, forecasts "
        f"{', '.join(form.target_names)}",
    ]


def _notes(weights: ImportedWeights, num_values: int, source: str, flags: ConvertFlags) -> list[str]:
    notes = layout_notes(weights, flags.graph)
    if num_values > 1 and source != "given":
        notes.append("note: every value channel is scaled here; the port scales the first alone (--mean, --std)")
    return notes


def _time_words(time_of_day: bool, day_of_week: bool, day_channels: int) -> str:
    words = ["time of day (1)"] * time_of_day + [f"day of week ({day_channels})"] * day_of_week
    return " and ".join(words) or "neither time of day nor day of week"


def _scaler_words(scaler: Scaler) -> str:
    if scaler.per_sensor:
        return f"mean and std of each of {scaler.num_sensors} sensors"
    mean, std = scaler.to_state().values()
    return f"mean {_numbers(mean)}, std {_numbers(std)}"


def _numbers(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.10g}" for number in numbers)


if __name__ == "__main__":
    sys.exit(main())
