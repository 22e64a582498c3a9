"""What the ranks of a test of divided graphs run; called by name in processes of the rank server.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, G ranks.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.cases import Case, Seq2SeqInputs, make_seq2seq, make_terms
from bench.shapes import CORNERS, KNOWN
from bench.workload import METR_LA_PICKLE, PEMS_BAY_PICKLE, Workload
from dcrnn_fast.graph import read_pickle
from dcrnn_fast.graph.operators import diffusion_operators
from dcrnn_fast.graph.partition import Partition, partition_graph
from dcrnn_fast.graph.recursion import diffusion_recursion
from dcrnn_fast.graph.supports import build_supports
from dcrnn_fast.kernels import DiffusionTerms, dcgru_sequence, diffusion_conv
from dcrnn_fast.kernels.halo import Partners, partition_terms
from dcrnn_fast.ranks.group import Ranks, join_ranks
from dcrnn_fast.ranks.partners import GroupPartners
from tests.kernels.operators import run


@contextmanager
def partners_of_all() -> Iterator[tuple[Ranks, GroupPartners]]:
    """All ranks share one graph."""
    torch.set_num_threads(1)
    ranks = join_ranks(60)
    with ranks.reporting_failure():
        ranks.connect(torch.device("cpu"), 60)
        yield ranks, GroupPartners(ranks, range(ranks.world), torch.distributed.group.WORLD)


def far(got: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest value wanted."""
    if not wanted.numel():
        return 0.0
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(1e-30))


class Divided:
    """One rank's part of a graph, and the comparison of what it computes with the complete graph's."""

    def __init__(self, ranks: Ranks, partners: Partners, terms: DiffusionTerms, part_N: np.ndarray) -> None:
        self.ranks, self.terms = ranks, terms
        self.own = torch.from_numpy(np.flatnonzero(part_N == partners.rank))
        self.part = partition_terms(terms, part_N, partners)

    def gradients(self, leaves: list[Tensor], result: Tensor, nodes: Tensor | slice) -> list[Tensor]:
        """Of the leaves, for a weighted sum of the result (.., N, C) of these nodes."""
        for leaf in leaves:
            leaf.grad = None
        N = self.terms.num_nodes
        shape = (*result.shape[:-2], N, result.shape[-1])
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (result.double() * weight[..., nodes, :]).sum().backward()
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.clone() for leaf in leaves]

    def compare(self, what: str, leaves: list[Tensor], call: Any, bounds: tuple[float, float]) -> None:
        """``call(terms, nodes)`` on the part against the complete graph: its rows, and gradients summed over ranks."""
        whole = call(self.terms, slice(None))
        wanted = self.gradients(leaves, whole, slice(None))
        part = call(self.part, self.own)
        got = self.gradients(leaves, part, self.own)
        errors = [far(part, whole[..., self.own, :])]
        for gradient, one in zip(got, wanted, strict=True):
            summed = gradient.double()
            self.ranks.sum_(summed, "testing")
            errors.append(far(summed, one))
        assert errors[0] <= bounds[0], (what, errors)
        assert max(errors[1:]) <= bounds[1], (what, errors)
        # Or a test of nothing.
        assert all(gradient.abs().max() > 0 for gradient in wanted if gradient.numel()), what


BOUNDS = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-12, 1e-12), torch.bfloat16: (0.05, 0.1)}


def seq2seq_call(inputs: Seq2SeqInputs, backend: str, save: str) -> Any:
    """The encoder-decoder of some nodes."""

    def call(terms: DiffusionTerms, nodes: Tensor | slice) -> Tensor:
        some = Seq2SeqInputs(
            inputs.x_BPNC[:, :, nodes],
            inputs.encoder,
            inputs.decoder,
            inputs.projection_weight_OH,
            inputs.projection_bias_O,
            inputs.labels_BFNO[:, :, nodes],
            inputs.feed_label_F,
            None if inputs.known_BFNK is None else inputs.known_BFNK[:, :, nodes],
        )
        return run(some, terms, backend, save=save)

    return call


def operators_agree(*names: str) -> None:
    """Every operator, dtype and way to save, on small graphs whose nodes are dealt out one by one."""
    with partners_of_all() as (ranks, partners):
        for name, case in (CORNERS | KNOWN).items():
            if names and name not in names:
                continue
            part_N = np.arange(case.N) % ranks.world
            if ranks.world > case.N:
                continue
            for dtype, bounds in BOUNDS.items():
                divided = Divided(ranks, partners, make_terms(case, dtype), part_N)
                inputs = make_seq2seq(case).to(dtype)
                for backend, save in (("manual", "all"), ("cpu", "all"), ("cpu", "h"), ("cpu", "segments:2")):
                    what = f"{name} {dtype} {backend} {save}"
                    call = seq2seq_call(inputs, backend, save)
                    leaves = inputs.differentiable
                    divided.compare(what, [leaf for leaf in leaves if _reached(leaf, inputs, case)], call, bounds)
                for backend in ("manual", "cpu") if name in CORNERS else ():
                    _others_agree(f"{name} {dtype} {backend}", divided, inputs, case, backend, bounds)


