"""A graph divided among ranks: every node in one part, parts of equal work, few rows that travel."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.operators import diffusion_operators
from dcrnn_fast.graph.partition import partition_graph
from dcrnn_fast.graph.supports import build_supports

WAYS = [
    pytest.param("metis", marks=pytest.mark.skipif(find_spec("pymetis") is None, reason="pymetis is not installed")),
    "contiguous",
]


def ring(nodes):
    """Each node linked to the next one, in one direction."""
    return sp.csr_array((np.ones(nodes), (np.arange(nodes), (np.arange(nodes) + 1) % nodes)), shape=(nodes, nodes))


def several_components():
    """A ring of 30, a clique of 10, 5 isolated nodes, and a self loop that is no link."""
    alone = sp.csr_array(np.diag([1.0, 0, 0, 0, 0]))
    return sp.csr_array(sp.block_diag([ring(30), np.ones((10, 10)), alone], format="csr"))


def hub(nodes):
    """All nodes linked to the first."""
    return sp.csr_array((np.ones(nodes - 1), (np.zeros(nodes - 1, int), np.arange(1, nodes))), shape=(nodes, nodes))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("graph", [ring(40), several_components(), hub(40), sp.csr_array((40, 40))])
@pytest.mark.parametrize("parts", [1, 2, 7, 40])
def test_every_part_has_nodes_and_the_same_ones_again(graph, parts, how):
    partition = partition_graph(graph, parts, how)
    again = partition_graph(graph, parts, how)
    assert (partition.part_N.dtype, partition.how) == (np.int32, how)
    assert sorted(set(partition.part_N.tolist())) == list(range(parts))
    assert (partition.part_N == again.part_N).all()
    assert partition.digest() == again.digest()


@pytest.mark.parametrize("how", WAYS)
def test_a_ring_is_cut_twice_into_halves(how):
    account = partition_graph(ring(400), 2, how).account(diffusion_operators([ring(400)], hops=1))
    assert abs(account.nodes_G - 200).max() <= 4
    assert account.balance < 1.03
    # Along a ring each half reads one row of the other at its end; the transposed operator at its start.
    limit = 1 if how == "metis" else 2
    assert 1 <= account.halo_forward_G.max() <= limit
    assert 1 <= account.halo_backward_G.max() <= limit


@pytest.mark.parametrize("how", WAYS)
def test_work_is_balanced_and_not_the_nodes(how):
    """A clique's rows hold many more entries than those of the isolated nodes beside it."""
    graph = sp.csr_array(sp.block_diag([np.ones((300, 300)), sp.csr_array((3000, 3000))], format="csr"))
    nodes = np.bincount(partition_graph(graph, 2, how).part_N)
    assert nodes.max() > 1.3 * nodes.min()


def test_the_account_counts_rows_and_entries_as_a_plain_search_does():
    graph = several_components()
    operators = diffusion_operators(build_supports(graph, kind="dual_random_walk"), hops=2)
    partition = partition_graph(graph, 3, "contiguous")
    account = partition.account(operators)
    part = partition.part_N
    received, received_t, sent, sent_t = (np.zeros(3, int) for _ in range(4))
    read = sum(abs(operator.toarray()) for operator in operators[1:]) > 0
    for reader in range(3):
        for node in np.flatnonzero(part != reader):
            for rows, received_G, sent_G in ((read, received, sent), (read.T, received_t, sent_t)):
                if rows[part == reader, node].any():
                    received_G[reader] += 1
                    sent_G[part[node]] += 1
    assert account.halo_forward_G.tolist() == received.tolist()
    assert account.halo_backward_G.tolist() == received_t.tolist()
    assert account.sent_forward_G.tolist() == sent.tolist()
    assert account.sent_backward_G.tolist() == sent_t.tolist()
    entries = [sum(int(operator[part == g].nnz) for operator in operators[1:]) for g in range(3)]
    assert account.entries_G.tolist() == entries
    assert account.nodes_G.tolist() == np.bincount(part).tolist()


def test_parts_that_cannot_be_are_refused():
    for parts in (0, 4):
        with pytest.raises(UserError, match=rf"a graph of 3 nodes into {parts} parts: give 1 to 3"):
            partition_graph(ring(3), parts)
    with pytest.raises(UserError, match="partition must be one of auto, metis, contiguous, got 'scotch'"):
        partition_graph(ring(3), 2, "scotch")


def test_without_pymetis_auto_is_contiguous_and_metis_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    assert partition_graph(ring(30), 2, "auto").how == "contiguous"
    with pytest.raises(UserError, match=r"pip install 'dcrnn_fast\[partition\]'"):
        partition_graph(ring(30), 2, "metis")


def test_with_pymetis_auto_is_metis():
    pytest.importorskip("pymetis")
    assert partition_graph(ring(30), 2).how == "metis"
