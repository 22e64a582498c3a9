"""Plans of the GPU kernels: which rule takes what, clustering, tiles, the cache; counts of launches and bytes."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.cases import Case, make_cell, make_operators, make_terms
from bench.gpu_counts import OperatorCounter
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.data.city_roads import build_roads, kernel_graph
from dcrnn_fast.graph import diffusion_operators, graph_operators, read_pickle
from dcrnn_fast.graph.recursion import diffusion_recursion
from dcrnn_fast.kernels import CellWeights, DiffusionTerms
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS
from dcrnn_fast.kernels.dispatch import choose
from dcrnn_fast.kernels.gpu import plan as planning
from dcrnn_fast.kernels.gpu.launch import observed
from dcrnn_fast.kernels.gpu.plan import gpu_graph, make_plan
from dcrnn_fast.kernels.gpu.words import Words, read_words
from dcrnn_fast.kernels.saving import SAVE_ALL
from tests.capture_lint import CaptureLint

pytestmark = pytest.mark.gpu_kernels

LOW = torch.bfloat16


def plan(terms: DiffusionTerms, dtype: torch.dtype = LOW, words: str = "", **sizes: int) -> planning.Plan:
    wanted = {"batch": 64, "channels": 2, "units": 64} | sizes
    return make_plan(terms, dtype, **wanted, words=read_words(words))


def test_words_overrule_and_mistakes_are_named() -> None:
    assert read_words("") == Words()
    assert read_words(" dense, tf32x3,inline") == Words(diffusion="dense", float32="tf32x3", input="inline")
    assert read_words("chain") == Words(diffusion="chain")
    with pytest.raises(ValueError, match="unknown word 'dens'; known: tile, dense, chain, gather"):
        read_words("dens")
    with pytest.raises(ValueError, match="tile and gather exclude each other"):
        read_words("tile,gather")


def test_the_rule_for_diffusion() -> None:
    ring = sp.csr_array(sp.eye_array(400, k=1) + sp.eye_array(400, k=-1))
    near = DiffusionTerms.from_operators([sp.csr_array(sp.eye_array(400)), ring, ring @ ring])
    assert plan(near).graph.diffusion == "tile"
    dense = make_terms(Case(N=600, M=3, density=0.9), torch.float32)
    assert plan(dense).graph.diffusion == "dense"
    scattered = make_terms(Case(N=900, M=3, density=0.004), torch.float32)
    assert plan(scattered).graph.diffusion == "gather"
    alone = make_terms(Case(N=40, M=1), torch.float32)
    assert plan(alone).graph.diffusion == "tile"
    assert plan(near, words="dense").graph.diffusion == "dense"


def chained_terms(nodes: int, hops: int = 2, seed: int = 0) -> DiffusionTerms:
    """Two random supports with three entries a row, whose products fill in."""
    generator = np.random.default_rng(seed)
    supports = [sp.csr_array(sp.random_array((nodes, nodes), density=3 / nodes, rng=generator)) for _ in range(2)]
    operators = diffusion_operators(supports, hops=hops, recursion="released")
    recursion = diffusion_recursion(supports, hops=hops, recursion="released")
    return DiffusionTerms.from_operators(operators, recursion=recursion)


def test_a_chain_of_hops_is_taken_where_it_visits_fewer_entries_than_the_terms() -> None:
    terms = chained_terms(1500)
    assert terms.recursion
    taken = plan(terms).graph
    assert taken.diffusion == "chain"
    assert taken.forward.tiles is None
    assert taken.forward.dense_SN is None
    assert taken.forward.chain is not None
    assert taken.transposed.chain is not None
    assert (len(taken.forward.chain.hops), taken.forward.chain.spare) == (4, 0)
    assert (len(taken.transposed.chain.hops), taken.transposed.chain.spare) == (6, 2)
    assert plan(terms, words="gather").graph.diffusion == "gather"
    assert plan(terms, units=200).graph.diffusion == "chain", "one GEMM takes its terms from either"
    assert plan(terms, units=200, words="gather").graph.diffusion == "gather"
    # The same terms, and nothing known of where they come from; one hop, which visits what the terms have.
    for other in (terms._replace(recursion=()), chained_terms(1500, hops=1)):
        assert plan(other).graph.diffusion == "gather"
        assert plan(other, units=200).graph.diffusion == "gather"
        with pytest.raises(ValueError, match="DCRNN_FAST_TRITON: chain diffuses by the recursion over the supports"):
            plan(other, words="chain")
    # Hops that visit more than the terms have are for those who ask by name.
    repeated = list(terms.recursion)
    repeated[3] = repeated[3].repeat(100)
    repeated[2], repeated[1] = repeated[2].repeat(100), repeated[1] * 100
    longer = terms._replace(recursion=tuple(repeated))
    assert plan(longer).graph.diffusion == "gather"
    assert plan(longer, words="chain").graph.diffusion == "chain"


def test_small_and_near_graphs_keep_their_plans_with_a_recursion() -> None:
    assert plan(chained_terms(60)).graph.diffusion == "tile"
    assert plan(chained_terms(300)).graph.diffusion == "dense"
    assert plan(chained_terms(60), words="chain").graph.diffusion == "chain"


def test_a_direction_without_hops_gathers_its_terms() -> None:
    terms = chained_terms(1500)
    steps = list(terms.recursion)
    steps[4] = steps[4][:0]
    graph = plan(terms._replace(recursion=tuple(steps))).graph
    assert graph.diffusion == "chain"
    assert graph.forward.chain is not None
    assert graph.transposed.chain is None


def test_another_recursion_over_the_same_terms_is_another_graph() -> None:
    terms = chained_terms(40)
    one = plan(terms, words="chain").graph
    assert plan(terms, words="chain").graph is one
    other = terms._replace(recursion=tuple(tensor.clone() for tensor in terms.recursion))
    assert plan(other, words="chain").graph is one, "equal content"
    other.recursion[3].mul_(2)
    assert plan(other, words="chain").graph is not one


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda steps: steps.index_fill(1, torch.tensor([0]), 2), r"recursion: step 0 names a support or a panel"),
        (lambda steps: steps.index_fill(1, torch.tensor([1]), 3), r"recursion: step 0 names a support or a panel"),
        (lambda steps: steps.index_fill(1, torch.tensor([4]), 1), r"recursion: step 1 names a support or a panel"),
        (lambda steps: steps[:3], r"recursion: no step makes term 4"),
        (lambda steps: steps.t().contiguous(), r"recursion: steps must be \(R, 5\), got \(5, 4\)"),
    ],
)
def test_wrong_hops_are_refused(change: Callable[[torch.Tensor], torch.Tensor], problem: str) -> None:
    terms = chained_terms(40)
    wrong = (change(terms.recursion[0]), *terms.recursion[1:])
    with pytest.raises(ValueError, match=problem):
        plan(terms._replace(recursion=wrong), words="chain")
    with pytest.raises(ValueError, match="terms must be six tensors, or fourteen, got 9"):
        plan(terms._replace(recursion=terms.recursion[:3]), words="chain")


def test_the_rules_for_products_precision_and_input() -> None:
    terms, exact = make_terms(Case(), torch.float32), make_terms(Case(), torch.float64)
    assert (plan(terms).product, plan(terms).precision, plan(terms).hoist) == ("fused", "low", True)
    assert plan(terms, units=200).product == "gemm"
    assert plan(terms, torch.float32).precision == "tf32x3"
    assert plan(terms, torch.float32, units=100).product == "gemm"
    assert plan(terms, batch=10_000).hoist is False
    assert plan(terms, batch=10_000, words="hoist").hoist is True
    strict = plan(exact, torch.float64)
    assert (strict.precision, strict.product, strict.graph.diffusion) == ("strict", "gemm", "gather")
    with pytest.raises(ValueError, match="fused kernels take no 200 channels"):
        plan(terms, units=200, words="fused")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert plan(terms, torch.float32).precision == "tf32"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # PyTorch's newer way to say "high"
        assert plan(terms, torch.float32).precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("largest_chunk", [16, 128])
@pytest.mark.parametrize("case", [Case(N=1, M=2), Case(N=16), Case(N=53, density=0.1), Case(N=70, M=4, density=0.9)])
def test_tiles_are_the_terms(case: Case, largest_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LARGEST_CHUNK", largest_chunk)
    terms = DiffusionTerms.from_operators(make_operators(case), torch.float64)
    graph = gpu_graph(terms, torch.float64, "tile")
    assert sorted(graph.order_N[: case.N].tolist()) == list(range(case.N))
    assert torch.equal(graph.order_N[graph.position_N], torch.arange(case.N))
    for direction, transposed in ((graph.forward, False), (graph.transposed, True)):
        tiles = direction.tiles
        assert tiles is not None
        T, U = tiles.index_TU.shape
        assert U % tiles.chunk == 0
        rebuilt = torch.zeros(case.M - 1, 16 * T, 16 * T, dtype=torch.float64)
        for tile in range(T):
            count = int(tiles.count_T[tile])
            columns = tiles.index_TU[tile, :count].long()
            assert len(set(columns.tolist())) == count
            assert tiles.coefficient_TQSU[tile, :, :, count:].count_nonzero() == 0
            rebuilt[:, 16 * tile : 16 * tile + 16, columns] = tiles.coefficient_TQSU[tile, :, :, :count]
        for m, operator in enumerate(make_operators(case)[1:]):
            wanted = torch.from_numpy((operator.T if transposed else operator).toarray())
            at = graph.position_N
            assert torch.equal(rebuilt[m][at][:, at], wanted)


def test_a_plan_is_named_by_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (
        DiffusionTerms.from_operators(diffusion_operators([kernel_graph(roads).adjacency], hops=2))
        for roads in (build_roads(nodes, np.random.default_rng(0)) for nodes in (40, 300))
    )
    assert planning.plan_name(small, torch.float32, 2, 2, 64) == "tile"
    assert planning.plan_name(large, torch.float32, 2, 2, 64) == "tile,chunks"
    assert planning.plan_name(small, torch.float32, 2, 2, 65).startswith("gemm,")
    for words, name in (("dense", "dense"), ("gather,inline", "gather"), ("gemm,gather", "gemm,gather")):
        monkeypatch.setenv("DCRNN_FAST_TRITON", words)
        assert planning.plan_name(small, torch.bfloat16, 2, 2, 64) == name


def test_a_graph_is_clustered_once_whatever_tensors_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    real = planning.cluster
    monkeypatch.setattr(planning, "cluster", lambda *a: (calls.update(["cluster"]), real(*a))[1])
    case = Case(N=45, density=0.07)
    terms = make_terms(case, torch.float32)
    first = gpu_graph(terms, LOW, None)
    assert gpu_graph(DiffusionTerms.from_tensors(terms.tensors, case.N, case.M), LOW, None) is first
    copied = DiffusionTerms.from_tensors([tensor.clone() for tensor in terms.tensors], case.N, case.M)
    assert gpu_graph(copied, LOW, None) is first
    assert calls["cluster"] == 1
    copied.value.mul_(2)
    assert gpu_graph(copied, LOW, None) is not first
    assert calls["cluster"] == 2


@pytest.mark.parametrize(
    ("pickle", "most"), [("metr_la_graph/adj_mx.pkl", 5.0), ("pems_bay_graph/adj_mx_bay.pkl", 5.5)]
)
def test_rows_gathered_for_a_node_of_a_real_graph(real_data: Path, pickle: str, most: float) -> None:
    terms = DiffusionTerms.from_operators(graph_operators(read_pickle(real_data / pickle), GraphConfig()))
    graph = plan(terms).graph
    assert graph.diffusion == "tile"
    for direction in (graph.forward, graph.transposed):
        assert direction.tiles is not None
        assert direction.tiles.gathered_rows / terms.num_nodes <= most


# By segments there are more launches: a copy of the states, the encoder's products of its inputs, weights' gradients.
@pytest.mark.parametrize(
    ("save", "own", "most", "kept"),
    [
        pytest.param(SAVE_ALL, 48 * 5 + 2 + 24, 350, 25_000, id="all"),
        pytest.param(1, 48 * 7 + 2 * 24 + 24, 740, 6_050, id="h"),
        pytest.param(5, 48 * 7 + 2 * 6 + 24, 525, 1_430, id="segments"),
    ],
)
def test_launches_of_a_training_step_and_bytes_that_it_keeps(
    real_data: Path, save: int, own: int, most: int, kept: int
) -> None:
    terms = DiffusionTerms.from_operators(
        graph_operators(read_pickle(real_data / "metr_la_graph" / "adj_mx.pkl"), GraphConfig())
    )
    case = Case(B=2, P=12, F=12, N=terms.num_nodes, C=2, O=1, H=64, L=2, M=terms.num_terms)
    generator = torch.Generator().manual_seed(0)

    def cells(channels: int) -> list[torch.Tensor]:
        made = [make_cell(generator, channels if layer == 0 else case.H, case) for layer in range(case.L)]
        return [tensor.to(LOW).requires_grad_() for cell in made for tensor in cell]

    encoder, decoder = cells(case.C), cells(case.O)
    assert len(encoder) == len(CellWeights._fields) * case.L
    weight, bias = (torch.randn(*s, generator=generator).to(LOW).requires_grad_() for s in ((1, 64), (1,)))
    x, labels = torch.zeros(2, 12, case.N, 2, dtype=LOW), torch.zeros(2, 12, case.N, 1, dtype=LOW)
    coins = torch.zeros(12, dtype=torch.bool)
    kernels: Counter[str] = Counter()
    found: list[torch.Tensor] = []

    def count(launch) -> bool:  # type: ignore[no-untyped-def]
        kernels[launch.kernel.__name__] += 1
        return False

    def step() -> None:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (found.append(t), t)[1], lambda t: t):
            prediction, *_ = torch.ops.dcrnn_fast.seq2seq_triton(
                x, terms.tensors, terms.num_terms, encoder, decoder, weight, bias, labels, coins, "", save
            )
        torch.autograd.grad(prediction, [*encoder, *decoder, weight, bias], torch.ones_like(prediction))

    with observed(count):
        step()  # clusters the graph
        kernels.clear()
        found.clear()
        with OperatorCounter() as operators:
            step()
    launches = kernels.total() + operators.launches.total()
    print(launches, dict(kernels), dict(operators.launches))
    assert kernels.total() == own
    assert launches <= most
    parameters = {tensor.data_ptr() for tensor in [*encoder, *decoder, weight, bias, *terms.tensors]}
    activations = {t.data_ptr(): t.nbytes for t in found if t.data_ptr() not in parameters}
    assert sum(activations.values()) / (case.N * case.B) <= kept
    with observed(lambda launch: False), CaptureLint() as lint:
        step()  # nothing that a CUDA graph cannot hold
    assert lint.calls > 100


def test_without_an_interpreter_a_cpu_tensor_is_refused_with_the_reason_and_auto_says_nothing_of_gpus(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x = torch.zeros(1)
    with pytest.raises(NotImplementedError, match=r"triton: x is on the CPU.* \(TRITON_INTERPRET=1"):
        choose("dcrnn_seq2seq", IMPLEMENTATIONS, "triton", x)
    choose("dcrnn_seq2seq", IMPLEMENTATIONS, "auto", x)
    assert "triton" not in caplog.text


def test_why_triton_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from dcrnn_fast.kernels.gpu import available as runtime

    assert runtime.why_not_triton(torch.zeros(1, dtype=torch.int32)) == "no kernels for torch.int32"
    runtime.why_not_triton_at_all.cache_clear()
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    try:
        assert runtime.why_not_triton(torch.zeros(1)) == "triton is not installed (pip install triton)"
    finally:
        runtime.why_not_triton_at_all.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    reason = runtime._why_not_device.__wrapped__(0)
    assert reason == "Tesla T4 is sm_75; sm_80 or newer is needed"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    reason = runtime._why_not_device.__wrapped__(0)
    assert reason is not None
    assert "no usable driver" in reason

    def without_python_h() -> None:
        raise subprocess.CalledProcessError(1, ["gcc"])

    from triton.runtime import driver

    monkeypatch.setattr(driver, "_active", SimpleNamespace(get_current_target=without_python_h))
    reason = runtime._why_not_device.__wrapped__(0)
    assert reason == "triton finds no usable driver (Command '['gcc']' returned non-zero exit status 1.)"


def test_offsets_beyond_31_bits_are_noticed() -> None:
    from dcrnn_fast.kernels.gpu.launch import is_wide

    assert not is_wide([torch.empty(2**31 - 1, device="meta")])
    assert is_wide([torch.empty(1), torch.empty(2**31, device="meta")])


def test_coefficients_beyond_31_bits_are_read_by_64_bit_offsets() -> None:
    """A large graph with one node of very many neighbours, small activations."""
    from dcrnn_fast.kernels.gpu.launches.cell import fused_primitives
    from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Direction
    from dcrnn_fast.kernels.gpu.tiles import SIDE, TileGraph
    from profiling.codegen import recorded

    N, B, C, H, M, U = 2 * SIDE, 1, 2, 16, 3, 2**26
    index_TU = torch.zeros(1, dtype=torch.int32).expand(2, U)
    tiles = TileGraph(index_TU, index_TU[:, 0], torch.zeros(1).expand(2, M - 1, SIDE, U), 128, 0)
    primitives, h, x, wide = fused_primitives("low"), torch.zeros(N, B, H), torch.zeros(N, B, C), torch.zeros(N, B, H)
    pack = CellPack(torch.zeros(M, C, 3 * H), torch.zeros(M, H, 3 * H), torch.zeros(3 * H), None)
    pre, q = torch.zeros(N, B, 3 * H), torch.zeros(N, B, 3 * M * H)
    step, gradient = CellStep(h, pre, h, h, h, h, h), CellGradient(h, h, h, h, wide, h, h, h, None, q)
    with recorded() as launches:
        primitives.gates((x, tiles), tiles, step, pack)
        primitives.candidate(tiles, step, pack)
        primitives.candidate_gradient(tiles, gradient, pack)
        primitives.gates_gradient(tiles, tiles, gradient, pack)
        primitives.convolve(x[None], Direction(None, tiles, None), pack.input_MCG, None, pre[None], None)  # type: ignore[arg-type]
    assert [launch.constants["WIDE"] for launch in launches] == [True] * 5


def test_more_blocks_than_cuda_allows_are_refused() -> None:
    from dcrnn_fast.kernels.gpu.launch import launch

    for grid in ((1, 65536), (1, 1, 65536)):
        with pytest.raises(ValueError, match="more than the 65535 that CUDA allows"):
            launch(None, grid, {}, {}, warps=1, stages=1)


def test_terms_made_under_inference_mode_have_a_plan() -> None:
    """``torch.inference_mode`` around loading and moving a model; its tensors count no versions."""
    with torch.inference_mode():
        terms = make_terms(Case(N=21), torch.float32)
        first = gpu_graph(terms, LOW, None)
    assert gpu_graph(terms, LOW, None) is first


@pytest.mark.parametrize("arch", [80, 90])
def test_another_assembler_is_used(arch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton alone reads TRITON_PTXAS_PATH for some architectures only."""
    from triton.knobs import nvidia

    from profiling.codegen import Case as Configuration
    from profiling.codegen import compile_launch, launch_of

    monkeypatch.delenv("TRITON_PTXAS_BLACKWELL_PATH", raising=False)
    real, said, mine = nvidia.ptxas_blackwell.path, tmp_path / "said", tmp_path / "ptxas"
    mine.write_text(f'#!/bin/sh\necho "$@" >> {said}\nexec {real} "$@"\n')
    mine.chmod(0o755)
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(mine))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    try:
        compile_launch(launch_of(Configuration(arch, "bf16", "64 units", "hop")), arch)
    finally:
        os.environ.pop("TRITON_PTXAS_BLACKWELL_PATH", None)
    assert f"--gpu-name=sm_{arch}" in said.read_text()


@pytest.mark.slow
def test_a_large_city_is_clustered_and_gathers_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    graph = kernel_graph(build_roads(11_160, np.random.default_rng(0)))
    terms = DiffusionTerms.from_operators(graph_operators(graph, GraphConfig()))
    tiles = plan(terms).graph.forward.tiles
    assert tiles is not None
    assert tiles.gathered_rows * 10 <= terms.value.shape[0]
