"""Workloads: a graph, a batch of windows and initial weights, the same for every contestant and every process.

Shape legend: N nodes, P past steps, F future steps, B batch, C input channels (reading, time of day), O = 1 output
channel, H units, M diffusion terms, L layers.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.reference import ReferenceDCRNN, dual_random_walk, sparse_support
from dcrnn_fast.data.city_roads import build_roads, kernel_graph
from dcrnn_fast.graph import read_pickle

INPUT_CHANNELS = 2
MEAN, STD = 54.40592829587626, 19.493739270573098
"""METR-LA's published scaler, mph"""
MISSING_SHARE = 0.08
METR_LA_NODES, METR_LA_EDGES = 207, 1722
METR_LA_PICKLE = Path("metr_la_graph") / "adj_mx.pkl"
PEMS_BAY_NODES, PEMS_BAY_EDGES = 325, 2694
PEMS_BAY_PICKLE = Path("pems_bay_graph") / "adj_mx_bay.pkl"
LARGE_NODES = 11_160
"""sensors of the largest public traffic data"""
CITY = "city"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training step, or one forecast; everything random comes from ``seed``."""

    name: str
    nodes: int
    batch_size: int
    edges: int | None = None
    """of a synthetic graph; None: the graph's own"""
    past_steps: int = 12
    future_steps: int = 12
    hidden_units: int = 64
    num_layers: int = 2
    hops: int = 2
    training: bool = True
    """forward and backward; False: a forecast, forward only"""
    graph: str | None = None
    """adjacency pickle, or "city" (the synthetic city); None: points in a square, ``nodes`` and ``edges`` of them"""
    seed: int = 0

    @property
    def num_terms(self) -> int:
        """M, of two supports."""
        return 1 + 2 * self.hops

    @property
    def gflop(self) -> float:
        """Matrix products: 2 B N rows 3H for each cell and step, three times that with a backward. No diffusion."""
        cells = 0
        for inputs, steps in ((INPUT_CHANNELS, self.past_steps), (1, self.future_steps)):
            for layer in range(self.num_layers):
                rows = ((self.hidden_units if layer else inputs) + self.hidden_units) * self.num_terms
                cells += steps * rows
        products = 3 if self.training else 1
        return products * 2 * self.batch_size * self.nodes * cells * 3 * self.hidden_units / 1e9

    def describe(self) -> dict[str, Any]:
        """For the record; of the graph's path, which differs between machines, only the name."""
        shown = replace(self, graph=None if self.graph is None else Path(self.graph).name)
        return {**asdict(shown), "gflop": self.gflop}

    def adjacency(self) -> Any:
        """scipy csr (N, N) float64, directed, with self loops."""
        if self.graph == CITY:
            roads = build_roads(self.nodes, np.random.default_rng([self.seed, self.nodes]))
            return scipy.sparse.csr_array(kernel_graph(roads).adjacency)
        if self.graph is not None:
            return scipy.sparse.csr_array(read_pickle(self.graph).adjacency)
        assert self.edges is not None
        return scipy.sparse.csr_array(synthetic_adjacency(self.nodes, self.edges, self.seed))

    def batch(self) -> tuple[Tensor, Tensor]:
        """x_BPNC (scaled readings and time of day) and y_BFNO (original units, 0 where missing), float32."""
        generator = np.random.default_rng(self.seed + 1)
        B, steps, N = self.batch_size, self.past_steps + self.future_steps, self.nodes
        drift_BSN = generator.normal(0, 0.2, (B, steps, N)).cumsum(axis=1)
        scaled_BSN = (generator.normal(0, 1, (B, 1, N)) + drift_BSN).astype(np.float32)
        start_B = generator.integers(0, 288, B)
        day_BP = ((start_B[:, None] + np.arange(self.past_steps)) % 288 / 288).astype(np.float32)
        reading_BPN = scaled_BSN[:, : self.past_steps]
        x_BPNC = np.stack([reading_BPN, np.broadcast_to(day_BP[:, :, None], reading_BPN.shape)], axis=-1)
        y_BFN = scaled_BSN[:, self.past_steps :] * np.float32(STD) + np.float32(MEAN)
        y_BFN[generator.random(y_BFN.shape) < MISSING_SHARE] = 0
        return torch.from_numpy(np.ascontiguousarray(x_BPNC)), torch.from_numpy(y_BFN[..., None])

    def reference(self) -> ReferenceDCRNN:
        """The yardstick with its initial weights; the other contestants take their weights from it."""
        torch.manual_seed(self.seed)
        return ReferenceDCRNN(
            [sparse_support(support) for support in dual_random_walk(self.adjacency())],
            num_nodes=self.nodes,
            input_channels=INPUT_CHANNELS,
            output_channels=1,
            future_steps=self.future_steps,
            hidden_units=self.hidden_units,
            num_layers=self.num_layers,
            hops=self.hops,
        )


