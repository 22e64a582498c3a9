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
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcrnn_fast.config.sections import Config, DataConfig, GraphConfig, ModelConfig, TrainingConfig
from dcrnn_fast.errors import ToldElsewhereError, UserError
from dcrnn_fast.evaluation.plot_format import require_plot_format
from dcrnn_fast.files import require_creatable_folder, write_bytes
from dcrnn_fast.ranks.environment import enter
from dcrnn_fast.ranks.group import Ranks, join_ranks

_ROOT = Path(__file__).resolve().parent.parent
_LARGE = 11_160
CITY, METR_LA = "city", "metr-la"


@dataclass(frozen=True, slots=True)
class Layout:
    """``replicas`` share the batch, ``partners`` share the graph of each; ``threads`` of a rank."""

    replicas: int
    partners: int
    threads: int

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.replicas * self.partners

    @property
    def name(self) -> str:
        """For the table."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        if self.ranks == 1:
            return f"1 rank{threads}"
        if self.partners == 1:
            return f"{self.ranks} data-parallel{threads}"
        if self.replicas == 1:
            return f"{self.ranks} node-parallel{threads}"
        return f"{self.replicas} x {self.partners} node-parallel{threads}"


def layouts_of(most: int, threads: int, batch: int, *, one_machine: bool) -> list[Layout]:
    """All layouts of 1, 2, 4, ... ``most`` ranks whose replicas divide the batch; the first is the yardstick."""
    counts = sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})
    found = [
        Layout(count // partners, partners, threads)
        for count in counts
        for partners in range(1, count + 1)
        if count % partners == 0 and batch % (count // partners) == 0
    ]
    if one_machine and most > 1:
        found.insert(1, Layout(1, 1, threads * most))
    return found


class RankProcess:
    """A rank of a layout: answers each number of steps with a JSON object."""

    def __init__(self, stack: ExitStack, words: Sequence[str], environment: dict[str, str]) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(words, cwd=_ROOT, env=environment, **pipes)
        stack.callback(self.close)

    def ask(self, steps: int) -> None:
        """Begins so many steps."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            UserError: the process ended; its message is on stderr.
        """
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise UserError(f"a rank ended with code {self._process.wait()}; see above")

    def close(self) -> None:
        """Ends it, and waits."""
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process measures.

    Attributes:
        own: the ranks that it starts; world: all of them; local_world: of them on its machine.
        host: rank 0's machine; ports: a free one of it for each layout, the same in all processes.
        wait: waits for the other processes that measure.
    """

    own: Sequence[int]
    world: int
    local_world: int
    host: str
    ports: Sequence[int]
    wait: Callable[[], object]

    @property
    def one_machine(self) -> bool:
        """This process starts all ranks."""
        return len(self.own) == self.world


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def find_place(ranks: Ranks, wanted: int | None, layouts: int) -> Place:
    """By the launcher if there are several tasks, else on this machine."""
    if ranks.world == 1:
        most = wanted or min(2, len(os.sched_getaffinity(0)))
        return Place(range(most), most, most, "127.0.0.1", free_ports(layouts), lambda: None)
    import torch

    ranks.connect(torch.device("cpu"), 600)
    ports = json.loads(bytes(ranks.from_first(json.dumps(free_ports(layouts)).encode())))
    most = min(wanted or ranks.world, ranks.world)
    host = os.environ["MASTER_ADDR"]
    return Place([ranks.rank], most, ranks.local_world, host, ports, lambda: ranks.sum_integers(0))


def start(stack: ExitStack, place: Place, layout: Layout, port: int, task: dict[str, Any]) -> list[RankProcess]:
    """This process's ranks of a layout."""
    processes = []
    threads = str(layout.threads)
    for rank in place.own:
        if rank >= layout.ranks:
            continue
        local = {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": layout.ranks} if place.one_machine else {}
        launched = {"RANK": rank, "WORLD_SIZE": layout.ranks, "MASTER_ADDR": place.host, "MASTER_PORT": port, **local}
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "TORCHELASTIC"))
        }
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment |= {name: str(value) for name, value in launched.items()}
        usable, wanted = sorted(os.sched_getaffinity(0)), layout.ranks * layout.threads
        cores: list[int] = []
        if place.one_machine and wanted <= len(usable):
            cores = usable[len(usable) - wanted :][rank * layout.threads : (rank + 1) * layout.threads]
        words = [sys.executable, "-m", "bench.scaling_rank", json.dumps({**task, "cores": cores})]
        processes.append(RankProcess(stack, words, environment))
    return processes


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


def table(record: dict[str, Any]) -> str:
    """The record for a reader."""
    work = record["workload"]
    lines = [
        f"{work['name']}: {work['nodes']} nodes, {work['past_steps']}+{work['past_steps']} steps, global batch "
        f"{work['batch_size']}, {work['precision']}, save {work['save']}; {record['rounds']} turns of "
        f"{record['steps_a_turn']} steps",
        "",
        f"{'ranks':<30}{'best s':>9}{'median s':>10}{'speed-up':>10}{'all-reduce':>12}{'halo wait':>11}"
        f"{'gradient MB':>13}{'halo MB':>9}",
    ]
    first = next(row for row in record["rows"] if row["turns"])
    for row in record["rows"]:
        if not row["turns"]:
            lines.append(f"{row['name']:<30} cannot run: {row.get('why_not', 'no turn')}")
            continue
        other = "" if row["backend"] == first["backend"] else f" ({row['backend']})"
        of_turn = [slowest(turn) for turn in row["turns"]]
        best = min(turn["seconds"] for turn in of_turn)
        median = statistics.median(turn["seconds"] for turn in of_turn)
        reduce, halo = (
            statistics.median(turn[name] / turn["seconds"] for turn in of_turn)
            for name in ("all_reduce_seconds", "halo_seconds")
        )
        gradient, sent = (max(row["turns"][-1][name]) / 1e6 for name in ("gradient_bytes", "halo_bytes"))
        lines.append(
            f"{row['name'] + other:<30}{best:>9.3f}{median:>10.3f}{best_of(first) / best:>10.2f}{reduce:>11.1%}"
            f"{halo:>11.1%}{gradient:>13.2f}{sent:>9.2f}"
        )
    return "\n".join([*lines, *advice(record["rows"])])


def slowest(turn: dict[str, list[float]]) -> dict[str, float]:
    """The numbers of the rank that took longest."""
    rank = max(range(len(turn["seconds"])), key=lambda number: turn["seconds"][number])
    return {name: values[rank] for name, values in turn.items()}


def best_of(row: dict[str, Any]) -> float:
    """Seconds of the best turn's slowest rank."""
    return min(slowest(turn)["seconds"] for turn in row["turns"])


def advice(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Of the layouts that use the most threads in all, the fastest."""
    measured = [row for row in rows if row["turns"]]
    used = {
        row["name"]: row["layout"]["replicas"] * row["layout"]["partners"] * row["layout"]["threads"]
        for row in measured
    }
    rivals = [row for row in measured if used[row["name"]] == max(used.values())]
    if len(rivals) < 2:
        return []
    ranked = sorted(rivals, key=best_of)
    others = ", ".join(f"{row['name']} {best_of(row) / best_of(ranked[0]):.2f} times as long" for row in ranked[1:])
    return ["", f"with {max(used.values())} threads in all, use: {ranked[0]['name']} ({others})"]


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
