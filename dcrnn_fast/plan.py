"""``dcrnn-fast plan``: what a training would take, before it is queued: memory by item, time of a step and of an epoch.

It takes the flags of ``dcrnn-fast train`` and opens no reading: the graph is read from its file or store, or one of
--nodes and --edges stands in for it. Steps of that graph are timed here for about five seconds.
"""

import json
import math
import os
import sys
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import config_flag, parse
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.data.batches import GlobalBatches
from dcrnn_fast.data.left_out import ids_to_leave_out
from dcrnn_fast.device import choose_device, choose_threads
from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels.halo import Absent
from dcrnn_fast.model.build import SAVING
from dcrnn_fast.model.shared import share_graph
from dcrnn_fast.planning.choice import Choice, choices, first_that_fits, saves_of, windows_a_round
from dcrnn_fast.planning.memory import MARGIN, Need, anonymous_bytes, need, plain_scratch
from dcrnn_fast.planning.page import plan_lines
from dcrnn_fast.planning.parts import hardest_part
from dcrnn_fast.planning.plan import NetworkBytes, Plan
from dcrnn_fast.planning.shapes import Shapes
from dcrnn_fast.planning.source import Source, source_of, window_counts
from dcrnn_fast.planning.window_form import planned_form
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.system import MIB, available_mib
from dcrnn_fast.training.memory import circumstances_of
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.start_from import Beginning, beginning
from dcrnn_fast.training.trial import Timing, first_step, timed, trial_run


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFlags:
    """The configuration of a training, and what is not part of it."""

    config: str | None = None
    """YAML file or preset (city, debug, single-gpu, multi-gpu, multi-node, cpu-nodes) that the other flags change"""
    nodes: int | None = None
    """plan for so many sensors, without a graph file or a series"""
    edges: int | None = None
    """with --nodes: links of their graph, self loops included; left out: eight for each sensor"""
    rows: int | None = None
    """time steps of the series; left out: as the store, the known data set or the city has them"""
    channels: int | None = None
    """value channels of the series; left out: as the store has them, else 1"""
    ranks: int = 1
    """processes of the training"""
    ranks_per_host: int | None = None
    """processes that share a machine's memory; left out: all of them"""
    memory_gib: float | None = None
    """memory of a machine, or of a GPU, in GiB; left out: what this one has left"""
    bandwidth: float | None = None
    """Gbit/s between the processes, for the time of the gradients' way; left out: their bytes alone"""
    calibrate: bool = True
    """time steps on this machine; without: memory alone"""
    json: bool = False
    """print the plan as JSON"""
    settings: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        for name in ("nodes", "edges", "rows", "channels", "ranks", "ranks_per_host", "memory_gib", "bandwidth"):
            value = getattr(self, name)
            if value is not None and not (0 < value <= 1e12):
                raise UserError(f"--{name.replace('_', '-')} must be positive, got {value}")
        if self.edges is not None and self.nodes is None:
            raise UserError("--edges needs --nodes: of a graph that is there, the links are counted")


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast plan ...``: 0 it fits, 2 it does not, or another mistake."""
    return run_command("plan", _run, argv)


def _run(argv: list[str]) -> int:
    name = config_flag(argv)
    default = PlanFlags(config=name, settings=load_config(name) if name else Config())
    flags = parse(PlanFlags, argv, prog="dcrnn-fast plan", description=__doc__ or "", default=default)
    plan = make_plan(flags)
    print(json.dumps(plan.to_dict(), indent=1) if flags.json else "\n".join(plan_lines(plan)), flush=True)
    if plan.short_of:
        raise UserError(plan.refusal())
    return 0


def make_plan(flags: PlanFlags) -> Plan:
    """The plan that the flags ask for.

    Raises:
        UserError: the configuration cannot be, the number of sensors is not known, or the graph cannot be read.
    """
    partners = flags.settings.training.node_parallel
    if flags.ranks % partners:
        raise UserError(f"--node-parallel {partners} must divide the number of processes, --ranks {flags.ranks}")
    replicas = flags.ranks // partners
    config = resolved(flags.settings, replicas)
    begun = beginning(config, Ranks())
    if begun is not None:
        config = begun.choices(config)
    on_gpu = config.training.device.startswith("cuda") or choose_device(config.training.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        config = replace(config, model=replace(config.model, backend="auto"))  # the plan's own steps are on the CPU
    torch.set_num_threads(choose_threads(config.training.threads))
    first_step(_smallest(config))  # what a first step loads, once and for all
    interpreter = anonymous_bytes()
    source = source_of(
        config.data,
        config.graph,
        nodes=flags.nodes,
        edges=flags.edges,
        rows=flags.rows,
        channels=flags.channels,
        otherwise=1 if begun is None else len(begun.form.window_format.channels),
    )
    if begun is not None:
        source = _begun_source(source, config, begun)
        begun = None  # its weights are not held while a run is trained either
    if flags.calibrate:
        source = replace(source, notes=(*source.notes, *_busy_notes()))
    graph, training = source.graph, config.training
    run = trial_run(config, graph, source.channels, 1)
    held = {
        "Python, PyTorch and this package": interpreter,
        "graph, its operators and weights": max(anonymous_bytes() - interpreter, 0),
        "series in memory (none of a prepared store)": source.in_memory,
    }
    part = None
    if partners > 1:
        part = hardest_part(graph, config, partners, training.graph_partition)
        # The step of its own nodes, in panels that have room for the others' rows.
        share_graph(run.model, graph, training.graph_partition, Absent(part.number, partners))
        graph = part.graph
    shapes = Shapes.of(config, nodes=graph.num_nodes, edges=graph.num_edges, value_channels=source.channels)
    here = circumstances_of(run)
    if on_gpu:
        scratch = partial(plain_scratch, shapes, "triton", here.width, 0)
        here, held = replace(here, backend="triton", on_gpu=True, scratch=scratch), {}
    now = Choice(training.batch_size, training.accumulate, config.model.save)

    def of(choice: Choice) -> Need:
        return need(shapes, here, choice, held)

    saves = saves_of((shapes.past_steps, shapes.future_steps)) if here.backend in SAVING else ["all"]
    every = choices(now.windows, saves, windows_a_round(shapes.nodes, torch.get_num_threads()))
    local = 1 if on_gpu else min(flags.ranks_per_host or flags.ranks, flags.ranks)
    room = _room(flags.memory_gib, on_gpu) / local
    timing = timed(config, graph, source.channels, training.batch_size) if flags.calibrate and not on_gpu else None
    return Plan(
        shapes=shapes,
        source=source,
        precision=training.precision,
        backend=here.backend,
        on_gpu=here.on_gpu,
        threads=torch.get_num_threads(),
        ranks=flags.ranks,
        local_ranks=local,
        now=now,
        need=of(now),
        room=None if math.isnan(room) else room,
        best=first_that_fits(every, lambda choice: of(choice).peak, room / MARGIN),
        least=min(every, key=lambda choice: of(choice).peak),
        need_of=of,
        seconds=None if timing is None else timing.step_seconds(now, shapes.steps),
        seconds_of=None if timing is None else lambda choice: timing.step_seconds(choice, shapes.steps),
        epoch=_epoch(config, source, replicas, timing, now, shapes),
        part=part,
        network=NetworkBytes.of(
            shapes,
            flags.ranks,
            flags.bandwidth,
            0 if part is None else part.halo_bytes(shapes, now, here.width, here.backend),
        ),
    )


def _begun_source(source: Source, config: Config, begun: Beginning) -> Source:
    """``source`` with a line about the model that the training would start from.

    Raises:
        UserError: that model does not fit, as far as is known without a reading.
    """
    begun.require_form(planned_form(source, config.data, begun.form.window_format), config)
    left_out = set(ids_to_leave_out(config.data.leave_out))
    begun.require_scales((sensor for sensor in source.ids if sensor not in left_out), config)
    unknown = [what for what, known in (("channels' names", source.names), ("sensors", source.ids)) if not known]
    until = f"; {' and '.join(unknown)} are compared when the series is opened" if unknown else ""
    return replace(source, notes=(*begun.found, f"start: {begun.where} fits{until}", *source.notes))


def _busy_notes() -> list[str]:
    """A line if other programs compute here, beside which no time means much."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores / 2:
        return []
    return [f"look: other work on this machine (load {load:.1f}, {cores} cores): the times below may be far off"]


