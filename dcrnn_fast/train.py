"""``dcrnn-fast train``: trains, evaluates the best checkpoint on the test windows, and says where everything is."""

import sys
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dcrnn_fast.checkpoints.manifest import MANIFEST
from dcrnn_fast.command import command_line, let_stdout_go, run_command
from dcrnn_fast.config.command_line import config_flag, parse
from dcrnn_fast.config.given import flags_in
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.sources import require_outside, source_files
from dcrnn_fast.device import choose_device
from dcrnn_fast.errors import STOPPED, UserError
from dcrnn_fast.evaluation.evaluator import evaluate_model
from dcrnn_fast.evaluation.fonts import unwritable_note
from dcrnn_fast.evaluation.plot_format import lost_picture, require_plot_format
from dcrnn_fast.evaluation.report_files import PAGE, REPORT
from dcrnn_fast.files import folder_for_new_files, require_apart, require_creatable_folder
from dcrnn_fast.idle import refuse_idle_in_training
from dcrnn_fast.messages import counted
from dcrnn_fast.ranks.environment import Launch, enter, launcher_notes
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.ranks.stopping import StopRequest, stop_on_signals
from dcrnn_fast.records.display import mae_words
from dcrnn_fast.records.events import EpochRow
from dcrnn_fast.records.jsonl import EVENTS
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.names import CONFIG
from dcrnn_fast.records.terminal import Standing, Terminal
from dcrnn_fast.records.watchers import RUN_FILES
from dcrnn_fast.training.account import LOOK
from dcrnn_fast.training.check import understood
from dcrnn_fast.training.fit import TrainingResult, fit
from dcrnn_fast.training.folders import checkpoint_folder
from dcrnn_fast.training.resolved import require_agreeing

