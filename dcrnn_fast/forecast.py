"""``dcrnn-fast forecast``: forecasts from a checkpoint and the newest readings, and nothing else."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.checkpoints.find import files_read
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_for_model, require_outside
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.bounds import interval_lines
from dcrnn_fast.evaluation.flags import ModelFlags, PartFlags, SourceFlags
from dcrnn_fast.evaluation.fonts import unwritable_note
from dcrnn_fast.evaluation.forecasts import Forecast, output_format
from dcrnn_fast.evaluation.known_future import read_known
from dcrnn_fast.evaluation.labels import channel_label
from dcrnn_fast.evaluation.plot_format import lost_picture, require_page, require_plot_format
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, require_apart, require_creatable_folder
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.loading import without_intervals
from dcrnn_fast.messages import counted
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.shared_forecaster import open_model, partners_met

_PURPOSE = "Forecasts from a checkpoint and the newest readings, and nothing else."


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastFlags:
    """The model, the readings, and the forecast's place."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """a checkpoint, or a folder of them, as a results folder (its best one)"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "forecast.csv"
    """.csv, .parquet or .nc: times, ids, units and values"""
    plot: str | None = None
    """.png, .pdf or .svg: the newest readings and the forecast"""
    html: str | None = None
    """.html: a page that opens without a network, with a map, series with their intervals, and the worst hours"""
    known: str | None = None
    """file or folder with the channels of --known-ahead for the steps that are forecast: as --data has them, or a table
    with a column for each channel, the same at all sensors; left out: the rows of --data after the newest reading"""
    watch: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """go on: a new forecast in the same files whenever --data has new rows; Ctrl-C or SIGTERM ends it (exit code 85)"""
    part: PartFlags = field(default_factory=PartFlags)
    source: SourceFlags = field(default_factory=SourceFlags)
    model: ModelFlags = field(default_factory=ModelFlags)


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast forecast ...``: 0 written, 2 a mistake."""
    return run_command("forecast", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(ForecastFlags, argv, prog="dcrnn-fast forecast", description=_PURPOSE)
    if flags.watch and flags.source.data is None:
        raise UserError("--watch needs --data: the file or folder to which rows are added")
    if flags.watch and not Path(flags.source.data or "").exists():
        raise UserError(f"--watch: there is no file or folder {flags.source.data}")
    if flags.watch and flags.model.node_parallel > 1:
        raise UserError("--watch is for one process: leave out --node-parallel")
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
    if flags.html is not None:
        require_page(flags.html)
        targets.append(Path(flags.html))
    model = files_read(flags.checkpoint)
    named = (flags.source.data, flags.known, *flags.source.leave_out, *flags.part.sensors)
    require_apart(targets, (*model, *named), "--output")
    for target in targets:
        require_creatable_folder(target.parent, "output folder")
    forecaster, config, inputs = open_model(flags.checkpoint, flags.model, flags.source, flags.part, ranks)
    trained = forecaster.config
    require_apart(targets, inputs, "--output")
    for read in (config, trained.data, *([] if flags.known is None else [replace(config, data=flags.known)])):
        require_outside(targets, read, "--output")
    if (forecaster.window_format.past_steps == 1 or flags.watch) and config.freq is None:
        # One row alone, as of a day that has just begun, does not show its interval.
        config = replace(config, freq=forecaster.window_format.freq)
    said: set[str] = set()
    if flags.watch:
        from dcrnn_fast.data.growing import GrowingSource  # for days, and not for one forecast
        from dcrnn_fast.forecast_watch import watch

        form = forecaster.window_format
        # Rows of what is known ahead follow the newest reading.
        rows = form.window_steps if form.known_channels else form.past_steps
        source = GrowingSource(config, trained.graph, rows)
        print(f"watching {config.data}: a new forecast whenever it has new rows", file=sys.stderr, flush=True)
        write = partial(
            _write, config=config, flags=flags, targets=targets, forecaster=forecaster, ranks=ranks, said=said
        )
        return watch(source, write, None if form.known_channels else form.past_steps)
    series, _ = read_for_model(config, forecaster.config.graph, forecaster.ids)
    _write(series, config=config, flags=flags, targets=targets, forecaster=forecaster, ranks=ranks, said=said)
    return 0


def _write(
    series: SensorSeries,
    *,
    config: DataConfig,
    flags: ForecastFlags,
    targets: list[Path],
    forecaster: Forecaster,
    ranks: Ranks,
    said: set[str],
) -> None:
    """Forecasts and writes; prints what it wrote, and the notes that are not among those ``said`` the last time."""
    known = None if flags.known is None else read_known(flags.known, forecaster.window_format, forecaster.config)
    try:
        forecast = forecaster.forecast(series, leave_out=config.leave_out, known=known)
    except NotImplementedError as error:  # the backend that was asked for cannot run here
        raise UserError(str(error)) from error
    if not ranks.is_first:
        return
    forecast = forecast.part(sensors=flags.part.ids(), targets=flags.part.targets)
    unwritable = unwritable_note((*forecast.ids, *forecast.channels, *forecast.units)) if flags.plot else None
    lacking = without_intervals(forecaster) if forecaster.intervals is None else None
    notes = [*filter(None, (*forecaster.notes, *forecast.notes, lacking, unwritable))]
    for note in notes:
        if note not in said:
            print(note, file=sys.stderr)
    said.clear()
    said.update(notes)
    with folder_for_new_files(targets[0].parent, "output folder"):
        clear_leftovers(targets[0].parent, [targets[0].name])
        forecast.write(targets[0])
    drawn, lost = [str(targets[0])], list[str]()
    for target, draw in _pictures(forecast, flags, forecaster):
        why = _drawn(target, draw)
        (drawn if why is None else lost).append(str(target) if why is None else why)
    steps, sensors, _ = forecast.values_FNO.shape
    for line in (
        () if flags.watch or forecaster.intervals is None else interval_lines(forecast, forecaster.intervals.windows)
    ):
        print(line)
    zone = "" if forecast.zone is None else " UTC"
    print(
        f"{', '.join(map(channel_label, forecast.channels))} of {counted(sensors, 'sensor')}, "
        f"{counted(steps, 'step')} from {forecast.times_F[0]} to {forecast.times_F[-1]}{zone}: "
        f"{', '.join(drawn)}",
        flush=True,
    )
    if lost:
        said_lost = f"{'; '.join(lost)}; {targets[0]} is complete"
        if not flags.watch:
            raise UserError(said_lost)
        print(said_lost, file=sys.stderr)


def _pictures(
    forecast: Forecast, flags: ForecastFlags, forecaster: Forecaster
) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    if flags.plot is not None:
        yield Path(flags.plot), forecast.plot
    if flags.html is not None:
        graph = forecaster.graph if forecast.ids == forecaster.ids else forecaster.graph.take(forecast.ids)
        yield Path(flags.html), partial(forecast.to_html, graph=graph)


def _drawn(target: Path, draw: Callable[[Path], object]) -> str | None:
    """Draws the forecast, which is on the disk already; a line if that fails."""
    try:
        with folder_for_new_files(target.parent, "output folder"):
            clear_leftovers(target.parent, [target.name])
            draw(target)
    except Exception as error:
        return lost_picture(target, error)
    return None


if __name__ == "__main__":
    sys.exit(main())
