"""The cost of a training step on a GPU, by count: launches, saved bytes, gathered rows; and a model of its time.

    TRITON_INTERPRET=1 python -m bench.gpu_counts --json OUT --page PAGE
    TRITON_INTERPRET=1 python -m bench.gpu_counts --save h

No GPU takes part. The reference and the fused step are traced, forward and backward, without clipping, optimiser and
loss: PyTorch's operators by a dispatch mode that also looks inside this package's operators, Triton's launches where
they go to Triton, which does not run them. Times are a model of launches, bytes and flops, and are labelled as one.

Shape legend: N nodes, B batch, P past steps, F future steps, S = P + F, L layers, H units, M diffusion terms.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.freeways import freeway_adjacency
from bench.machine import commit
from bench.workload import INPUT_CHANNELS, Workload, data_folder, large, metr_la, pems_bay
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.files import write_bytes
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.gpu.available import interpreted
from dcrnn_fast.kernels.gpu.launch import Launch, observed
from dcrnn_fast.kernels.gpu.plan import make_plan
from dcrnn_fast.kernels.gpu.words import override, read_words
from dcrnn_fast.model import DCRNN

LAUNCHES_WANTED, BYTES_WANTED = 400, 25 * 1024
ROWS_WANTED = {"metr-la": 5.0, "pems-bay": 5.5, "freeways": 3.0}
# At most this many windows are traced; the counts of a row do not depend on it. The large graphs need 6 for the
# plan that they have with more; with many more they have more launches, because weights' gradients are summed over
# stretches of steps that fit a workspace.
BATCH = {"metr-la": 64, "pems-bay": 64, "freeways": 6, "city": 6}
# Operators that launch nothing.
_EMPTY = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "is_same_size"}
# Those that launch only if they copy: inside an operator of ours, the dispatch mode sees ``to``, ``contiguous`` and
# their like undivided.
_VIEWS = {
    "view", "_unsafe_view", "reshape", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "slice", "select",
    "split", "split_with_sizes", "unbind", "detach", "alias", "as_strided", "_reshape_alias", "to", "contiguous", "mT",
    "movedim", "narrow", "chunk",
}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """Data sheet numbers: dense tensor-core flops in bf16, bytes from memory; and the cost of a launch in a graph."""

    name: str
    bf16_flops: float
    bytes_per_second: float
    seconds_per_launch: float


GPUS = (Gpu("A100 80 GB", 312e12, 2.04e12, 2.0e-6), Gpu("H100 SXM", 989e12, 3.35e12, 1.5e-6))
# Shares of the data sheet that fused kernels of this kind reach elsewhere. A guess, and the model's weakest part.
REACHED_FLOPS, REACHED_BYTES = 0.35, 0.7


@dataclass(frozen=True)
class Counts:
    """One step of one contestant.

    Attributes:
        operators: every operator of PyTorch, views included, and every launch of Triton.
        launches: those that start a kernel.
        casts: of these, autocast's of weights, inputs and gradients; the reference, in float32, has none.
        saved_bytes_per_row: kept between forward and backward for each (node, batch) row, parameters left out.
        moved_bytes_per_row: of each launch, all its tensors once.
    """

    operators: int
    launches: int
    casts: int
    saved_bytes_per_row: float
    moved_bytes_per_row: float


class OperatorCounter(TorchDispatchMode):
    """Operators, those that launch a kernel by name, and their tensors' bytes; inside this package's operators too."""

    def __init__(self) -> None:
        super().__init__()
        self.operators, self.moved = 0, 0
        self.launches: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "dcrnn_fast":
            with self:
                return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)
        name = func.overloadpacket.__name__
        self.operators += 1
        results = func(*args, **kwargs)
        if name in _EMPTY or (name in _VIEWS and not _is_new(results, args)):
            return results
        self.launches[name] += 1
        self.moved += _bytes((args, kwargs, results))
        return results


def _is_new(results: Any, args: Any) -> bool:
    def storages(tree: Any) -> set[int]:
        return {tensor.untyped_storage().data_ptr() for tensor in _dense_tensors(tree)}

    return not storages(results) <= storages(args)


def _bytes(tree: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _dense_tensors(tree))


def _dense_tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]


def count(step: Callable[[], Tensor], rows: int, parameters: list[Tensor]) -> Counts:
    """Traces ``step`` (forward, returning the prediction) and its backward."""
    triton: list[int] = []

    def see(launch: Launch) -> bool:
        triton.append(_bytes(launch.arguments))
        return False

    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and tensor.untyped_storage().data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with observed(lambda _: False):  # the first call also makes the tensors that are kept with a graph
        torch.autograd.grad(step().sum(), parameters, allow_unused=True)
    with observed(see), OperatorCounter() as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            prediction = step()
        torch.autograd.grad(prediction, parameters, torch.ones_like(prediction), allow_unused=True)
    return Counts(
        counter.operators + len(triton),
        counter.launches.total() + len(triton),
        # Inside an operator of ours a conversion is still a ``to``.
        counter.launches["_to_copy"],
        sum(kept.values()) / rows,
        (counter.moved + sum(triton)) / rows,
    )


def reference_counts(workload: Workload) -> Counts:
    """The eager reference in float32; its operators do not depend on the batch, so a small one is traced."""
    workload = replace(workload, batch_size=16)
    model = workload.reference()
    x_BPNC, _ = workload.batch()
    x_PBNC = x_BPNC.transpose(0, 1)
    return count(lambda: model(x_PBNC), workload.nodes * workload.batch_size, list(model.parameters()))


@dataclass(frozen=True)
class Fused:
    """The fused step on one workload, in bf16."""

    workload: str
    nodes: int
    batch_size: int
    plan: str
    counts: Counts
    gathered_rows_per_node: float
    gflop: float

    def misses(self) -> list[str]:
        """The counts that are over their limits."""
        launches = self.counts.launches - self.counts.casts
        found = {
            f"{launches} launches without casts > {LAUNCHES_WANTED}": launches > LAUNCHES_WANTED,
            f"{self.counts.saved_bytes_per_row:.0f} bytes > {BYTES_WANTED}": self.counts.saved_bytes_per_row
            > BYTES_WANTED,
        }
        if self.workload in ROWS_WANTED:
            wanted = ROWS_WANTED[self.workload]
            found[f"{self.gathered_rows_per_node:.2f} rows > {wanted}"] = self.gathered_rows_per_node > wanted
        return [what for what, missed in found.items() if missed]

    def milliseconds(self, gpu: Gpu) -> tuple[float, float, float]:
        """The model: products at a share of the data sheet's flops, memory at a share of its bytes, launches."""
        rows = self.nodes * self.batch_size
        return (
            1e3 * self.gflop * 1e9 / (REACHED_FLOPS * gpu.bf16_flops),
            1e3 * rows * self.counts.moved_bytes_per_row / (REACHED_BYTES * gpu.bytes_per_second),
            1e3 * self.counts.launches * gpu.seconds_per_launch,
        )


