"""The self-check's runs: every operator on small made-up graphs, in every way that launches other kernels.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, K known channels,
H units, M diffusion terms, S = (M-1) N stacked rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.dcrnn_seq2seq import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv import diffusion_conv
from dcrnn_fast.kernels.gpu.plan import plan_name
from dcrnn_fast.kernels.gpu.words import override, overruled, read_words
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

_N, _B, _C, _O, _K, _H, _M, _P, _F = 75, 5, 2, 1, 3, 64, 5, 2, 3
# Nodes of a graph whose unions take two chunks; those of the other are METR-LA's size, one chunk of 128.
_CHUNKED_N = 150
# How the terms come about from two supports, over their transposes too (``DiffusionTerms.recursion``).
_STEPS = [(0, 0, -1, 1, 1), (0, 1, 0, 2, 2), (1, 0, -1, 1, 3), (1, 3, 0, 2, 4)]


class Way(NamedTuple):
    """How an operator is run.

    Attributes:
        words: as in DCRNN_FAST_TRITON, instead of the user's (but for the arithmetic of float32); empty: the user's.
        inputs_wanted: whether inputs and labels require gradients (in training they do not).
        nodes: of the graph.
        known: whether the decoder reads known inputs; for the encoder-decoder alone.
    """

    words: str = ""
    inputs_wanted: bool = True
    nodes: int = _N
    known: bool = False

    def __str__(self) -> str:
        gradients = "all gradients" if self.inputs_wanted else "no gradients of inputs"
        return f"{self.words or 'plan by rule'}, {gradients}, {self.nodes} nodes{', known inputs' * self.known}"


# Wanted input gradients alternate with hoist and inline: a kernel depends on one of the two only.
BY_TILES = (
    Way(),
    Way("tile,inline", inputs_wanted=False),
    Way("tile,hoist", nodes=_CHUNKED_N),
    Way("tile,inline", inputs_wanted=False, nodes=_CHUNKED_N),
)
_WITH_KNOWN = Way(known=True)
WAYS = {
    "triton": (
        *BY_TILES,
        Way("dense,hoist"),
        Way("gather,inline", inputs_wanted=False),
        Way("chain,hoist"),
        Way("gemm,gather,hoist"),
        Way("gemm,chain,inline", inputs_wanted=False),
        _WITH_KNOWN,
    ),
    "cuda": (*BY_TILES, _WITH_KNOWN),
}


def ways_of(operator: str, backend: str) -> tuple[Way, ...]:
    """The ways in which a backend's operator is checked."""
    return tuple(way for way in WAYS.get(backend, BY_TILES) if operator == "dcrnn_seq2seq" or not way.known)


Runner = Callable[[Sequence[Tensor], DiffusionTerms, str], list[Tensor]]
Shapes = list[tuple[int, ...]]


class Case(NamedTuple):
    """An operator's arguments: ``shapes(nodes, K)`` of the floating ones; ``data``: inputs and labels among them."""

    run: Runner
    shapes: Callable[[int, int], Shapes]
    data: tuple[int, ...]


def _run_diffusion_conv(t: Sequence[Tensor], terms: DiffusionTerms, backend: str) -> list[Tensor]:
    return [diffusion_conv(t[0], terms, t[1], t[2], backend=backend)]


def _run_dcgru_sequence(t: Sequence[Tensor], terms: DiffusionTerms, backend: str) -> list[Tensor]:
    return list(dcgru_sequence(t[0], terms, [CellWeights(*t[2:6]), CellWeights(*t[6:10])], t[1], backend=backend))


def _run_dcrnn_seq2seq(t: Sequence[Tensor], terms: DiffusionTerms, backend: str) -> list[Tensor]:
    cells = [CellWeights(*t[4 + 4 * k : 8 + 4 * k]) for k in range(4)]
    feed_label_F = torch.arange(_F, device=t[0].device) % 2 == 1
    return [
        dcrnn_seq2seq(
            t[0], terms, cells[:2], cells[2:], t[1], t[2], future_steps=_F, labels_BFNO=t[3],
            feed_label_F=feed_label_F, known_BFNK=t[20] if len(t) > 20 else None, backend=backend,
        )
    ]  # fmt: skip


def _cell_shapes(channels: int) -> Shapes:
    rows = (channels + _H) * _M
    return [(rows, 2 * _H), (2 * _H,), (rows, _H), (_H,)]