def _room(memory_gib: float | None, on_gpu: bool) -> float:
    """Bytes of a machine's memory, or of a GPU's; NaN: not known."""
    if memory_gib is not None:
        return memory_gib * 2**30
    if on_gpu:
        return float(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else math.nan
    return available_mib() * MIB + anonymous_bytes()


def _smallest(config: Config) -> Config:
    """A configuration that takes the same way through the program as ``config``, with next to no work."""
    return Config(
        graph=GraphConfig(),
        data=DataConfig(past_steps=2, future_steps=2),
        model=ModelConfig(hidden_units=16, num_layers=1, backend=config.model.backend),
        training=TrainingConfig(precision=config.training.precision, batch_size=1),
    )


def _epoch(
    config: Config, source: Source, replicas: int, timing: Timing | None, now: Choice, shapes: Shapes
) -> dict[str, float]:
    """Windows, steps and seconds of an epoch, as far as they are known."""
    if source.rows is None:
        return {}
    train, validation = window_counts(source.rows, config.data)
    if not train:
        raise UserError(
            f"a series of {source.rows} rows has no window of {config.data.past_steps} + {config.data.future_steps} "
            "steps to train on: give more --rows"
        )
    steps = GlobalBatches(train, now.windows * replicas).num_batches()
    found: dict[str, float] = {"train_windows": train, "validation_windows": validation, "steps": steps}
    if timing is not None:
        share = train / (steps * now.windows * replicas)  # the last batch of an epoch is smaller
        each = timing.fixed + (timing.step_seconds(now, shapes.steps) - timing.fixed) * share
        found["seconds"] = steps * each + timing.forecast_seconds(-(-validation // replicas), shapes.steps)
    return found


if __name__ == "__main__":
    sys.exit(main())
