"""``python -m bench.ranks``: a training step of two ranks beside that of one, the same global batch, one thread a rank.

All are started once and take turns, so that a disturbance meets each: one rank; two ranks; two ranks without each other
(half the batch each, no communication), which is the most that this machine's two cores could give; and with ``--link``
two ranks on two hosts (network namespaces, root) joined by a cable of that rate. A step is a real one: windows,
forward, backward, adding up gradients, update. Communication is the time inside all-reduce, waiting for the other rank
included.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import circumstances
from bench.workload import METR_LA_EDGES, METR_LA_NODES, METR_LA_PICKLE, data_folder, synthetic_adjacency
from dcrnn_fast.files import write_bytes

_ROOT = Path(__file__).resolve().parent.parent
_TWO_HOSTS = _ROOT / "tests" / "cluster" / "two_hosts.sh"
_STEPS = 300
"""rows of the series: 24 hours, more than a batch of windows"""
_FIRST_HOST = "10.78.0.1"


class _Ranks:
    """The processes of one contestant, each with a pipe."""

    def __init__(self, stack: ExitStack, name: str, tasks: Sequence[dict[str, Any]], inside: Sequence[int]) -> None:
        self.name = name
        cores = sorted(os.sched_getaffinity(0))[-len(tasks) :]
        self._processes = []
        for number, task in enumerate(tasks):
            enter = ["nsenter", "-t", str(inside[number]), "-n"] if inside else []
            words = [*enter, sys.executable, "-m", "bench.ranks", "--rank", json.dumps(task | {"core": cores[number]})]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **task["environment"]}
            if inside:
                environment["GLOO_SOCKET_IFNAME"] = "eth0"
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(words, cwd=_ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload]
            self._processes.append(process)
            stack.callback(_end, process)
        self._answers()

    def turn(self, steps: int) -> dict[str, float]:
        """Seconds a step of the slowest rank, and its part inside all-reduce."""
        for process in self._processes:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        answers = self._answers()
        slowest = max(answers, key=lambda answer: float(answer["seconds"]))
        return {name: slowest[name] / steps for name in ("seconds", "communication")}

    def _answers(self) -> list[dict[str, float]]:
        answers = []
        for process in self._processes:
            for line in process.stdout:
                if line.startswith("{"):
                    answers.append(json.loads(line))
                    break
            else:
                raise SystemExit(f"bench.ranks: {self.name} ended with code {process.wait()}; see above")
        return answers


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _task(
    source: dict[str, str], batch: int, world: int, rank: int, port: int, host: str = "127.0.0.1"
) -> dict[str, Any]:
    launched = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world}
    launched |= {"MASTER_ADDR": host, "MASTER_PORT": port}
    return {"source": source, "batch": batch, "environment": {name: str(value) for name, value in launched.items()}}


def _rank(task: dict[str, Any]) -> int:
    """One rank: takes as many steps as each line of its input says, and answers with their seconds."""
    os.sched_setaffinity(0, {task["core"]})
    import torch
    import torch.distributed as dist

    from dcrnn_fast.config.data import DataConfig, GraphConfig
    from dcrnn_fast.config.sections import Config, OutputConfig
    from dcrnn_fast.config.training import TrainingConfig
    from dcrnn_fast.ranks.group import join_ranks
    from dcrnn_fast.ranks.stopping import StopRequest
    from dcrnn_fast.training.start import open_run
    from dcrnn_fast.training.step import EagerStep

    source = task["source"]
    config = Config(
        data=DataConfig(data=source["data"], missing="none", start="2024-01-01", freq="5min"),
        graph=GraphConfig(graph=source["graph"]),
        training=TrainingConfig(batch_size=task["batch"], threads=1, teacher_forcing="off"),
        output=OutputConfig(results=str(Path(source["data"]).parent / "results")),
    )
    run, _ = open_run(config, join_ranks(300))
    torch.set_num_threads(1)
    stepper, stop, all_reduce, inside = EagerStep(run), StopRequest(), dist.all_reduce, 0.0

    def timed(*arguments: Any, **named: Any) -> Any:
        nonlocal inside
        began = time.perf_counter()
        try:
            return all_reduce(*arguments, **named)
        finally:
            inside += time.perf_counter() - began

    dist.all_reduce = timed
    step = 0
    print(json.dumps({"seconds": 0.0}), flush=True)
    run.model.train()
    for line in sys.stdin:
        inside, began = 0.0, time.perf_counter()
        for _ in range(int(line)):
            batch = next(iter(run.batches.epoch(step)))
            stepper.take(batch, step, 1e-3, stop)
            step += 1
        print(json.dumps({"seconds": time.perf_counter() - began, "communication": inside}), flush=True)
    return 0


def _source(folder: Path) -> dict[str, str]:
    """A random series of 207 sensors, and METR-LA's published graph, or one with as many links."""
    ids = [f"s{number}" for number in range(METR_LA_NODES)]
    if (given := data_folder()) is None:
        adjacency_NN = synthetic_adjacency(METR_LA_NODES, METR_LA_EDGES, 0)
    else:
        from dcrnn_fast.graph import read_pickle

        adjacency_NN = read_pickle(given / METR_LA_PICKLE).adjacency.toarray()
    np.savez(folder / "graph.npz", adjacency=adjacency_NN, ids=ids)
    speeds_TN = np.random.default_rng(0).normal(54, 19, (_STEPS, len(ids))).clip(1)
    np.savetxt(folder / "series.csv", speeds_TN, fmt="%.3f", delimiter=",", header=",".join(ids), comments="")
    return {"data": str(folder / "series.csv"), "graph": str(folder / "graph.npz")}