_NO_ARGUMENTS = "city"
_MISTAKE_WAITS = 20
"""seconds for which a process that has read a wrong configuration waits for the others, to print it once"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainFlags:
    """The configuration and two flags that are not part of it."""

    config: str | None = None
    """YAML file or preset (city, debug, single-gpu, multi-gpu, multi-node, cpu-nodes) that the other flags change;
    without any argument: city"""
    check: bool = False
    """say what was understood of configuration, data and graph, and what a human would doubt (look: ...); compute one
    window's forecast, loss and gradient, and stop: nothing is written"""
    plot: str | None = None
    """with --check: draw what was understood on one page (.png, .pdf or .svg)"""
    settings: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        if self.plot is None:
            return
        if not self.check:
            raise UserError("--plot draws what --check understood: give --check too")
        require_plot_format(self.plot)
        require_creatable_folder(Path(self.plot).parent, "folder of --plot")


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast train ...``: 0 trained, 1 other ranks are gone, 2 a mistake, 85 stopped and resumable."""
    # Until an error is printed: torchrun ends all ranks once one has failed, and rank 0 must live to print the reason.
    with stop_on_signals() as stop:
        return run_command("train", lambda words: let_stdout_go(_train(words, stop)), argv)


def _train(argv: list[str], stop: StopRequest) -> int:
    launch = enter()  # first: everything else finds torchrun's names in the environment
    try:
        flags, ranks = _meet(argv, stop, launch)
    except KeyboardInterrupt:
        if not stop.requested:
            raise
        print(f"stopped by {stop.signal_name} while waiting for other ranks: nothing was begun", flush=True)
        return STOPPED
    with ranks.reporting_failure(), closing(FolderLock()) as lock:
        flags = ranks.together("reading the configuration", lambda: _granted(flags))
        if ranks.is_first:
            for line in launcher_notes():
                print(line, flush=True)
            if not argv:
                print(
                    f"no arguments: --config {_NO_ARGUMENTS} (the built-in city); --help shows everything", flush=True
                )
        ranks.together("reading the configuration", lambda: _refuse_idle(flags.settings, argv, ranks))
        if flags.check:
            stop.end_at_once()  # nothing is to be saved
            lines, data = understood(flags.settings, ranks)
            if ranks.is_first:
                _show(lines, data, flags)
            return 0
        result = fit(flags.settings, ranks, stop, lock)
        if result.stopped_by_signal:
            return STOPPED
        if ranks.replicas.rank == 0:
            stop.end_at_once()  # in the evaluation
            _report(result, flags.settings, ranks)
        return 0


def _meet(argv: list[str], stop: StopRequest, launch: Launch) -> tuple[TrainFlags | UserError, Ranks]:
    """The flags, or what is wrong with them, and the other processes; the flags say how long to wait for those.

    Raises:
        KeyboardInterrupt: it was asked to stop while it waited.
    """

    def asked_to_stop() -> bool:
        return stop.requested

    try:
        flags = _flags(argv)
    except UserError as mistake:
        try:
            return mistake, join_ranks(_MISTAKE_WAITS, asked_to_stop, launch)
        except (UserError, KeyboardInterrupt):  # the others are missing
            raise mistake from None
    return flags, join_ranks(flags.settings.training.dist_timeout, asked_to_stop, launch)


def _granted(flags: TrainFlags | UserError) -> TrainFlags:
    if isinstance(flags, UserError):
        raise flags
    return flags


def _refuse_idle(config: Config, argv: list[str], ranks: Ranks) -> None:
    device = choose_device(config.training.device, ranks.local_rank)
    refuse_idle_in_training(config, argv, on_gpu=device.type == "cuda")
    ranks.share_graph(config.training.node_parallel)
    require_agreeing(config, flags_in(argv), ranks.replicas.size)


def _show(lines: list[str], data: ForecastData, flags: TrainFlags) -> None:
    """Prints how configuration, data and graph were understood, and draws the page."""
    doubts = sum(line.startswith(LOOK) for line in lines)
    end = "configuration and data are fine; nothing was trained"
    if doubts:
        end = f"nothing was trained; {counted(doubts, 'line')} to look at first, above"
    print("\n".join([*lines, end]), flush=True)
    if flags.plot is not None:
        from dcrnn_fast.evaluation.check_plot import plot_check
        from dcrnn_fast.evaluation.style import save_figure

        if unwritable := unwritable_note(data.series.ids):
            print(unwritable)
        try:
            figure = plot_check(data, flags.settings.data.data)
            with folder_for_new_files(Path(flags.plot).parent, "folder of --plot"):
                print(f"drawn: {save_figure(figure, flags.plot)}", flush=True)
        except Exception as error:  # everything was printed
            raise UserError(lost_picture(Path(flags.plot), error)) from error


def _flags(argv: list[str]) -> TrainFlags:
    name = config_flag(argv) if argv else _NO_ARGUMENTS
    default = TrainFlags(config=name, settings=load_config(name) if name else Config())
    flags = parse(TrainFlags, argv, prog="dcrnn-fast train", description=__doc__ or "", default=default)
    _require_apart(flags)
    return flags


def _require_apart(flags: TrainFlags) -> None:
    """Raises UserError if the run would replace one of its inputs."""
    output = flags.settings.output
    results, folder = Path(output.results), checkpoint_folder(flags.settings)
    read = source_files(flags.settings.data, flags.settings.graph)
    resumed = None if output.resume == "auto" else output.resume
    begun = flags.settings.training.start_from
    names = {*RUN_FILES, *REPORT}
    if (results / EVENTS).exists():  # of an earlier run, which wrote the configuration there: it may be given again
        names.remove(CONFIG)
    require_apart((results / name for name in sorted(names)), (*read, flags.config, resumed, begun), "--results folder")
    require_outside((results / name for name in sorted(names)), flags.settings.data, "--results folder")
    require_apart((folder / name for name in ("*.pt", MANIFEST)), (*read, flags.config), "--checkpoint-dir")
    if flags.plot is not None:
        require_apart([flags.plot], (*read, flags.config, resumed, begun), "--plot")


def _report(result: TrainingResult, config: Config, ranks: Ranks) -> None:
    """Evaluates the best checkpoint on the test windows, beside the baselines; plots; prints the files' places.

    Ranks that share rank 0's graph evaluate with it, and leave the rest to it.
    """
    evaluated = partial(
        evaluate_model,
        result.model,
        result.data,
        "test",
        name=config.data.data,
        precision=config.training.precision,
        at_least=config.model.at_least,
        intervals=result.intervals,
    )
    if not ranks.is_first:
        if len(result.data.test):
            evaluated()
        return
    best = ""
    if result.best_epoch is not None:
        row, form = EpochRow.from_dict(result.history[result.best_epoch - 1]), result.data.window_format
        targets = tuple(zip(form.target_names, form.target_units, strict=True))
        best = f"best epoch {result.best_epoch}: {mae_words(row, targets)}"
    lines = [best] if best else []
    written: list[Path] = []
    with closing(Terminal(config.output.log_every)) as terminal:
        if len(result.data.test):
            report = evaluated(
                progress=lambda done, windows: terminal.show(Standing("evaluation", done, windows, best))
            )
            from dcrnn_fast.evaluation.plots import save_report  # draws: for the first rank alone

            terminal.say("\n".join([*lines, "", report.table(), ""]))  # measured, whether or not it can be written
            lines = []
            try:
                written += save_report(report, result.results)
            except UserError as error:
                lines.append(f"{error}; the report above is complete")
        else:
            lines.append("there are no test windows: nothing was evaluated")
        found = (path.name for pattern in RUN_FILES for path in sorted(result.results.glob(pattern)))
        names = ", ".join((*found, *(path.name for path in written)))
        lines += [
            f"checkpoints: {checkpoint_folder(config)} (best: {result.checkpoint})",
            f"results: {result.results} ({names})",
            f"forecast with it: {command_line('forecast', result.checkpoint)}",
            f"measure it again: {command_line('evaluate', result.checkpoint)}",
        ]
        lines.append(_page_line(result.results))
        terminal.say("\n".join(lines))


def _page_line(results: Path) -> str:
    """Writes the page of the run; what was trained and measured stands without it."""
    from dcrnn_fast.runs.page import write_page  # for the first rank alone

    try:
        return f"the run on one page: {write_page(results)}"
    except Exception as error:
        return f"look: {lost_picture(results / PAGE, error)}"


if __name__ == "__main__":
    sys.exit(main())
