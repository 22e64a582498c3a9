"""What is measured: a graph, a batch of windows and initial weights, the same for every contestant and every process.

Shape legend: N nodes, P past steps, F future steps, B batch, C input channels (reading, time of day), O = 1 output
channel, H units, M diffusion terms, L layers.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.reference import ReferenceDCRNN, build_reference_supports, sparse_support
from dcrnn_fast.graph import read_pickle

INPUT_CHANNELS = 2
MEAN, STD = 54.40592829587626, 19.493739270573098
"""METR-LA's published scaler, mph"""
MISSING_SHARE = 0.08
METR_LA_NODES, METR_LA_EDGES = 207, 1722
METR_LA_PICKLE = Path("metr_la_graph") / "adj_mx.pkl"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training step; everything random comes from ``seed``."""

    name: str
    nodes: int
    edges: int
    batch_size: int
    past_steps: int
    future_steps: int
    hidden_units: int
    num_layers: int
    hops: int
    graph: str | None = None
    """adjacency pickle; None: a synthetic directed graph of this many nodes and edges"""
    seed: int = 0

    @property
    def num_terms(self) -> int:
        """M, of two supports."""
        return 1 + 2 * self.hops

    @property
    def gflop(self) -> float:
        """Matrix products of forward and backward: 3 x 2 B N rows 3H for each cell and step. Diffusion is left out."""
        cells = 0
        for inputs, steps in ((INPUT_CHANNELS, self.past_steps), (1, self.future_steps)):
            for layer in range(self.num_layers):
                rows = ((self.hidden_units if layer else inputs) + self.hidden_units) * self.num_terms
                cells += steps * rows
        return 3 * 2 * self.batch_size * self.nodes * cells * 3 * self.hidden_units / 1e9

    def adjacency(self) -> NDArray[np.float64]:
        """(N, N), directed, with self loops."""
        if self.graph is not None:
            dense: NDArray[np.float64] = read_pickle(self.graph).adjacency.toarray()
            return dense
        return synthetic_adjacency(self.nodes, self.edges, self.seed)

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
        supports = build_reference_supports(self.adjacency(), "dual_random_walk")
        return ReferenceDCRNN(
            [sparse_support(support) for support in supports],
            num_nodes=self.nodes,
            input_channels=INPUT_CHANNELS,
            output_channels=1,
            future_steps=self.future_steps,
            hidden_units=self.hidden_units,
            num_layers=self.num_layers,
            hops=self.hops,
        )


def metr_la(batch_size: int = 64, data: Path | None = None) -> Workload:
    """The published METR-LA training step, on the real graph where ``data`` holds it."""
    pickle = None if data is None else data / METR_LA_PICKLE
    real = pickle is not None and pickle.is_file()
    return Workload(
        name="metr_la" if real else "metr_la_synthetic_graph",
        nodes=METR_LA_NODES,
        edges=METR_LA_EDGES,
        batch_size=batch_size,
        past_steps=12,
        future_steps=12,
        hidden_units=64,
        num_layers=2,
        hops=2,
        graph=str(pickle) if real else None,
    )


def _small(
    name: str, *, nodes: int, edges: int, batch_size: int, steps: tuple[int, int], units: int, layers: int, hops: int
) -> Workload:
    return Workload(
        name=name,
        nodes=nodes,
        edges=edges,
        batch_size=batch_size,
        past_steps=steps[0],
        future_steps=steps[1],
        hidden_units=units,
        num_layers=layers,
        hops=hops,
    )


SMALL = {
    workload.name: workload
    for workload in (
        _small("tiny", nodes=12, edges=40, batch_size=2, steps=(3, 3), units=8, layers=2, hops=2),
        _small("nothing_divides_a_tile", nodes=33, edges=150, batch_size=3, steps=(5, 2), units=31, layers=1, hops=3),
        _small("metr_la_one_window", nodes=207, edges=1722, batch_size=1, steps=(12, 12), units=64, layers=2, hops=2),
    )
}
"""named shapes that take a fraction of a second"""


def data_folder() -> Path | None:
    """DCRNN_FAST_DATA, the folder that holds ``metr_la_graph``; None where it is not set."""
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