@contextmanager
def _two_hosts(rate: str) -> Iterator[list[int]]:
    """Processes in the networks of two hosts whose cable carries ``rate``."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as state:
        try:
            subprocess.run(["bash", _TWO_HOSTS, state, "up", _ROOT, os.path.realpath(sys.prefix)], check=True)
            pids = [int(Path(state, f"{host}.pid").read_text()) for host in ("a", "b")]
            for pid in pids:
                limit = [
                    "tc",
                    "qdisc",
                    "add",
                    "dev",
                    "eth0",
                    "root",
                    "tbf",
                    "rate",
                    rate,
                    "burst",
                    "32kb",
                    "latency",
                    "50ms",
                ]
                subprocess.run(["nsenter", "-t", str(pid), "-n", *limit], check=True)
            yield pids
        finally:
            subprocess.run(["bash", _TWO_HOSTS, state, "down"], check=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def measure(rounds: int, steps: int, batch: int, link: str | None) -> dict[str, Any]:
    """The record: seconds a step and its part inside all-reduce, of each contestant, turn by turn."""
    half = batch // 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = _source(Path(folder))
        port = _free_port()
        contestants = [
            _Ranks(stack, "1 rank", [_task(source, batch, 1, 0, 0)], ()),
            _Ranks(stack, "2 ranks", [_task(source, half, 2, rank, port) for rank in range(2)], ()),
            _Ranks(stack, "2 ranks without each other", [_task(source, half, 1, 0, 0) for _ in range(2)], ()),
        ]
        if link is not None:
            hosts = stack.enter_context(_two_hosts(link))
            tasks = [_task(source, half, 2, rank, 29_400, _FIRST_HOST) for rank in range(2)]
            contestants.append(_Ranks(stack, f"2 ranks, 2 hosts, {link}", tasks, hosts))
        for contestant in contestants:
            contestant.turn(1)  # warm-up
        turns = [[contestant.turn(steps) for contestant in contestants] for _ in range(rounds)]
    rows = {one.name: [turn[number] for turn in turns] for number, one in enumerate(contestants)}
    return {"global_batch": batch, "steps_a_turn": steps, "siblings": _siblings(), "rows": rows} | circumstances()


def _siblings() -> str:
    """Which of the used processors are threads of one core."""
    cores = sorted(os.sched_getaffinity(0))[-2:]
    lists = {
        Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip() for core in cores
    }
    return "two threads of one core" if len(lists) == 1 else "what the system calls two cores"


def table(record: dict[str, Any]) -> str:
    """The record for a reader: the best turn of each, and medians."""
    first = next(iter(record["rows"].values()))
    lines = [
        f"METR-LA's graph, {METR_LA_NODES} sensors, 12+12 steps, global batch {record['global_batch']}; one thread a "
        f"rank, on {record['siblings']}; {len(first)} turns of {record['steps_a_turn']} steps",
        "",
        f"{'':<30}{'best s':>10}{'median s':>10}{'speed-up':>10}{'median':>9}{'in all-reduce':>15}",
    ]
    for name, turns in record["rows"].items():
        best, median = (of([turn["seconds"] for turn in turns]) for of in (min, statistics.median))
        best_1, median_1 = (of([turn["seconds"] for turn in first]) for of in (min, statistics.median))
        share = statistics.median(turn["communication"] / turn["seconds"] for turn in turns)
        lines.append(
            f"{name:<30}{best:>10.3f}{median:>10.3f}{best_1 / best:>10.2f}{median_1 / median:>9.2f}{share:>14.1%}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, and writes the record if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="in each turn")
    parser.add_argument("--batch", type=int, default=64, help="the global one")
    parser.add_argument("--link", help="also on two hosts whose cable carries this, such as 100mbit; takes root")
    parser.add_argument("--record", type=Path, help="a JSON file")
    parser.add_argument("--rank", type=json.loads, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.rank is not None:
        return _rank(flags.rank)
    record = measure(flags.rounds, flags.steps, flags.batch, flags.link)
    print(table(record))
    if flags.record is not None:
        write_bytes(flags.record, json.dumps(record, indent=1).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