def _reached(leaf: Tensor, inputs: Seq2SeqInputs, case: Case) -> bool:
    """Whether a gradient arrives at all."""
    return leaf is not inputs.labels_BFNO or case.F > 1


def _others_agree(
    what: str, divided: Divided, inputs: Seq2SeqInputs, case: Case, backend: str, bounds: tuple[float, float]
) -> None:
    x_BPNC, cells = inputs.x_BPNC, inputs.encoder
    initial = torch.randn(case.L, case.B, case.N, case.H, generator=torch.Generator().manual_seed(3)).to(x_BPNC.dtype)
    initial.requires_grad_()

    def states(terms: DiffusionTerms, nodes: Tensor | slice) -> Tensor:
        all_states, last = dcgru_sequence(x_BPNC[:, :, nodes], terms, cells, initial[:, :, nodes], backend=backend)
        return torch.cat([all_states.flatten(0, 1), last.flatten(0, 1)])

    divided.compare(f"states {what}", [x_BPNC, initial, *(t for cell in cells for t in cell)], states, bounds)
    weight = inputs.encoder[0].gate_weight[: case.C * case.M]
    weight = weight.detach().clone().requires_grad_()

    def convolved(terms: DiffusionTerms, nodes: Tensor | slice) -> Tensor:
        return diffusion_conv(x_BPNC[:, 0, nodes], terms, weight, backend=backend)

    divided.compare(f"convolution {what}", [x_BPNC, weight], convolved, bounds)


def _graph(name: str, folder: str) -> Any:
    """The adjacency of a public graph, or of a part of the synthetic city."""
    if name.isdigit():
        return Workload(name="part", nodes=int(name), batch_size=1, graph="city").adjacency()
    return read_pickle(Path(folder) / (METR_LA_PICKLE if name == "metr_la" else PEMS_BAY_PICKLE)).adjacency


def graphs_agree(name: str, folder: str, how: str, known_channels: str = "0") -> None:
    """The encoder-decoder on a large graph, by its recursion too, in every way to save; and the bytes that travel."""
    with partners_of_all() as (ranks, partners):
        adjacency = _graph(name, folder)
        N = adjacency.shape[0]
        case = Case(B=2 if N > 1000 else 3, P=3, F=3, N=N, C=2, O=1, H=16, L=2, M=5, density=0.0, K=int(known_channels))
        supports = build_supports(adjacency, kind="dual_random_walk")
        operators = diffusion_operators(supports, hops=2)
        recursion = diffusion_recursion(supports, hops=2, recursion="released")
        partition = partition_graph(adjacency, ranks.world, how)
        inputs = make_seq2seq(case).to(torch.float32)
        inputs.x_BPNC.data[inputs.x_BPNC > 1.5] = 0  # missing readings
        terms = DiffusionTerms.from_operators(operators, recursion=recursion)
        divided = Divided(ranks, partners, terms, partition.part_N)
        if N > 1000:
            assert divided.part.recursion, "a large graph takes the steps"
        for backend, save in (("cpu", "all"), ("cpu", "h"), ("cpu", "segments:2"), ("manual", "all")):
            before = partners.bytes_sent
            divided.compare(
                f"{name} {backend} {save}", inputs.differentiable, seq2seq_call(inputs, backend, save), (1e-5, 1e-4)
            )
            counted = partners.bytes_sent - before
            assert counted == planned(partition, operators, case, backend, save)[ranks.rank], (backend, save)


def planned(partition: Partition, operators: list[Any], case: Case, backend: str, save: str) -> np.ndarray:
    """Bytes that each part sends in a step."""
    return partition.account(operators).halo_bytes_per_step(
        batch=case.B,
        past_steps=case.P,
        future_steps=case.F,
        channels=case.C,
        output_channels=case.O,
        units=case.H,
        layers=case.L,
        itemsize=4,
        save=save,
        backend=backend,
        known_channels=case.K,
    )


def a_partner_fails(backend: str) -> None:
    """The second rank fails while the first computes: both end with its words."""
    # Its server sends SIGTERM as soon as one has ended; a command that trains prints before it obeys.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with partners_of_all() as (ranks, partners):
        case = CORNERS["sparse_product"]
        inputs = make_seq2seq(case).to(torch.float32)
        divided = Divided(ranks, partners, make_terms(case, torch.float32), np.arange(case.N) % ranks.world)
        if ranks.rank == 1:
            raise ValueError("no more nodes today")
        seq2seq_call(inputs, backend, "all")(divided.part, divided.own)
