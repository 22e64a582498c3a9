"""Refuses flags that would do nothing, before anything is read; the message names the setting that each one needs."""

from collections.abc import Sequence
from dataclasses import fields

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.given import Needs, flags_in, given_by_flags, given_in, refuse_idle
from dcrnn_fast.config.sections import Config, OutputConfig, WatchConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.data.idle import idle_in_graph, idle_in_reading

_OF_READING = ("data_format", "data_folder", "hdf5_key", "variables", "start", "missing_value", "fill_rows")
_OF_SPLITTING = (
    *("split", "train_fraction", "test_fraction", "scaler", "cross_gaps"),
    *("max_train_windows", "max_validation_windows", "max_test_windows"),
)
_OF_WINDOWS = (
    *("past_steps", "future_steps", "time_of_day", "day_of_week", "missing_input", "stage", "known_ahead"),
    *_OF_SPLITTING,
)
_OF_OPERATORS = ("supports", "hops", "recursion", "orientation", "edge_order")


def refuse_idle_in_training(config: Config, argv: Sequence[str], *, on_gpu: bool) -> None:
    """Raises UserError if a setting of a training run would do nothing."""
    in_graph, in_training = given_in(config.graph, argv), given_in(config.training, argv)
    idle = idle_in_reading(config.data) | idle_in_graph(config.graph, config.data, in_graph)
    idle |= _idle_in_training(config.training, on_gpu=on_gpu) | _idle_in_output(config.output)
    idle |= _idle_in_watch(config.watch)
    given = given_in(config.data, argv) | in_graph | in_training
    refuse_idle(given | given_in(config.output, argv) | given_in(config.watch, argv), idle)


def refuse_idle_in_preparing(data: DataConfig, graph: GraphConfig, argv: Sequence[str], *, output: bool) -> None:
    """Raises UserError if a setting of ``prepare`` would do nothing."""
    in_graph = given_in(graph, argv)
    given = given_in(data, argv) | in_graph
    if output:
        idle = idle_in_reading(data) | idle_in_graph(graph, data, in_graph)
        idle |= dict.fromkeys((*_OF_WINDOWS, *_OF_OPERATORS), "a model (give it to train)")
    else:
        idle = {f.name: "--output" for section in (data, graph) for f in fields(section)}
    if "download" in flags_in(argv):
        idle.pop("data_folder", None)
    refuse_idle(given, idle)


def refuse_idle_in_converting(data: DataConfig, graph: GraphConfig, argv: Sequence[str]) -> None:
    """Raises UserError if a flag of ``convert`` would do nothing."""
    given = given_by_flags(data, argv) | given_by_flags(graph, argv)
    idle = idle_in_graph(graph, data, given) | {"stage": "a training"}
    idle["known_ahead"] = "a training: no published decoder reads what is known ahead"
    if data.data:
        idle |= idle_in_reading(data)
    else:
        idle |= dict.fromkeys((*_OF_READING, *_OF_SPLITTING), "--data")
    refuse_idle(given, idle)


def refuse_idle_in_exporting(argv: Sequence[str]) -> None:
    """Raises UserError if ``convert --export`` is given a flag that only the other direction reads."""
    names = [f.name for section in (DataConfig, GraphConfig) for f in fields(section)]
    others = ("mean", "std", "channels", "units", "backend")
    refuse_idle(flags_in(argv), dict.fromkeys((*names, *others), "a conversion without --export"))


def _idle_in_training(training: TrainingConfig, *, on_gpu: bool) -> Needs:
    idle = {}
    if training.schedule != "published":
        idle["milestones"] = "--schedule published"
    if training.schedule not in ("published", "plateau"):
        idle["schedule_factor"] = "--schedule published or plateau"
    if training.schedule != "plateau":
        idle["plateau_patience"] = "--schedule plateau"
    if training.schedule == "constant":
        idle["min_learning_rate"] = "a --schedule that lowers the rate"
    if training.lr_scaling == "none":
        idle["base_batch_size"] = "--lr-scaling linear"
    if training.loss != "huber":
        idle["huber_delta"] = "--loss huber"
    if training.teacher_forcing != "scheduled":
        idle["sampling_decay"] = "--teacher-forcing scheduled"
    if training.node_parallel == 1:
        idle["graph_partition"] = "--node-parallel of at least 2"
    if training.start_from is None:
        idle["start_scaler"] = "--start-from"
    if not on_gpu:
        idle["cuda_graphs"] = "a GPU, and the device is the CPU"
    return idle


def _idle_in_output(output: OutputConfig) -> Needs:
    return {} if output.save_every_epochs else {"keep_last": "--save-every-epochs of at least 1"}


def _idle_in_watch(watch: WatchConfig) -> Needs:
    idle = {}
    if not (watch.monitor_gpu or watch.monitor_cpu):
        idle["monitor_every"] = "--monitor-gpu or --monitor-cpu"
    if watch.wandb == "off":
        idle |= dict.fromkeys(("wandb_project", "wandb_name"), "--wandb online or offline")
    return idle