def fused_counts(name: str, workload: Workload, adjacency: Any, save: str) -> Fused:
    """``backend=triton`` under bf16 autocast."""
    graph = SensorGraph(adjacency, tuple(str(n) for n in range(workload.nodes)), None)
    terms = DiffusionTerms.from_operators(graph_operators(graph, GraphConfig()))
    model = DCRNN(
        terms, input_channels=INPUT_CHANNELS, output_channels=1, future_steps=workload.future_steps,
        hidden_units=workload.hidden_units, num_layers=workload.num_layers, backend="triton", save=save,
    )  # fmt: skip
    x_BPNC, _ = workload.batch()

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            prediction: Tensor = model(x_BPNC)
        return prediction

    counts = count(step, workload.nodes * workload.batch_size, list(model.parameters()))
    plan = make_plan(
        terms, torch.bfloat16, workload.batch_size, INPUT_CHANNELS, workload.hidden_units, read_words(override())
    )
    tiles = plan.graph.forward.tiles
    rows = tiles.gathered_rows / workload.nodes if tiles is not None else float(terms.value.shape[0]) / workload.nodes
    words = f"{plan.graph.diffusion}, {plan.product}, {'hoist' if plan.hoist else 'inline'}"
    words += "" if save == "all" else f", save={save}"
    return Fused(name, workload.nodes, workload.batch_size, words, counts, rows, workload.gflop)


