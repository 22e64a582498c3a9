"""A graph divided among ranks: every operator computes what it computes of the complete graph.

The ranks are processes that exchange rows over gloo (``halo_programs.py``); the plans of all ranks are compared here.
"""

import copy
import re

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.cases import make_operators, make_seq2seq, make_terms
from bench.shapes import CORNERS
from dcrnn_fast.graph.operators import diffusion_operators
from dcrnn_fast.graph.recursion import diffusion_recursion
from dcrnn_fast.graph.supports import build_supports
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.explain import explanation
from dcrnn_fast.kernels.halo import partition_terms
from dcrnn_fast.kernels.halo.exchange import halo_of
from dcrnn_fast.model import DCRNN
from dcrnn_fast.ranks.failure import Meeting
from dcrnn_fast.ranks.partners import GroupPartners
from tests.kernels.compiled import require_library
from tests.kernels.operators import run

CASE = CORNERS["sparse_product"]


def unconnected(rank, size):
    """Enough to make a plan."""
    return GroupPartners(Meeting(rank=rank, world=size), range(size), None)


def parts(terms, part_N, size):
    return [partition_terms(terms, part_N, unconnected(rank, size)) for rank in range(size)]


def city_terms(nodes=120):
    """A directed ring with chords, whose terms a recursion makes with fewer entries."""
    generator = np.random.default_rng(0)
    adjacency = np.zeros((nodes, nodes))
    for step in (1, 2, 5, 17):
        adjacency[np.arange(nodes), (np.arange(nodes) + step) % nodes] = generator.uniform(0.2, 1, nodes)
    supports = build_supports(adjacency, kind="dual_random_walk")
    operators = diffusion_operators(supports, hops=2)
    recursion = diffusion_recursion(supports, hops=2, recursion="released")
    return DiffusionTerms.from_operators(operators, torch.float64, recursion=recursion), operators


@pytest.mark.parametrize("transposed", [False, True])
def test_the_parts_rows_are_the_graphs_and_what_one_sends_the_other_expects(transposed):
    operators = make_operators(CASE)
    part_N = np.random.default_rng(1).integers(0, 3, CASE.N)
    of_all = parts(make_terms(CASE, torch.float64), part_N, 3)
    routes = [halo_of(part.halo).route(transposed=transposed) for part in of_all]
    mine = [np.flatnonzero(part_N == rank) for rank in range(3)]
    sent = [
        [mine[rank][rows.numpy()] for rows in route.sent_row.split(route.sent)] for rank, route in enumerate(routes)
    ]
    for rank, part in enumerate(of_all):
        columns = np.concatenate([mine[rank], *(sent[partner][rank] for partner in range(3))])
        assert [len(sent[partner][rank]) for partner in range(3)] == routes[rank].received
        first = 3 if transposed else 0
        row_start, column, value = (tensor.numpy() for tensor in part.tensors[first : first + 3])
        local = sp.csr_array((value, column, row_start), shape=(4 * len(mine[rank]), len(columns))).toarray()
        for m, operator in enumerate(operators[1:]):
            wanted = (operator.T if transposed else operator).toarray()[mine[rank]]
            got = np.zeros_like(wanted)
            got[:, columns] = local[m * len(mine[rank]) : (m + 1) * len(mine[rank])]
            assert (got == wanted).all()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_parts_recursion_makes_the_rows_of_the_parts_operators(transposed):
    terms, operators = city_terms()
    assert terms.recursion
    part_N = np.arange(120) * 2 // 120
    x_NR = np.random.default_rng(2).normal(size=(120, 3))
    first = 4 if transposed else 0
    for rank, part in enumerate(parts(terms, part_N, 2)):
        assert part.recursion[first].shape[0] > 0, "the part takes the steps"
        route = halo_of(part.halo).route(transposed=transposed)
        other = parts(terms, part_N, 2)[1 - rank]
        arrives = halo_of(other.halo).route(transposed=transposed).sent_row.numpy()
        panels = {0: np.full((route.panel_rows, 3), 1e9)}  # rows that do not travel hold anything
        own = np.flatnonzero(part_N == rank)
        panels[0][:60], panels[0][60 : 60 + len(arrives)] = x_NR[own], x_NR[part_N != rank][arrives]
        steps, row_start, column, value = (tensor.numpy() for tensor in part.recursion[first : first + 4])
        rows = route.panel_rows
        stacked = sp.csr_array((value, column, row_start), shape=(len(row_start) - 1, rows)).toarray()
        for support, source, minus, scale, target in steps.tolist():
            panels[target] = scale * stacked[support * rows : (support + 1) * rows] @ panels[source]
            panels[target] -= 0 if minus < 0 else panels[minus]
        for m, operator in enumerate(operators[1:], start=1):
            wanted = ((operator.T if transposed else operator) @ x_NR)[own]
            assert np.abs(panels[m][:60] - wanted).max() < 1e-12


