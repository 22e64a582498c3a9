"""``dcrnn-fast forecast``: forecasts from a checkpoint and the newest readings, and nothing else."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.checkpoints.files import files_read
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.data.sources import read_source, require_outside, source_files
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.bounds import interval_lines
from dcrnn_fast.evaluation.flags import ModelFlags, SourceFlags
from dcrnn_fast.evaluation.fonts import unwritable_note
from dcrnn_fast.evaluation.forecasts import Forecast, output_format
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.plot_format import lost_picture, require_plot_format
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, require_apart, require_creatable_folder
from dcrnn_fast.forecaster import without_intervals
from dcrnn_fast.messages import counted
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.shared_forecaster import load_shared, partners_met
from dcrnn_fast.training_data import require_training_data

_PURPOSE = "Forecasts from a checkpoint and the newest readings, and nothing else."


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastFlags:
    """The model, the readings, and the forecast's place."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """a checkpoint, or a folder of them (the newest good one)"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "forecast.csv"
    """.csv, .parquet or .nc: times, ids, units and values"""
    plot: str | None = None
    """.png, .pdf or .svg: the newest readings and the forecast"""
    source: SourceFlags = field(default_factory=SourceFlags)
    model: ModelFlags = field(default_factory=ModelFlags)


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast forecast ...``: 0 written, 2 a mistake."""
    return run_command("forecast", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(ForecastFlags, argv, prog="dcrnn-fast forecast", description=_PURPOSE)
    with partners_met(flags.model) as ranks:
        return _forecast(flags, ranks)


def _forecast(flags: ForecastFlags, ranks: Ranks) -> int:
    output_format(flags.output)
    if Path(flags.output).is_dir():
        raise UserError(f"--output {flags.output} is a folder: name a file")
    targets = [Path(flags.output)]
    if flags.plot is not None:
        require_plot_format(flags.plot)
        targets.append(Path(flags.plot))
    model = files_read(flags.checkpoint)
    require_apart(targets, (*model, flags.source.data, *flags.source.leave_out), "--output")
    for target in targets:
        require_creatable_folder(target.parent, "output folder")
    forecaster = load_shared(flags.checkpoint, flags.model, ranks)
    config = flags.source.config(forecaster.config.data, forecaster.window_format)
    if flags.source.data is None:
        require_training_data(config)
    trained = forecaster.config
    inputs = (*source_files(config, trained.graph), *source_files(trained.data, trained.graph))
    require_apart(targets, inputs, "--output")
    for read in (config, trained.data):
        require_outside(targets, read, "--output")
    if forecaster.window_format.past_steps == 1 and config.freq is None:
        config = replace(config, freq=forecaster.window_format.freq)  # one row alone does not show its interval
    series, _ = read_source(config, forecaster.config.graph)
    try:
        forecast = forecaster.forecast(series, leave_out=config.leave_out)
    except NotImplementedError as error:  # the backend that was asked for cannot run here
        raise UserError(str(error)) from error
    if not ranks.is_first:
        return 0
    unwritable = unwritable_note((*forecast.ids, *forecast.channels, *forecast.units)) if flags.plot else None
    lacking = without_intervals(forecaster) if forecaster.intervals is None else None
    for note in filter(None, (*forecaster.notes, *forecast.notes, lacking, unwritable)):
        print(note, file=sys.stderr)
    with folder_for_new_files(targets[0].parent, "output folder"):
        clear_leftovers(targets[0].parent, [targets[0].name])
        forecast.write(targets[0])
    lost = None if flags.plot is None else _plot(forecast, Path(flags.plot))
    steps, sensors, _ = forecast.values_FNO.shape
    for line in () if forecaster.intervals is None else interval_lines(forecast, forecaster.intervals.windows):
        print(line)
    zone = "" if forecast.zone is None else " UTC"
    print(
        f"{', '.join(map(channel_label, forecast.channels))} of {counted(sensors, 'sensor')}, "
        f"{counted(steps, 'step')} from {forecast.times_F[0]} to {forecast.times_F[-1]}{zone}: "
        f"{', '.join(map(str, targets if lost is None else targets[:1]))}"
    )
    if lost is not None:
        raise UserError(f"{lost}; {targets[0]} is complete")
    return 0


def _plot(forecast: Forecast, target: Path) -> str | None:
    """Draws the forecast, which is on the disk already; a line if that fails."""
    try:
        with folder_for_new_files(target.parent, "output folder"):
            clear_leftovers(target.parent, [target.name])
            forecast.plot(target)
    except Exception as error:
        return lost_picture(target, error)
    return None


if __name__ == "__main__":
    sys.exit(main())
