"""``python -m bench.scaling``: training steps on 1 to R ranks, data-parallel, node-parallel and both, the same batch.

By itself it starts the ranks on this machine, a thread each, pinned. Started once for each task of a job (srun, mpirun,
torchrun; ``slurm/scaling.sbatch``), it measures over the job's nodes, a rank for each task. Every layout is started
once and all take turns, so that a disturbance meets each. The seconds are those of the slowest rank. Gradient bytes are
what a rank gives to the all-reduce; halo bytes are what the rank that sends most sends to its partners. On one machine
a single rank also runs with all the threads: the last line says which layout to use.

``--model RECORD`` measures nothing: it extrapolates a record (see ``bench.scaling_model``).
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.scaling_place import Layout, Place, RankProcess, find_place, layouts_of, start
from bench.scaling_table import table
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.errors import ToldElsewhereError, UserError
from dcrnn_fast.evaluation.plot_format import require_plot_format
from dcrnn_fast.files import require_creatable_folder, write_bytes
from dcrnn_fast.ranks.environment import enter
from dcrnn_fast.ranks.group import join_ranks

_LARGE = 11_160
CITY, METR_LA = "city", "metr-la"


def measure(place: Place, layouts: Sequence[Layout], config: Config, folder: str, flags: argparse.Namespace) -> Any:
    """``rows``: for each layout its turns, or why it cannot run; complete in the process that starts rank 0."""
    rows: list[dict[str, Any]] = [{"layout": asdict(layout), "name": layout.name, "turns": []} for layout in layouts]
    with ExitStack() as stack:
        running: list[tuple[dict[str, Any], list[RankProcess]]] = []
        for layout, port, row in zip(layouts, place.ports, rows, strict=False):
            named = to_task(config, layout, flags.batch_size)
            task = {"config": named, "name": layout.name, "folder": folder, "threads": layout.threads}
            processes = start(stack, place, layout, port, task)
            row |= _first(processes)
            # Every task keeps every row: all of them must wait for each other equally often.
            running.append((row, [] if "why_not" in row else processes))
            place.wait()
        for number in range(1 + flags.rounds):
            for row, processes in running:
                for process in processes:
                    process.ask(flags.steps if number else 1)
                answers = [process.answer() for process in processes]
                if number and answers and answers[0]:  # the first round is for warming up
                    row["turns"].append(answers[0])
                place.wait()
    return rows


def _first(processes: Sequence[RankProcess]) -> dict[str, Any]:
    answers = [process.answer() for process in processes]
    return answers[0] if answers else {}


def to_task(config: Config, layout: Layout, batch: int) -> dict[str, Any]:
    """The configuration of a layout's ranks, as plain values."""
    from dcrnn_fast.config.plain import to_dict

    values = to_dict(config)
    values["training"] |= {"batch_size": batch // layout.replicas, "threads": layout.threads}
    if layout.partners > 1:
        values["training"]["node_parallel"] = layout.partners
    return values


def adjacency_of(flags: argparse.Namespace) -> Any:
    """scipy csr (N, N): the synthetic city's, or METR-LA's."""
    from bench.workload import data_folder, large, metr_la

    return large(flags.nodes).adjacency() if flags.workload == CITY else metr_la(data_folder()).adjacency()


def made_of(folder: Path, flags: argparse.Namespace) -> Config:
    """Writes a graph and a random series of it, the same in every process; the run on them but for the layout.

    Paths are relative to the folder: ranks compare their configurations, and every task has a folder of its own.
    """
    import numpy as np
    import scipy.sparse

    adjacency = adjacency_of(flags)
    scipy.sparse.save_npz(folder / "graph.npz", scipy.sparse.csr_matrix(adjacency))
    rows = 20 * flags.past_steps + 2 * flags.batch_size
    speeds_TN = np.random.default_rng(0).normal(54, 19, (rows, adjacency.shape[0])).clip(1).astype(np.float32)
    np.savez(folder / "series.npz", data=speeds_TN[..., None])
    training = TrainingConfig(precision=flags.precision, device=flags.device, teacher_forcing="off")
    return Config(
        data=DataConfig(
            data="series.npz", missing="none", start="2024-01-01", freq="5min",
            past_steps=flags.past_steps, future_steps=flags.past_steps,
        ),
        graph=GraphConfig(graph="graph.npz", match="position"),
        model=ModelConfig(save=flags.save, backend=flags.backend),
        training=training,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measures; prints the table and writes record and plot where rank 0 is started."""
    flags = _flags(argv)
    try:
        if flags.model is not None:
            from bench.scaling_model import main as extrapolate

            return extrapolate(flags)
        return _measured(flags)
    except ToldElsewhereError as error:
        return error.exit_code
    except UserError as error:
        print(f"bench.scaling: {error}", file=sys.stderr)
        return 2


def _measured(flags: argparse.Namespace) -> int:
    if flags.json is not None:
        require_creatable_folder(flags.json.parent, "the folder of --json")
    if flags.plot is not None:
        require_plot_format(flags.plot)
        require_creatable_folder(flags.plot.parent, "the folder of --plot")
    ranks = join_ranks(300, launch=enter())
    with ranks.reporting_failure():
        place = find_place(ranks, flags.ranks, layouts=256)
        layouts = wanted_layouts(place, flags)
        with tempfile.TemporaryDirectory() as folder:
            config = made_of(Path(folder), flags)
            rows = measure(place, layouts, config, folder, flags)
        ranks.together("measuring", lambda: None)  # through the store: none leaves while a collective is under way
    if 0 not in place.own:
        return 0
    if not any(row["turns"] for row in rows):
        raise UserError(f"no layout can run; {rows[0]['name']}: {rows[0]['why_not']}")
    from bench.machine import circumstances

    workload = {
        "name": flags.workload, "nodes": flags.nodes, "past_steps": flags.past_steps, "batch_size": flags.batch_size,
        "precision": flags.precision, "save": flags.save, "backend": "manual" if flags.backend == "manual" else "cpu",
    }  # fmt: skip
    record = {
        **circumstances(),
        "workload": workload,
        "rounds": flags.rounds,
        "steps_a_turn": flags.steps,
        "rows": rows,
    }
    print(table(record), flush=True)
    if flags.json is not None:
        write_bytes(flags.json, json.dumps(record, indent=1).encode() + b"\n")
    if flags.plot is not None:
        from bench.scaling_chart import draw

        draw(record, flags.plot)
    return 0


def wanted_layouts(place: Place, flags: argparse.Namespace) -> list[Layout]:
    """Those of ``--layouts`` and the yardstick, else all.

    Raises:
        UserError: one of them is not a layout of these ranks and this batch.
    """
    layouts = layouts_of(place.world, flags.threads, flags.batch_size, one_machine=place.one_machine)
    if flags.layouts is None:
        return layouts
    names = [layout.name for layout in layouts]
    if unknown := [name for name in flags.layouts if name not in names]:
        raise UserError(f"--layouts: {unknown[0]!r} is none of {', '.join(map(repr, names))}")
    return [layout for layout in layouts if layout.name in flags.layouts or layout is layouts[0]]


def _flags(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--workload", choices=(METR_LA, CITY), default=CITY)
    add("--nodes", type=int, help=f"sensors of the city (default: {_LARGE})")
    add("--past-steps", type=int, help="and future ones (default: 2 for the city, 12 for metr-la)")
    add("--batch-size", type=int, help="the global one (default: 2 for the city, 64 for metr-la, the record's)")
    add("--ranks", type=int, metavar="R", help="the most (default: all tasks of the job; by itself 2, or the cores)")
    add("--threads", type=int, default=1, help="of a rank (default: %(default)s)")
    add("--layouts", nargs="+", metavar="NAME", help="only these, as the table names them, and one rank")
    add("--precision", default="fp32", help="fp32, bf16, ... (default: %(default)s)")
    add("--save", default="all", help="all, h, segments:K (default: %(default)s)")
    add("--backend", default="auto")
    add("--device", default="cpu", help="auto, cpu or cuda (default: %(default)s)")
    add("--rounds", type=int, default=4, help="turns of each layout (default: %(default)s)")
    add("--steps", type=int, default=3, help="in each turn (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the record")
    add("--plot", type=Path, metavar="FILE", help="draw it (.svg, .png, .pdf)")
    model = parser.add_argument_group("extrapolation")
    model.add_argument("--model", type=Path, metavar="RECORD", help="of this record, to --devices")
    model.add_argument("--devices", type=int, default=128, help="(default: %(default)s)")
    model.add_argument("--window", type=float, help="seconds of a window on another device than the record's")
    model.add_argument("--partners", type=int, default=8, help="most that share a graph (default: %(default)s)")
    model.add_argument("--gbit", type=float, default=100.0, help="of each device's link (default: %(default)s)")
    model.add_argument("--latency", type=float, default=5.0, help="microseconds of a message (default: %(default)s)")
    flags = parser.parse_args(argv)
    for name in ("nodes", "past_steps", "batch_size", "threads", "rounds", "steps", "devices", "ranks", "partners"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(flags, name)}")
    for name in ("window", "gbit"):
        if getattr(flags, name) is not None and not 0 < getattr(flags, name) < math.inf:
            parser.error(f"--{name} must be above 0, got {getattr(flags, name)}")
    if not 0 <= flags.latency < math.inf:
        parser.error(f"--latency must not be negative, got {flags.latency}")
    if flags.workload == METR_LA:
        if flags.nodes is not None:
            parser.error("--nodes is for the city: metr-la has 207 sensors")
        flags.nodes = 207
    flags.nodes = flags.nodes or _LARGE
    flags.past_steps = flags.past_steps or (2 if flags.workload == CITY else 12)
    if flags.model is None:
        flags.batch_size = flags.batch_size or (2 if flags.workload == CITY else 64)
    return flags


if __name__ == "__main__":
    sys.exit(main())
