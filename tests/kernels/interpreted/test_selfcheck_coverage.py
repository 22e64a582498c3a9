"""The self-check launches every kernel that a training step or a forecast launches, by every plan; and passes them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.cases import Case, make_cell
from bench.workload import large
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.kernels import DiffusionTerms, dcgru_sequence, dcrnn_seq2seq, diffusion_conv, selfcheck
from dcrnn_fast.kernels.gpu.launch import observed
from dcrnn_fast.kernels.gpu.plan import LARGEST_CHUNK
from dcrnn_fast.kernels.selfcheck import ways as checks
from tests.kernels.emulated import emulated_operators

CPU = torch.device("cpu")
# Sizes of a graph and a batch, and offsets of 64 bits.
NOT_CODE = {"U", "UC", "BLOCK", "WIDE"}
Variants = set[tuple[object, ...]]
HOW = ("dense", "chain", "gather", "gemm,gather", "gemm,chain")
BY_TILES = ["tile,hoist", "tile,inline"]
PLANS = {
    "triton": ["", *BY_TILES, *(f"{how},{x}" for how in HOW for x in ("hoist", "inline"))],
    "cuda": BY_TILES,
}
# Nodes of a city whose unions fit a chunk, and of one whose do not.
NODES = {"one chunk": 40, "chunks": 300}
STEP = Case(B=3, P=3, F=3, N=0, C=2, O=1, H=64, L=2, M=5)


def launched(run: Callable[[], object]) -> Variants:
    """Each kernel that ``run`` launches, with all that its code depends on; nothing is executed."""
    found: Variants = set()

    def see(one) -> bool:
        constants = dict(one.constants)
        if "coefficient_TQSU" in one.arguments:  # CUDA C++: what it branches by
            slots = one.arguments["coefficient_TQSU"].shape[3]
            constants = {"MORE": slots > LARGEST_CHUNK, "HAS_DX": one.arguments.get("dx_NBC") is not None}
        code = sorted((name, str(value)) for name, value in constants.items() if name not in NOT_CODE)
        found.add((one.kernel.__name__, one.warps, one.stages, *code))
        return False

    with observed(see):
        run()
    return found


def make_terms(nodes: int) -> DiffusionTerms:
    """With its recursion, whether or not that visits fewer entries."""
    graph = SensorGraph(large(nodes).adjacency(), tuple(map(str, range(nodes))))
    terms = DiffusionTerms.from_operators(graph_operators(graph, GraphConfig(hops=2)))
    return terms if terms.recursion else terms._replace(recursion=recursion_of(terms))


def recursion_of(terms: DiffusionTerms) -> tuple[Tensor, ...]:
    """One that makes as many terms as there are: which, nobody looks at."""
    return tuple(checks.made_terms(checks.made_operators(terms.num_nodes).float()).recursion)


def train(operator: str, backend: str, terms: DiffusionTerms, dtype: torch.dtype, save: str) -> None:
    """A training step of METR-LA's sizes, whose inputs and labels want no gradients; and a forecast."""
    generator = torch.Generator().manual_seed(0)
    N, c = terms.num_nodes, STEP
    encoder, decoder = ([make_cell(generator, channels, c) for channels in (first, c.H)] for first in (c.C, c.O))
    parameters = [t.to(dtype).requires_grad_() for cell in (*encoder, *decoder) for t in cell]
    cells = [type(encoder[0])(*parameters[4 * k : 4 * k + 4]) for k in range(4)]
    head = [torch.zeros(c.O, c.H, dtype=dtype).requires_grad_(), torch.zeros(c.O, dtype=dtype).requires_grad_()]
    x, labels = torch.zeros(c.B, c.P, N, c.C, dtype=dtype), torch.zeros(c.B, c.F, N, c.O, dtype=dtype)

    def run() -> Tensor:
        if operator == "diffusion_conv":
            weight = cells[0].candidate_weight[: c.C * c.M]
            return diffusion_conv(x[:, 0], terms, weight, cells[0].candidate_bias, backend=backend)
        if operator == "dcgru_sequence":
            return dcgru_sequence(x, terms, cells[:2], backend=backend, save=save)[0]
        coins = torch.tensor([True, False, True])
        return dcrnn_seq2seq(
            x, terms, cells[:2], cells[2:], *head, future_steps=c.F, labels_BFNO=labels, feed_label_F=coins,
            backend=backend, save=save,
        )  # fmt: skip

    run().sum().backward()
    with torch.inference_mode():
        run()


def checked(operator: str, backend: str, dtype: torch.dtype) -> Variants:
    def run() -> None:
        for way in checks.ways_of(operator, backend):
            checks.results(operator, backend, way, CPU, dtype)

    return launched(run)


@pytest.mark.parametrize("operator", list(checks.CASES))
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("triton", torch.bfloat16), ("triton", torch.float32), ("cuda", torch.bfloat16)],
    ids=["triton_bf16", "triton_fp32", "cuda_bf16"],
)
def test_nothing_is_launched_that_was_not_checked(
    operator: str, backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Variants = set()
    with emulated_operators():
        covered = checked(operator, backend, dtype)
        for nodes in NODES.values():
            terms = make_terms(nodes)
            for words in PLANS[backend]:
                monkeypatch.setenv("DCRNN_FAST_TRITON", words)
                for save in ("all", "h", "segments:2") if "tile" in words else ("all",):
                    found = launched(lambda terms=terms, save=save: train(operator, backend, terms, dtype, save))
                    assert not found - covered, f"by {words or 'rule'}, save={save}, {nodes} nodes"
                    seen |= found
    names = {str(variant[0]) for variant in seen}
    assert ({"gather_kernel", "hop_kernel"} <= names) == (backend == "triton")
    assert any("candidate_gradient" in name for name in names) == (operator != "diffusion_conv")
    for more in ("True", "False"):
        assert any(("MORE", more) in variant for variant in seen)


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param("diffusion_conv", marks=pytest.mark.slow),
        pytest.param("dcgru_sequence", marks=pytest.mark.prove),
        pytest.param("dcrnn_seq2seq", marks=pytest.mark.prove),
    ],
)
def test_every_way_passes(operator: str, monkeypatch) -> None:
    """In smaller sizes and chunks than on a GPU, which the interpreter would take many minutes for."""
    for name, size in {"_B": 1, "_H": 16, "_P": 1, "_F": 2}.items():
        monkeypatch.setattr(checks, name, size)
    nodes = {checks._N: 20, checks._CHUNKED_N: 40}
    ways = tuple(way._replace(nodes=nodes[way.nodes]) for way in checks.WAYS["triton"])
    monkeypatch.setitem(checks.WAYS, "triton", ways)
    monkeypatch.setattr("dcrnn_fast.kernels.gpu.plan.LARGEST_CHUNK", 32)
    ran: set[tuple[str, str]] = set()

    def see(one) -> bool:
        ran.add((one.kernel.__name__, str(one.constants.get("MORE"))))
        return True

    with observed(see):
        assert selfcheck._check(operator, "triton", CPU, torch.bfloat16).problem == ""
    assert {("convolve_kernel", "True"), ("convolve_kernel", "False"), ("hop_kernel", "None")} <= ran
