"""What each part of a divided graph holds, computes and exchanges.

Shape legend: N nodes, G parts, M diffusion terms, B batch, P past steps, F future steps, C input channels, O output
channels, K known channels, H units, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

ENTRIES_PER_ROW = 200
"""the products of a row take about as long as the diffusion by so many entries of the operators"""


@dataclass(frozen=True, eq=False, slots=True)
class PartAccount:
    """Numbers for each part, int64.

    Attributes:
        nodes_G, entries_G: rows, and entries of the operators (and as many of their transposes) without the identity.
        entries_t_G: the entries of the transposed operators.
        halo_forward_G, halo_backward_G: rows that a part receives in a diffusion, and in a transposed one.
        sent_forward_G, sent_backward_G: rows that it sends; a row goes to each part that reads it.
    """

    nodes_G: np.ndarray
    entries_G: np.ndarray
    entries_t_G: np.ndarray
    halo_forward_G: np.ndarray
    halo_backward_G: np.ndarray
    sent_forward_G: np.ndarray
    sent_backward_G: np.ndarray

    @property
    def work(self) -> np.ndarray:
        """(G,) what a step costs a part, in entries of an operator: rows weigh as ``ENTRIES_PER_ROW``."""
        return ENTRIES_PER_ROW * self.nodes_G + (self.entries_G + self.entries_t_G) // 2

    @property
    def balance(self) -> float:
        """The largest part's work over the mean: the ranks of a step wait for the slowest."""
        return float(self.work.max() / self.work.mean())

    def halo_bytes_per_step(
        self,
        *,
        batch: int,
        past_steps: int,
        future_steps: int,
        channels: int,
        output_channels: int,
        units: int,
        layers: int,
        itemsize: int,
        save: str = "all",
        backend: str = "cpu",
        training: bool = True,
        known_channels: int = 0,
    ) -> np.ndarray:
        """(G,) int64: the bytes that each part sends in a training step, or in a forecast, of ``batch`` windows.

        Args:
            itemsize: bytes of a number of the state: 4, or 2 under bf16.
            save: "all", "h" or "segments:K".
            backend: "cpu" or "manual", which exchange at different places.
        """
        forward, backward = _columns_manual, _backward_columns_manual
        if backend == "cpu":
            forward, backward = _columns_cpu, _backward_columns_cpu
        sizes = _Sizes(past_steps, future_steps, channels, output_channels, units, layers, known_channels)
        columns, columns_t = forward(sizes), 0
        if training:
            again, columns_t = backward(sizes, _segment(save, past_steps + future_steps))
            columns += again
        return batch * itemsize * (columns * self.sent_forward_G + columns_t * self.sent_backward_G)


@dataclass(frozen=True, slots=True)
class _Sizes:
    P: int
    F: int
    C: int
    O: int  # noqa: E741
    H: int
    L: int
    K: int

    @property
    def steps(self) -> int:
        """P + F."""
        return self.P + self.F

    @property
    def past(self) -> int:
        """Columns of the encoder's inputs."""
        return self.P * self.C

    @property
    def future(self) -> int:
        """Columns of the decoder's inputs."""
        return self.F * (self.O + self.K)

    @property
    def future_not_zero(self) -> int:
        """The same without its first one, which is zero, unless something is known."""
        return self.future if self.K else max(self.F - 1, 0) * self.O


def _segment(save: str, steps: int) -> int:
    """Steps that are computed again at once, or 0."""
    if save == "all":
        return 0
    return min(1 if save == "h" else int(save.removeprefix("segments:")), steps)


def _columns_cpu(s: _Sizes) -> int:
    """Columns of each row that go forward: inputs, the decoder's zero too; r * h of every cell but the first step's,
    where h is zero; and h of every cell, except where nothing reads its terms.
    """
    return s.past + s.future + s.H * ((s.steps - 1) * s.L + s.steps * s.L - 1)


def _backward_columns_cpu(s: _Sizes, segment: int) -> tuple[int, int]:
    """The same of a backward: those that are diffused forward (inputs, and segments that are computed again), and the
    gradients: of the candidate, u and r; r has none in the first step.
    """
    # A segment of one step is gone back through with the inputs that were loaded to compute it again.
    columns = 0 if segment == 1 else s.past + s.future_not_zero
    for start in range(0, s.steps, segment) if segment else ():
        steps = min(segment, s.steps - start)
        # From its first states, which are diffused again unless they are zero.
        columns += s.H * (s.L if start else -s.L) + s.H * (2 * steps * s.L - 1)
    if segment:
        columns += s.past + s.future
    return columns, s.H * (3 * s.steps * s.L - s.L)


def _columns_manual(s: _Sizes) -> int:
    return s.past + s.future_not_zero + 2 * s.H * s.steps * s.L


def _backward_columns_manual(s: _Sizes, segment: int) -> tuple[int, int]:
    return 0, 3 * s.H * s.steps * s.L


def account_of_parts(part_N: np.ndarray, parts: int, operators: Sequence[Any]) -> PartAccount:
    """What each part holds, for the M operators (N, N), of which the first is the identity."""
    rows = scipy.sparse.csr_array((len(part_N), len(part_N)))
    entries_G, entries_t_G = np.zeros((2, parts), dtype=np.int64)
    for operator in operators[1:]:
        listed = scipy.sparse.coo_array(operator)
        entries_G += np.bincount(part_N[listed.row], minlength=parts)
        entries_t_G += np.bincount(part_N[listed.col], minlength=parts)
        rows = rows + abs(scipy.sparse.csr_array(operator))
    halo_G, sent_G = _halo(part_N, parts, rows)
    halo_t_G, sent_t_G = _halo(part_N, parts, rows.T)
    return PartAccount(
        np.bincount(part_N, minlength=parts).astype(np.int64),
        entries_G,
        entries_t_G,
        halo_G,
        halo_t_G,
        sent_G,
        sent_t_G,
    )


def _halo(part_N: np.ndarray, parts: int, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """(G,) rows that each part receives, and those that it sends: the different (reader's part, node) pairs."""
    listed = scipy.sparse.coo_array(rows)
    reader, owner = part_N[listed.row], part_N[listed.col]
    crossing = reader != owner
    pairs = np.unique(reader[crossing].astype(np.int64) * len(part_N) + listed.col[crossing])
    received = np.bincount(pairs // len(part_N), minlength=parts)
    sent = np.bincount(part_N[pairs % len(part_N)], minlength=parts)
    return received.astype(np.int64), sent.astype(np.int64)