def metr_la(data: Path | None = None, *, batch_size: int = 64, training: bool = True) -> Workload:
    """The published METR-LA training step (or forecast), on the real graph if ``data`` holds it."""
    step = _published("metr_la", data, METR_LA_PICKLE, METR_LA_NODES, METR_LA_EDGES, batch_size)
    return step if training else replace(step, name=f"{step.name}_forecast", training=False)


def pems_bay(data: Path | None = None, *, batch_size: int = 64) -> Workload:
    """The published PEMS-BAY training step, on the real graph if ``data`` holds it."""
    return _published("pems_bay", data, PEMS_BAY_PICKLE, PEMS_BAY_NODES, PEMS_BAY_EDGES, batch_size)


def _published(name: str, data: Path | None, pickle: Path, nodes: int, edges: int, batch_size: int) -> Workload:
    graph = None if data is None or not (data / pickle).is_file() else str(data / pickle)
    name = f"{name}_synthetic_graph" if graph is None else name
    return Workload(name=name, nodes=nodes, edges=edges, batch_size=batch_size, graph=graph)


def large(nodes: int = LARGE_NODES, *, batch_size: int = 2) -> Workload:
    """A training step on the synthetic city with as many sensors as the largest public data, 2 + 2 steps."""
    return Workload(name=f"city_{nodes}", nodes=nodes, batch_size=batch_size, past_steps=2, future_steps=2, graph=CITY)


HEADLINE: dict[str, Callable[[Path | None], Workload]] = {
    "metr-la": metr_la,
    "pems-bay": pems_bay,
    "large": lambda _: large(),
    "inference": lambda data: metr_la(data, batch_size=1, training=False),
}
"""the workloads of ``bench.compare --workload``, given the folder of the data"""

QUICK: dict[str, Workload] = {
    "metr-la": Workload(
        name="tiny", nodes=12, edges=40, batch_size=2, past_steps=3, future_steps=3, hidden_units=8
    ),
    "pems-bay": Workload(
        name="nothing_divides_a_tile", nodes=33, edges=150, batch_size=3, past_steps=5, future_steps=2,
        hidden_units=31, num_layers=1, hops=3,
    ),
    "large": replace(large(300), hidden_units=16),
    "inference": Workload(
        name="tiny_forecast", nodes=12, edges=40, batch_size=1, past_steps=3, future_steps=3, hidden_units=8,
        training=False,
    ),
}  # fmt: skip
"""the same, of a size that takes no time"""


def data_folder() -> Path | None:
    """DCRNN_FAST_DATA, the folder that holds ``metr_la_graph`` and ``pems_bay_graph``; None if it is not set."""
    named = os.environ.get("DCRNN_FAST_DATA")
    return Path(named) if named else None


def synthetic_adjacency(nodes: int, edges: int, seed: int) -> NDArray[np.float64]:
    """Points in a square, a self loop each, and the shortest directed links until there are ``edges`` of them."""
    generator = np.random.default_rng(seed)
    point_N2 = generator.random((nodes, 2))
    # A link there and a link back differ in length, as on roads, so that the graph is not symmetric.
    detour_NN = generator.uniform(1.0, 1.5, (nodes, nodes))
    distance_NN = np.hypot(*(point_N2[:, None] - point_N2[None]).transpose(2, 0, 1)) * detour_NN
    np.fill_diagonal(distance_NN, 0.0)
    limit = np.partition(distance_NN.ravel(), edges - 1)[edges - 1]
    return np.where(distance_NN <= limit, np.exp(-((distance_NN / (1.5 * limit)) ** 2)), 0.0)