def page(reference: Counts, fused: list[Fused]) -> str:
    """The page for a reader: counts, then the model."""
    lines = [
        "# GPU step by count, and a model of its time",
        "",
        "Made by `TRITON_INTERPRET=1 python -m bench.gpu_counts`. **Nothing here was run on a GPU.** Counted: forward",
        "and backward of one training step, 12 + 12 steps, two layers of 64 units, K = 2, without clipping, optimiser",
        "and loss; bf16 for the fused step, float32 for the reference. Operators include views, launches do not; casts",
        "are autocast's, of weights, inputs and gradients.",
        "`freeways`: 11,160 detectors along lines, made up, as dense as California's; `city`: the synthetic city, both",
        f"with {BATCH['freeways']} windows: with more, weights' gradients are summed over shorter stretches of steps,",
        "in more launches.",
        "",
        "| | nodes | plan | operators | launches | of them casts | bytes saved a row | rows loaded a node |",
        "|---|---|---|---|---|---|---|---|",
        f"| eager reference, METR-LA | 207 | – | {reference.operators:,} | {reference.launches:,} | – | "
        f"{reference.saved_bytes_per_row:,.0f} | – |",
    ]
    for one in fused:
        lines.append(
            f"| `triton`, {one.workload} | {one.nodes:,} | {one.plan} | {one.counts.operators:,} | "
            f"{one.counts.launches:,} | {one.counts.casts} | {one.counts.saved_bytes_per_row:,.0f} | "
            f"{one.gathered_rows_per_node:.2f} |"
        )
    lines += [
        "",
        "A row is one node of one window; rows loaded are those of one diffusion over all its terms.",
        "",
        "## The model",
        "",
        f"Products at {REACHED_FLOPS:.0%} of the data sheet's bf16 flops, memory at {REACHED_BYTES:.0%} of its bytes",
        "(every launch moves each of its tensors once), launches at their cost inside a CUDA graph; a step takes the",
        "larger of the first two plus the third. The shares are guesses. These are predictions, to be replaced by",
        "measurements. METR-LA's step was measured on an H100: 8.4 ms in bf16 as a CUDA graph",
        "([gpu-status.md](gpu-status.md#on-an-h100)), 1.6 times the model's.",
        "",
        "| model, not measured | batch | GPU | products ms | memory ms | launches ms | step ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in fused:
        for gpu in GPUS:
            products, memory, launches = one.milliseconds(gpu)
            lines.append(
                f"| {one.workload} | {one.batch_size} | {gpu.name} | {products:.2f} | {memory:.2f} | {launches:.2f} | "
                f"{max(products, memory) + launches:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command: 1 if a count is over its limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_counts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the counts here")
    parser.add_argument("--page", type=Path, help="write the page for readers here")
    parser.add_argument("--save", default="all", help="all, h or segments:K; the limits are for all")
    options = parser.parse_args(argv)
    if not interpreted():
        parser.error("set TRITON_INTERPRET=1: the kernels are traced on CPU tensors")
    data = data_folder()
    city = replace(large(batch_size=BATCH["city"]), past_steps=12, future_steps=12)
    workloads = {
        "metr-la": metr_la(data, batch_size=BATCH["metr-la"]),
        "pems-bay": pems_bay(data, batch_size=BATCH["pems-bay"]),
        "freeways": replace(city, name="freeways", batch_size=BATCH["freeways"]),
        "city": city,
    }
    reference = reference_counts(workloads["metr-la"])
    fused = [
        fused_counts(
            name if workload.graph or name == "freeways" else f"{name}, made-up graph",
            workload,
            freeway_adjacency(workload.nodes) if name == "freeways" else workload.adjacency(),
            options.save,
        )
        for name, workload in workloads.items()
    ]
    text = page(reference, fused)
    print(text)
    if options.json is not None:
        record = {"commit": commit(), "reference": asdict(reference), "fused": [asdict(one) for one in fused]}
        write_bytes(options.json, (json.dumps(record, indent=2) + "\n").encode())
    if options.page is not None:
        write_bytes(options.page, text.encode())
    missed = [f"{one.workload}: {what}" for one in fused for what in one.misses() if options.save == "all"]
    for line in missed:
        print(f"over its limit: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
