"""``dcrnn-fast train``: trains, evaluates the best checkpoint on the test windows, and says where everything is."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from dcrnn_fast.command import command_line, run_command
from dcrnn_fast.config.command_line import config_flag, parse
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.evaluation.evaluator import evaluate_model
from dcrnn_fast.evaluation.plots import save_report
from dcrnn_fast.files import require_apart
from dcrnn_fast.training.display import Display, Standing, mae_words
from dcrnn_fast.training.distributed import join_ranks
from dcrnn_fast.training.fit import TrainingResult, check, checkpoint_folder, fit
from dcrnn_fast.training.records import CONFIG, EVENTS, METRICS, REPORT
from dcrnn_fast.training.stopping import StopRequest, stop_on_signals

STOPPED = 85
"""exit code of a run that was asked to stop and can be resumed; not 0, or a job scheduler would think it finished"""
_NO_ARGUMENTS = "city"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainFlags:
    """The configuration and two flags that are not part of it."""

    config: str | None = None
    """YAML file or preset (city, debug) that the other flags change; without any argument: city"""
    check: bool = False
    """check configuration and data, compute one window's forecast, loss and gradient, and stop"""
    settings: Config = field(default_factory=Config)


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast train ...``: 0 trained, 2 a mistake, 85 stopped by a signal and resumable."""
    trained: list[tuple[TrainingResult, Config]] = []
    # Until an error is printed: torchrun ends all ranks as soon as one has failed, and rank 0 must live to say why.
    with stop_on_signals() as stop:
        code = run_command("train", lambda words: _train(words, stop, trained), argv)
    for result, config in trained:
        code = run_command("train", lambda _: _report(result, config), [])  # noqa: B023 (called at once)
    return code


def _train(argv: list[str], stop: StopRequest, trained: list[tuple[TrainingResult, Config]]) -> int:
    ranks = join_ranks()
    flags = ranks.together("reading the configuration", lambda: _flags(argv))
    if ranks.is_first and not argv:
        print(f"no arguments: --config {_NO_ARGUMENTS} (the built-in city); --help shows everything", flush=True)
    if flags.check:
        lines = check(flags.settings, ranks)
        if ranks.is_first:
            print("\n".join([*lines, "configuration and data are fine; nothing was trained"]), flush=True)
        return 0
    result = fit(flags.settings, ranks, stop)
    if result.stopped_by_signal:
        return STOPPED
    if ranks.is_first:
        trained.append((result, flags.settings))
    return 0


def _flags(argv: list[str]) -> TrainFlags:
    name = config_flag(argv) if argv else _NO_ARGUMENTS
    default = TrainFlags(config=name, settings=load_config(name) if name else Config())
    flags = parse(TrainFlags, argv, prog="dcrnn-fast train", description=__doc__ or "", default=default)
    outputs = [Path(flags.settings.output.results, name) for name in (CONFIG, METRICS, EVENTS, *REPORT)]
    graph = flags.settings.graph
    read = (flags.settings.data.data, graph.graph, graph.land_mask, graph.sensor_positions)
    require_apart(outputs, read, "--results folder")
    return flags


def _report(result: TrainingResult, config: Config) -> int:
    """Test windows on the best checkpoint, beside the baselines; plots; where things are."""
    best = ""
    if result.best_epoch is not None:
        row = result.history[result.best_epoch - 1]
        best = f"best epoch {result.best_epoch}: {mae_words(row, result.data.window_format)}"
    lines = [best] if best else []
    written: list[Path] = []
    if len(result.data.test):
        display = Display(shown=True, log_every=config.output.log_every)
        try:
            report = evaluate_model(
                result.model,
                result.data,
                "test",
                name=config.data.data,
                precision=config.training.precision,
                at_least=config.model.at_least,
                progress=lambda done, windows: display.show(Standing("evaluation", done, windows, best)),
            )
        finally:
            display.close()
        written += save_report(report, result.results)
        lines += ["", report.table(), ""]
    else:
        lines.append("there are no test windows: nothing was evaluated")
    lines += [
        f"checkpoints: {checkpoint_folder(config)} (best: {result.checkpoint})",
        f"results: {result.results} (config.yaml, metrics.csv, events.jsonl{''.join(f', {p.name}' for p in written)})",
        f"forecast with it: {command_line('forecast', result.checkpoint)}",
        f"measure it again: {command_line('evaluate', result.checkpoint)}",
    ]
    print("\n".join(lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
