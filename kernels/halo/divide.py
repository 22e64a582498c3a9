"""One rank's terms of a divided graph. Every rank knows the complete graph, so that all make the same plan unasked.

Shape legend: N nodes of the complete graph, M diffusion terms, E stored entries, G parts.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcrnn_fast.kernels.halo.exchange import Halo, Route, halo_of
from dcrnn_fast.kernels.halo.partners import Absent, Partners
from dcrnn_fast.kernels.halo.recursion import PartOfRecursion
from dcrnn_fast.kernels.terms import DiffusionTerms


def partition_terms(terms: DiffusionTerms, part_N: np.ndarray, partners: Partners) -> DiffusionTerms:
    """This rank's part of the terms, with which every operator is collective over the partners.

    Args:
        terms: of the complete graph, on the CPU.
        part_N: each node's part, 0 to G-1; partner g computes part g.

    Returns:
        Terms of the own nodes, in ascending order of their numbers in the complete graph, with ``halo``.

    Raises:
        ValueError: ``part_N`` does not fit the graph and the partners, a part has no node, or the terms are a part
            already.
    """
    part_N = np.asarray(part_N)
    _require(terms, part_N, partners)
    nodes = _Nodes(part_N, partners.rank)
    tensors: list[Tensor] = []
    recursion: list[Tensor] = []
    routes = []
    for direction in (0, 1):
        stack = _Stack.of(terms.tensors[3 * direction : 3 * direction + 3], terms.num_nodes)
        travels = _Travels.of(stack, nodes)
        own_part = travels.own_part(stack, nodes)
        panel_rows = nodes.own + len(travels.received)
        if terms.recursion:
            whole = terms.recursion[4 * direction : 4 * direction + 4]
            part = PartOfRecursion(whole, terms.num_terms, nodes.mine, travels.received, terms.num_nodes)
            usable = part.usable and part.gains(own_part[1].shape[0], nodes.own, terms.num_terms)
            panel_rows = part.panel_rows if usable else panel_rows
            recursion += part.tensors() if usable else _no_steps(panel_rows, stack.value_E.dtype)
        tensors += own_part
        routes.append(travels.route(nodes, partners.size, panel_rows))
    if not any(steps.shape[0] for steps in recursion[::4]):
        recursion = []
    most = int(np.bincount(part_N, minlength=partners.size).max())
    halo = Halo(partners, routes[0], routes[1], most)
    return DiffusionTerms.from_tensors([*tensors, *recursion, halo.register()], nodes.own, terms.num_terms)


def without_partners(terms: DiffusionTerms) -> DiffusionTerms:
    """The same part of a graph, with which operators wait for nobody: rows of the others' nodes are zeros.

    Raises:
        ValueError: the terms are a complete graph's, or of another process.
    """
    if terms.halo is None:
        raise ValueError("without_partners: these terms are a complete graph's")
    halo = halo_of(terms.halo)
    return terms._replace(halo=replace(halo, partners=Absent(halo.partners.rank, halo.partners.size)).register())


def _no_steps(panel_rows: int, dtype: torch.dtype) -> list[Tensor]:
    integers = torch.zeros(0, dtype=torch.int32)
    return [integers.view(0, 5), torch.zeros(panel_rows + 1, dtype=torch.int32), integers, torch.zeros(0, dtype=dtype)]


def _require(terms: DiffusionTerms, part_N: np.ndarray, partners: Partners) -> None:
    if terms.halo is not None:
        raise ValueError("partition_terms: these terms are a part of a graph already")
    if part_N.shape != (terms.num_nodes,) or not np.issubdtype(part_N.dtype, np.integer):
        raise ValueError(
            f"partition_terms: part_N must be integers ({terms.num_nodes},), got {part_N.dtype} {part_N.shape}"
        )
    nodes_G = np.bincount(part_N, minlength=partners.size) if part_N.min() >= 0 else np.zeros(0)
    if len(nodes_G) != partners.size or not nodes_G.all():
        raise ValueError(
            f"partition_terms: parts must be 0 to {partners.size - 1}, each with a node, got {np.unique(part_N)[:9]}"
        )


class _Nodes:
    """Which nodes are this rank's, and their local numbers."""

    def __init__(self, part_N: np.ndarray, rank: int) -> None:
        self.part_N, self.rank = part_N, rank
        self.mine = np.flatnonzero(part_N == rank)
        self.own = len(self.mine)
        self.local_N = np.full(len(part_N), -1, dtype=np.int64)
        self.local_N[self.mine] = np.arange(self.own)


class _Stack(NamedTuple):
    """Entries of M-1 operators: (operator, row, column, value)."""

    operator_E: np.ndarray
    row_E: np.ndarray
    column_E: np.ndarray
    value_E: Tensor
    operators: int

    @classmethod
    def of(cls, tensors: list[Tensor], num_nodes: int) -> "_Stack":
        row_start, column, value = tensors
        starts = row_start.numpy()
        stacked_E = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        operators = (len(starts) - 1) // num_nodes
        return cls(stacked_E // num_nodes, stacked_E % num_nodes, column.numpy().astype(np.int64), value, operators)


class _Travels(NamedTuple):
    """Global numbers of the nodes whose rows this rank sends, and receives, in the order in which they travel."""

    sent: np.ndarray
    sent_to: np.ndarray
    received: np.ndarray
    received_from: np.ndarray

    @classmethod
    def of(cls, stack: _Stack, nodes: _Nodes) -> "_Travels":
        N = len(nodes.part_N)
        reader_E, owner_E = nodes.part_N[stack.row_E], nodes.part_N[stack.column_E]
        crossing = reader_E != owner_E
        pairs = np.unique(reader_E[crossing].astype(np.int64) * N + stack.column_E[crossing])
        reader, node = pairs // N, pairs % N
        owner = nodes.part_N[node]
        sent, received = owner == nodes.rank, reader == nodes.rank
        # By partner, then by number: pairs are in the readers' order already.
        order = np.argsort(owner[received], kind="stable")
        return cls(node[sent], reader[sent], node[received][order], owner[received][order])

    def route(self, nodes: _Nodes, size: int, panel_rows: int) -> Route:
        return Route(
            panel_rows,
            torch.from_numpy(nodes.local_N[self.sent]),
            np.bincount(self.sent_to, minlength=size).tolist(),
            np.bincount(self.received_from, minlength=size).tolist(),
        )

    def own_part(self, stack: _Stack, nodes: _Nodes) -> list[Tensor]:
        """row_start, column, value of the own rows."""
        local_N = nodes.local_N.copy()
        local_N[self.received] = nodes.own + np.arange(len(self.received))
        mine = np.flatnonzero(nodes.part_N[stack.row_E] == nodes.rank)
        row = stack.operator_E[mine] * nodes.own + nodes.local_N[stack.row_E[mine]]
        column = local_N[stack.column_E[mine]]
        order = np.lexsort((column, row))
        starts = np.zeros(stack.operators * nodes.own + 1, dtype=np.int32)
        starts[1:] = np.cumsum(np.bincount(row, minlength=stack.operators * nodes.own))
        return [
            torch.from_numpy(starts),
            torch.from_numpy(column[order].astype(np.int32)),
            stack.value_E[torch.from_numpy(mine[order])],
        ]
