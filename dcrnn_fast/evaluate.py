"""``dcrnn-fast evaluate``: measures a checkpoint at every horizon over windows that it was not trained on, beside the
last value and other baselines."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dcrnn_fast.checkpoints.find import files_read
from dcrnn_fast.checkpoints.intervals import put_intervals
from dcrnn_fast.checkpoints.manifest import require_own_manifest
from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.sources import require_outside
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.flags import ModelFlags, PartFlags, SourceFlags
from dcrnn_fast.evaluation.plots import save_report
from dcrnn_fast.evaluation.report_files import REPORT
from dcrnn_fast.evaluation.report_parts import part_of
from dcrnn_fast.files import require_apart, require_creatable_folder, require_writable_folder
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.loading import without_intervals
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.shared_forecaster import open_model, partners_met

_PURPOSE = (
    "Measures a checkpoint at every horizon over windows that it was not trained on, beside the last value and other "
    "baselines."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateFlags:
    """The model to measure, the data, and the report's place."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """a checkpoint, or a folder of them, as a results folder (its best one)"""
    split: Annotated[Literal["all", "train", "validation", "test"] | None, tyro.conf.arg(aliases=["--part"])] = None
    """which windows are scored; left out: those that the model was not trained on: the test part of its training data,
    all of other data that do not forecast times of the training"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "results/evaluation"
    """folder for report.txt, report.json, horizons.csv, sensors.csv and the plots"""
    horizons: tuple[int, ...] = ()
    """steps in the summary (1 is the first); left out: a quarter, half and all of them"""
    max_windows: int | None = None
    """so many of these windows at most, evenly spread: a part of a large series that can be scored in the time there
    is; left out: as train's --max-test-windows, or all"""
    batch_size: int | None = None
    """windows at a time; changes memory and time, not the figures; left out: 64, fewer of a graph of many hundred
    sensors"""
    graph: str | None = None
    """graph file, only to check that it holds the model's graph"""
    calibrate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """first take prediction intervals (50, 80, 90 %) from the errors on the validation windows, as train does at its
    end, and put them into CHECKPOINT; --max-windows limits these windows too"""
    part: PartFlags = field(default_factory=PartFlags)
    source: SourceFlags = field(default_factory=SourceFlags)
    model: ModelFlags = field(default_factory=ModelFlags)

    def __post_init__(self) -> None:
        if self.calibrate and self.model.future_steps is not None:
            raise UserError("--calibrate is for the steps of the training: leave --future-steps out")
        for name in ("batch_size", "max_windows"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast evaluate ...``: 0 measured, 2 a mistake."""
    return run_command("evaluate", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(EvaluateFlags, argv, prog="dcrnn-fast evaluate", description=_PURPOSE)
    if {"--split", "--part"} <= {word.split("=")[0] for word in argv}:
        raise UserError("--part is another name of --split: give one of them")
    with partners_met(flags.model) as ranks:
        return _measure(flags, ranks)


def _measure(flags: EvaluateFlags, ranks: Ranks) -> int:
    outputs = [Path(flags.output, pattern) for pattern in REPORT]
    model = files_read(flags.checkpoint)
    require_apart(
        outputs,
        (*model, flags.source.data, flags.graph, *flags.source.leave_out, *flags.part.sensors),
        "--output folder",
    )
    output = require_creatable_folder(flags.output, "output folder")
    forecaster, config, inputs = open_model(flags.checkpoint, flags.model, flags.source, flags.part, ranks)
    trained = forecaster.config
    require_apart(outputs, inputs, "--output folder")
    for read in (config, trained.data):
        require_outside(outputs, read, "--output folder")
    data = forecaster.open_data(config, _graph_to_check(flags, forecaster))
    for note in forecaster.notes if ranks.is_first else ():
        print(note, file=sys.stderr)
    try:
        if flags.calibrate:
            forecaster = _calibrated(forecaster, data, flags, ranks)
        elif ranks.is_first and forecaster.intervals is None:
            print(without_intervals(forecaster), file=sys.stderr)
        report = forecaster.evaluate(
            data, flags.split, batch_size=flags.batch_size, max_windows=flags.max_windows, name=config.data
        )
    except NotImplementedError as error:  # the backend that was asked for cannot run here
        raise UserError(str(error)) from error
    if not ranks.is_first:
        return 0
    report = part_of(report, sensors=flags.part.ids(), targets=flags.part.targets)
    print(report.table(flags.horizons or None), flush=True)
    written = save_report(report, output)
    print(f"\nwritten to {output}: {', '.join(path.name for path in written)}")
    return 0


def _calibrated(forecaster: Forecaster, data: ForecastData, flags: EvaluateFlags, ranks: Ranks) -> Forecaster:
    """The forecaster with intervals, which are in its checkpoint then."""
    checkpoint = Path(str(forecaster.about["checkpoint"]))
    ranks.together("looking at the checkpoint's folder", lambda: _require_replaceable(checkpoint))
    forecaster, notes = forecaster.calibrate(data, batch_size=flags.batch_size, max_windows=flags.max_windows)
    assert forecaster.intervals is not None
    state = forecaster.intervals.to_state()
    ranks.together("writing the intervals", lambda: put_intervals(checkpoint, state) if ranks.is_first else None)
    if ranks.is_first:
        print("\n".join((*notes, f"put into {checkpoint}")), file=sys.stderr)
    return forecaster


def _require_replaceable(checkpoint: Path) -> None:
    """Raises UserError if the checkpoint could not be written, or a run that lives writes there."""
    folder = require_writable_folder(checkpoint.parent, "folder of CHECKPOINT")
    require_own_manifest(folder)
    FolderLock().require_free({"folder with a copy of CHECKPOINT": folder}, lambda line: print(line, file=sys.stderr))


def _graph_to_check(flags: EvaluateFlags, forecaster: Forecaster) -> GraphConfig | None:
    if flags.graph is None:
        return None
    return replace(forecaster.config.graph, graph=flags.graph, graph_format="auto")


if __name__ == "__main__":
    sys.exit(main())