CASES = {
    "diffusion_conv": Case(_run_diffusion_conv, lambda N, _: [(_B, N, _C), (_C * _M, _H), (_H,)], (0,)),
    "dcgru_sequence": Case(
        _run_dcgru_sequence,
        lambda N, _: [(_B, _P, N, _C), (2, _B, N, _H), *_cell_shapes(_C), *_cell_shapes(_H)],
        (0,),
    ),
    "dcrnn_seq2seq": Case(
        _run_dcrnn_seq2seq,
        lambda N, K: [
            (_B, _P, N, _C), (_O, _H), (_O,), (_B, _F, N, _O),
            *_cell_shapes(_C), *_cell_shapes(_H), *_cell_shapes(_O + K), *_cell_shapes(_H),
            *([(_B, _F, N, K)] if K else []),
        ],
        (0, 3, 20),
    ),
}  # fmt: skip


def plan_taken(way: Way, device: torch.device, dtype: torch.dtype) -> str:
    """The name of the plan that the way takes."""
    terms = made_terms(made_operators(way.nodes).to(device, torch.float64 if dtype == torch.float64 else torch.float32))
    with overruled(_words(way)):
        return plan_name(terms, dtype, _B, _C, _H)


def results(operator: str, backend: str, way: Way, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Outputs, then the gradients of all arguments (None: not wanted), in float64 on the host."""
    case = CASES[operator]
    arguments = [tensor.to(device, dtype) for tensor in made_arguments(case.shapes(way.nodes, _K * way.known))]
    wanted = [way.inputs_wanted or index not in case.data for index in range(len(arguments))]
    arguments = [tensor.requires_grad_(one) for tensor, one in zip(arguments, wanted, strict=True)]
    dense_SN = made_operators(way.nodes).to(device, torch.float64 if dtype == torch.float64 else torch.float32)
    with overruled(_words(way)):
        outputs = case.run(arguments, made_terms(dense_SN), backend)
        loss = torch.stack([output.double().square().sum() for output in outputs]).sum()
        found = iter(torch.autograd.grad(loss, [t for t, one in zip(arguments, wanted, strict=True) if one]))
    gradients = [next(found) if one else None for one in wanted]
    return [None if tensor is None else tensor.detach().double().cpu() for tensor in (*outputs, *gradients)]


def _words(way: Way) -> str:
    asked = read_words(override()).float32
    return ",".join(filter(None, (way.words, asked))) if way.words else override()


def made_arguments(shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in shapes:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        # Weights small enough that no gate saturates; values that bfloat16 and float16 hold exactly.
        made.append((tensor * (0.08 if len(shape) <= 2 else 0.5)).to(torch.bfloat16).to(torch.float16).double())
    return made


def made_operators(nodes: int = _N) -> Tensor:
    """P_1 .. P_{M-1} on top of each other: S and 2 S² - I of two sparse supports.

    Both have an empty row and a node that no row reads.
    """
    generator = torch.Generator().manual_seed(1)
    support_2NN = torch.rand(2, nodes, nodes, generator=generator, dtype=torch.float64)
    # About four entries a row, of few bits, so that float32 holds the squares exactly.
    support_2NN = torch.where(support_2NN > 1 - 3.7 / nodes, (support_2NN * 64).round() / 256, 0.0)
    support_2NN[:, 3] = 0
    support_2NN[:, :, 5] = 0
    squared_2NN = 2 * support_2NN @ support_2NN - torch.eye(nodes, dtype=torch.float64)
    return torch.stack([support_2NN, squared_2NN], dim=1).reshape(-1, nodes)


def made_terms(dense_SN: Tensor) -> DiffusionTerms:
    tensors, recursion = [], []
    steps = torch.tensor(_STEPS, dtype=torch.int32, device=dense_SN.device)
    nodes = dense_SN.shape[1]
    for dense_MNN in (dense_SN.view(_M - 1, nodes, nodes), dense_SN.view(_M - 1, nodes, nodes).mT):
        tensors += _csr(dense_MNN)
        recursion += [steps, *_csr(dense_MNN[::2])]
    return DiffusionTerms.from_tensors([*tensors, *recursion], nodes, _M)


def _csr(dense_MNN: Tensor) -> list[Tensor]:
    sparse = dense_MNN.flatten(0, 1).to_sparse_csr()
    return [sparse.crow_indices().int(), sparse.col_indices().int(), sparse.values().clone()]
