"""A model of more devices than were measured: from a record of ``bench.scaling``, counted bytes and a stated network.

    step = window * (B / D) * work / G  +  2 (n - 1) / n * g / rate + 2 (n - 1) * latency  +  h / rate + e * latency

n = D * G devices, D replicas of G partners; ``window``: measured seconds of one window on one device; g: bytes of the
gradient, counted; ``work``: the largest part's over the mean, times what sharing was measured to cost beside waiting;
h: the bytes that the part which sends most sends to its partners in a step; e: its exchanges. Nothing is hidden behind
anything, every device has a link of its own, and a device is one rank as it was measured. It does not know of slower
ranks, shared links or the reading of data.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.scaling_table import best_of, slowest
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted


@dataclass(frozen=True, slots=True)
class Network:
    """Bytes a second of a device's link in each direction, and seconds that a message takes beside its bytes."""

    rate: float
    latency: float


@dataclass(frozen=True, slots=True)
class Part:
    """What sharing a graph among G partners costs in one step of one window, per partner.

    ``work``: of the largest part over the mean, times what sharing costs; ``halo_bytes``: of the part that sends most;
    ``exchanges``: in a step of any number of windows.
    """

    partners: int
    work: float
    halo_bytes: float
    exchanges: float


_WHOLE = Part(1, 1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds of a step on ``devices``, in parts."""

    devices: int
    partners: int
    compute: float
    all_reduce: float
    halo: float

    @property
    def seconds(self) -> float:
        """In all."""
        return self.compute + self.all_reduce + self.halo


def predict(
    window: float, batch: int, gradient_bytes: float, replicas: int, part: Part, network: Network
) -> Prediction:
    """The module's formula; ``batch``: the global one, in windows, a multiple of ``replicas``."""
    devices, windows = replicas * part.partners, batch // replicas
    ring = 2 * (devices - 1)
    return Prediction(
        devices,
        part.partners,
        window * windows * part.work / part.partners,
        ring / devices * gradient_bytes / network.rate + ring * network.latency,
        windows * part.halo_bytes / network.rate + part.exchanges * network.latency,
    )


def parts_of(record: dict[str, Any], most: int) -> list[Part]:
    """Of the workload's graph, in 1, 2, 4, ... ``most`` parts."""
    from bench.scaling import adjacency_of
    from dcrnn_fast.config.data import GraphConfig
    from dcrnn_fast.graph.operators import graph_operators
    from dcrnn_fast.graph.partition import partition_graph
    from dcrnn_fast.graph.sensor_graph import SensorGraph

    work = record["workload"]
    adjacency = adjacency_of(argparse.Namespace(workload=work["name"], nodes=work["nodes"]))
    graph = SensorGraph(adjacency, tuple(map(str, range(adjacency.shape[0]))))
    operators = graph_operators(graph, GraphConfig())
    exchanges, cost = _exchanges(record), sharing_cost(record["rows"])
    found = [_WHOLE]
    partners = 2
    while partners <= most:
        account = partition_graph(adjacency, partners).account(operators)
        sent = account.halo_bytes_per_step(
            batch=1, past_steps=work["past_steps"], future_steps=work["past_steps"], channels=1, output_channels=1,
            units=64, layers=2, itemsize=2 if work["precision"] == "bf16" else 4, save=work["save"],
            backend=work["backend"],
        )  # fmt: skip
        found.append(Part(partners, cost * account.balance, float(sent.max()), exchanges))
        partners *= 2
    return found


def sharing_cost(rows: Sequence[dict[str, Any]]) -> float:
    """Processor time of partners over that of one rank: measured, without all-reduce and waiting; 1 if not measured."""

    found = 1.0
    for row in rows:
        layout = row["layout"]
        if row["turns"] and layout["replicas"] == 1 and layout["partners"] > 1:
            turn = min(map(slowest, row["turns"]), key=lambda turn: turn["seconds"])
            busy = turn["seconds"] - turn["all_reduce_seconds"] - turn["halo_seconds"]
            found = max(1.0, layout["partners"] * busy / best_of(rows[0]))
    return found


def _exchanges(record: dict[str, Any]) -> float:
    """Of a rank in a step, counted where partners were measured; else two for each cell and step forward, two back."""
    found = [turn["exchanges"][0] for row in record["rows"] for turn in row["turns"][-1:]]
    return float(max(found, default=0)) or 2 * record["workload"]["past_steps"] * 2 * 4


def device_counts(most: int) -> list[int]:
    """1, and ``most`` by fours down."""
    counts = {1}
    while most > 1:
        counts.add(most)
        most //= 4
    return sorted(counts)


def table(predictions: Sequence[Prediction]) -> str:
    """For a page; the first one is the yardstick."""
    lines = [
        "| devices (a model, not measured) | replicas × partners | compute, s | all-reduce, ms | halo, ms | step, s | "
        "speed-up | of the ideal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in predictions:
        times = predictions[0].seconds / one.seconds
        lines.append(
            f"| {one.devices} | {one.devices // one.partners} × {one.partners} | "
            f"{one.compute:.3f} | {1000 * one.all_reduce:.2f} | {1000 * one.halo:.1f} | {one.seconds:.3f} | "
            f"{times:.1f} | {times / one.devices:.0%} |"
        )
    return "\n".join(lines)


def read_record(path: Path) -> dict[str, Any]:
    """What ``--json`` wrote.

    Raises:
        UserError: there is no such file, or it is something else.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"--model {path}: {error.strerror}") from error
    except ValueError as error:  # no JSON, or not UTF-8
        raise UserError(f"--model {path}: no record that bench.scaling --json wrote ({error})") from error
    known = isinstance(record, dict) and {"rows", "workload", "machine"} <= record.keys()
    if not known or not record["rows"] or "layout" not in record["rows"][0]:
        raise UserError(f"--model {path}: no record that bench.scaling --json wrote")
    return cast("dict[str, Any]", record)


def main(flags: argparse.Namespace) -> int:
    """Prints the stated numbers and the table for ``--model RECORD``."""

    record = read_record(flags.model)
    rows, work = record["rows"], record["workload"]
    if not rows[0]["turns"]:
        raise UserError(f"{flags.model}: no step of one rank was measured, of which --model knows what a device takes")
    window = flags.window or best_of(rows[0]) / work["batch_size"]
    threads = counted(rows[0]["layout"]["threads"], "thread")
    device = "stated" if flags.window else f"measured, {record['machine']['cpu']}, {threads}"
    gradient = max((max(turn["gradient_bytes"]) for row in rows for turn in row["turns"]), default=0.0)
    network = Network(flags.gbit * 1e9 / 8, flags.latency * 1e-6)
    batch = flags.batch_size or work["batch_size"]
    parts = [_WHOLE] if flags.partners == 1 else parts_of(record, flags.partners)
    predictions = [
        predict(window, batch, gradient, devices // part.partners, part, network)
        for devices in device_counts(flags.devices)
        for part in parts
        if devices % part.partners == 0 and batch % (devices // part.partners) == 0
    ]
    print(
        f"{work['nodes']} nodes, {work['past_steps']}+{work['past_steps']} steps, {work['precision']}, global batch "
        f"{batch}; a window on one device ({device}): {1000 * window:.3g} ms; gradient (counted): {gradient / 1e6:.2f} "
        f"MB; network (stated): {flags.gbit:g} Gbit/s and {flags.latency:g} microseconds a message\n"
    )
    print(table(predictions))
    return 0


if __name__ == "__main__":
    sys.exit("use python -m bench.scaling --model RECORD")