def test_parts_that_do_not_fit_are_refused():
    terms, partners = make_terms(CASE, torch.float32), unconnected(0, 2)
    halves = np.arange(CASE.N) % 2
    for part_N, words in (
        (halves[1:], rf"part_N must be integers \({CASE.N},\), got int64 \({CASE.N - 1},\)"),
        (halves * 1.0, "part_N must be integers"),
        (halves * 0, "parts must be 0 to 1, each with a node"),
        (halves + 1, "parts must be 0 to 1"),
        (halves - 1, "parts must be 0 to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            partition_terms(terms, part_N, partners)
    part = partition_terms(terms, halves, partners)
    with pytest.raises(ValueError, match="a part of a graph already"):
        partition_terms(part, halves[: part.num_nodes], partners)


def test_the_halo_stays_with_a_model_that_moves_or_is_copied():
    part = partition_terms(make_terms(CASE, torch.float32), np.arange(CASE.N) % 2, unconnected(0, 2))
    model = DCRNN(part, input_channels=1, output_channels=1, future_steps=1, hidden_units=4)
    for one in (model, copy.deepcopy(model), copy.deepcopy(model).to(torch.float64)):
        terms = one.diffusion.terms()
        assert halo_of(terms.halo) is halo_of(part.halo)
        assert (terms.num_nodes, terms.halo.dtype) == (part.num_nodes, torch.int64)
    assert not any("halo" in name for name in model.state_dict())


def half():
    """One of two parts, and inputs of its nodes."""
    part = partition_terms(make_terms(CASE, torch.float32), np.arange(CASE.N) % 2, unconnected(0, 2))
    inputs = make_seq2seq(CASE).to(torch.float32)
    inputs.x_BPNC.data, inputs.labels_BFNO.data = inputs.x_BPNC.data[:, :, ::2], inputs.labels_BFNO.data[:, :, ::2]
    return part, inputs


def test_a_halo_of_another_process_is_refused():
    part, inputs = half()
    part.halo[0] += 10**6
    for backend in ("manual", "cpu"):
        if backend == "cpu":
            require_library()
        with pytest.raises(ValueError, match="halo is of another process: divide the graph again"):
            run(inputs, part, backend)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        (1, 1, "the largest part has fewer nodes"),
        (2, 10**6, "too short"),
        (3, 1, "lack room for received rows"),
        (4, -1, "a number of rows is out of range"),
        (5, 0, "its length is not that of the rows that it sends"),
        (-1, CASE.N, "it sends a row that is not there"),
    ],
)
def test_the_kernels_check_a_halo_before_they_read_by_it(index, value, words):
    require_library()
    part, inputs = half()
    part.halo[index] = value
    with pytest.raises(RuntimeError, match=words):
        run(inputs, part, "cpu")


def test_backends_that_cannot_say_why_not():
    part, inputs = half()
    with pytest.raises(NotImplementedError, match="specification: autograd would not exchange node-parallel gradients"):
        run(inputs, part, "specification")
    require_library()
    said = explanation()
    assert re.search(r"divided graph.*: cpu, manual", said), said
    assert re.search(r"not triton: .*exchange inside a cell", said), said


def test_every_operator_agrees_with_the_complete_graph(tmp_path, rank_server):
    require_library()
    rank_server.run(tmp_path / "job", 2, "tests.kernels.halo_programs:operators_agree", "small_dense", "known_channel")


@pytest.mark.parametrize("world", [pytest.param(2, marks=pytest.mark.prove), pytest.param(4, marks=pytest.mark.slow)])
def test_every_operator_agrees_on_every_shape(tmp_path, rank_server, world):
    require_library()
    rank_server.run(tmp_path / "job", world, "tests.kernels.halo_programs:operators_agree")


@pytest.mark.slow
@pytest.mark.parametrize(("world", "how"), [(2, "auto"), (4, "contiguous")])
@pytest.mark.parametrize(("name", "known"), [("metr_la", 0), ("pems_bay", 0), ("2000", 0), ("metr_la", 3), ("2000", 1)])
def test_large_graphs_agree_and_as_many_bytes_travel_as_planned(
    tmp_path, rank_server, real_data, name, known, world, how
):
    require_library()
    job = tmp_path / "job"
    rank_server.run(job, world, "tests.kernels.halo_programs:graphs_agree", name, str(real_data), how, known)


@pytest.mark.parametrize("backend", ["cpu", "manual"])
def test_a_partner_that_fails_ends_the_exchange_with_its_words(tmp_path, rank_server, backend):
    require_library()
    job = rank_server.start(tmp_path / "job", 2, "tests.kernels.halo_programs:a_partner_fails", backend)
    assert job.wait() == [1, 1]
    assert "SharedError: rank 1: ValueError: no more nodes today" in job.errors(0)
