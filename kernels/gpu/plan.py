"""How the GPU kernels diffuse and multiply: chosen by rules from the graph, the dtype and the sizes; no autotuning.

The rules:

- **diffusion**. ``tile`` (see ``tiles.py``) if it loads at most a quarter of the rows that the stored entries would,
  and at most 16 rows for a node: on road networks it loads 4 to 8. Else ``dense`` if the stacked terms have at least
  one entry in 80 (a GEMM over all of them is then faster than gathering the few). Else ``chain``, hop after hop over
  the supports, if the graph brings its recursion and that visits fewer entries than the ready-made terms. Else
  ``gather``, entry by entry.
- **product**. ``fused`` with diffusion and activations in one kernel while H and C are at most 128 (64 in float32), so
  that a weight's tile fits beside the accumulators. Else ``gemm``: gather, the library's GEMM, and an epilogue kernel.
- **float32**. ``tf32x3`` (three tf32 products, the error of float32) while PyTorch multiplies float32 exactly; ``tf32``
  if it may use tf32 (``torch.set_float32_matmul_precision("high")``, or ``fp32_precision`` of
  ``torch.backends.cuda.matmul``); ``strict`` only by name, and always for float64 on a GPU: it means ``gemm``, because
  a float32 tile without tensor cores spills its registers.
- **input**. ``hoist`` (one product for all steps before the encoder's recurrence) up to 65,536 rows (nodes times
  batch), because launches count there; beyond, its memory traffic costs more than diffusing x inside: ``inline``.

``DCRNN_FAST_TRITON`` overrules them with any of these words, separated by commas: tile, dense, chain, gather; fused,
gemm; strict, tf32x3, tf32; hoist, inline.

Shape legend: N nodes, B batch, C input channels, H units, M terms.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dcrnn_fast.kernels.gpu.available import interpreted
from dcrnn_fast.kernels.gpu.chain import read_hops, visits_fewer
from dcrnn_fast.kernels.gpu.primitives import Chain, Csr, Direction, Primitives
from dcrnn_fast.kernels.gpu.tiles import SIDE, TileGraph, build, cluster
from dcrnn_fast.kernels.gpu.words import Words, float32_word, override, read_words
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.variables import VariableError

# No word of a user: chain or gather, by their rule.
_SPARSE = "sparse"

LEAST_TILE_SAVING = 4
MOST_TILE_ROWS = 16
# Slots of a union that a kernel loads at once; larger unions go through in chunks.
LARGEST_CHUNK = 128
LARGEST_DENSE_SPARSITY = 80
LARGEST_FUSED_WIDTH = {"low": 128, "tf32": 64, "tf32x3": 64, "strict": 0}
LARGEST_HOISTED_ROWS = 65536


@dataclass(frozen=True)
class GpuGraph:
    """A graph as the kernels read it: its nodes' order, and both directions' terms.

    ``order_N`` (N') maps a position to a node, where padding repeats node 0; ``position_N`` (N) a node to its position.
    """

    diffusion: str
    num_nodes: int
    padded_nodes: int
    num_terms: int
    order_N: Tensor
    position_N: Tensor
    forward: Direction
    transposed: Direction


@dataclass(frozen=True)
class Plan:
    """Everything that is decided for one call."""

    graph: GpuGraph
    product: str
    precision: str
    hoist: bool


Table = Callable[[Plan], Primitives]
"""chooses a plan's primitives; it imports triton, so it is called inside an operator only"""


def make_plan(terms: DiffusionTerms, dtype: torch.dtype, batch: int, channels: int, units: int, words: Words) -> Plan:
    """The plan of a call; the graph's part is made once and kept.

    Raises:
        VariableError: the sizes or the graph do not allow one of the ``words``.
    """
    precision = _precision(dtype, words)
    widest = max(channels, units)
    fits = widest <= LARGEST_FUSED_WIDTH[precision]
    if words.product == "fused" and not fits:
        raise VariableError(f"DCRNN_FAST_TRITON: fused kernels take no {widest} channels or units in this precision")
    product = words.product or ("fused" if fits else "gemm")
    diffusion = words.diffusion
    if product == "gemm" and diffusion not in ("chain", "gather"):
        # One GEMM wants all terms, made before and side by side.
        diffusion = _SPARSE
    graph = gpu_graph(terms, dtype, diffusion)
    hoist = words.input == "hoist" if words.input else graph.padded_nodes * batch <= LARGEST_HOISTED_ROWS
    return Plan(graph, product, precision, hoist)


def plan_of_call(x: Tensor, terms: list[Tensor], num_terms: int, plan_words: str, *, channels: int, units: int) -> Plan:
    """The plan of an operator's call: ``x`` (B, .., N, C) and ``terms`` are its arguments. Raises as ``make_plan``."""
    graph = DiffusionTerms.from_tensors(terms, x.shape[-2], num_terms)
    return make_plan(graph, x.dtype, x.shape[0], channels, units, read_words(plan_words))


def plan_name(terms: DiffusionTerms, dtype: torch.dtype, batch: int, channels: int, units: int) -> str:
    """Which kernels a call takes, by the words of its plan: "tile", "tile,chunks" (a union is more than one chunk),
    "dense", "chain", "gather", "gemm,chain" or "gemm,gather". Raises as ``make_plan``.
    """
    plan = make_plan(terms, dtype, batch, channels, units, read_words(override()))
    sides = (plan.graph.forward.tiles, plan.graph.transposed.tiles)
    if any(tiles is not None and tiles.index_TU.shape[1] > tiles.chunk for tiles in sides):
        return "tile,chunks"
    return plan.graph.diffusion if plan.product == "fused" else f"{plan.product},{plan.graph.diffusion}"


def _precision(dtype: torch.dtype, words: Words) -> str:
    if dtype in (torch.bfloat16, torch.float16):
        return "low"
    if dtype == torch.float64:
        # The interpreter multiplies float64 exactly, which is how gradients are checked; GPUs have no such product.
        return "low" if interpreted() and words.float32 != "strict" else "strict"
    return float32_word(words)


# By tensor first: inside a captured step nothing may be copied to the host. By content second: a copy of a graph, or
# the same one in another process's tensor, is clustered once.
_by_tensor: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_by_content: OrderedDict[tuple[str, str, torch.dtype, str], GpuGraph] = OrderedDict()
_KEPT = 16


def gpu_graph(terms: DiffusionTerms, dtype: torch.dtype, diffusion: str | None) -> GpuGraph:
    """The graph for one dtype and way to diffuse (None: by rule), from the cache or made now.

    Raises:
        VariableError: "chain" for a graph without a recursion.
        ValueError: a recursion that makes no sense.
    """
    known = _by_tensor.get(terms.value)
    if known is None:
        known = {}
        _by_tensor[terms.value] = known
    key = (dtype, diffusion, terms.column.data_ptr(), *_identity(terms.value, *terms.recursion))
    if key not in known:
        content = (graph_hash(terms), str(terms.value.device), dtype, diffusion or "")
        if content in _by_content:
            _by_content.move_to_end(content)
        else:
            _by_content[content] = _make_graph(terms, dtype, diffusion)
            while len(_by_content) > _KEPT:
                _by_content.popitem(last=False)
        known[key] = _by_content[content]
    graph: GpuGraph = known[key]
    return graph


def _identity(*tensors: Tensor) -> tuple[int, ...]:
    # A tensor made under inference_mode counts no versions.
    return tuple(
        number for tensor in tensors for number in (tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
    )


def graph_hash(terms: DiffusionTerms) -> str:
    """A digest of the graph's terms and recursion."""
    digest = sha256(f"{terms.num_nodes} {terms.num_terms}".encode())
    for tensor in terms.tensors_with_recursion:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _make_graph(terms: DiffusionTerms, dtype: torch.dtype, diffusion: str | None) -> GpuGraph:
    device, N, M = terms.value.device, terms.num_nodes, terms.num_terms
    host = [tensor.detach().cpu() for tensor in terms.tensors]
    order = list(range(N))
    built: list[TileGraph] = []
    if diffusion == "chain" and not terms.recursion:
        raise VariableError(
            "DCRNN_FAST_TRITON: chain diffuses by the recursion over the supports, and this graph brings none "
            "(DiffusionTerms.from_operators takes it, and leaves it out where the terms have no more entries)"
        )
    if diffusion in (None, "tile"):
        order = cluster(host, N, M)
        built = [build(host[at], host[at + 1], host[at + 2], order, M, dtype, LARGEST_CHUNK) for at in (0, 3)]
    if diffusion is None:
        rows, entry_count = max(tiles.gathered_rows for tiles in built), host[2].shape[0]
        diffusion = _diffusion_rule(rows, entry_count, N, M)
        if diffusion != "tile":
            order, built = list(range(N)), []
    if diffusion == _SPARSE:
        diffusion = "chain" if visits_fewer(terms) else "gather"
    padded = padded_nodes(N)
    order_N = torch.tensor(order + [0] * (padded - N), dtype=torch.int64)
    position_N = torch.empty(N, dtype=torch.int64)
    position_N[order_N[:N]] = torch.arange(N)
    directions = []
    for side, at in enumerate((0, 3)):
        entries = [tensor.contiguous() for tensor in terms.tensors[at + 1 : at + 3]]
        csr = Csr(_pad_rows(host[at], N, padded, M).to(device), *entries)
        tiles = _to(built[side], device) if built else None
        dense = _dense(csr, padded, M, dtype) if diffusion == "dense" else None
        chain = _chain(terms, padded, transposed=side == 1) if diffusion == "chain" else None
        directions.append(Direction(csr, tiles, dense, chain))
    return GpuGraph(diffusion, N, padded, M, order_N.to(device), position_N.to(device), *directions)


def padded_nodes(num_nodes: int) -> int:
    """N': N padded to complete tiles."""
    return -(-num_nodes // SIDE) * SIDE


def _pad_rows(row_start: Tensor, num_nodes: int, padded: int, num_terms: int) -> Tensor:
    """Row starts of the stack with empty rows after each term's last node."""
    first = row_start[:-1].view(num_terms - 1, num_nodes)
    last = row_start[num_nodes::num_nodes, None].expand(-1, padded - num_nodes)
    return torch.cat([torch.cat([first, last], dim=1).reshape(-1), row_start[-1:]]).contiguous()


def _chain(terms: DiffusionTerms, padded: int, *, transposed: bool) -> Chain | None:
    hops = read_hops(terms, transposed=transposed)
    if not hops:
        return None
    row_start = terms.recursion[5 if transposed else 1]
    supports = (row_start.shape[0] - 1) // terms.num_nodes
    row_start = _pad_rows(row_start, terms.num_nodes, padded, supports + 1).to(terms.value.device)
    spare = max(0, max(hop.target for hop in hops) + 1 - terms.num_terms)
    entries = [tensor.contiguous() for tensor in terms.recursion[6 if transposed else 2 :][:2]]
    return Chain(Csr(row_start, *entries), hops, spare)


def _dense(csr: Csr, padded: int, num_terms: int, dtype: torch.dtype) -> Tensor:
    """The padded stack (S, N') as a dense matrix."""
    lengths = (csr.row_start[1:] - csr.row_start[:-1]).long()
    row = torch.repeat_interleave(torch.arange(lengths.shape[0], device=csr.value.device), lengths)
    dense = csr.value.new_zeros((num_terms - 1) * padded, padded, dtype=dtype)
    dense[row, csr.column.long()] = csr.value.to(dtype)
    return dense


def _diffusion_rule(tile_rows: int, entries: int, num_nodes: int, num_terms: int) -> str:
    few = tile_rows <= MOST_TILE_ROWS * num_nodes and LEAST_TILE_SAVING * tile_rows <= entries
    if num_terms == 1 or few or tile_rows <= num_nodes:
        return "tile"
    dense_entries = (num_terms - 1) * num_nodes**2
    return "dense" if dense_entries <= LARGEST_DENSE_SPARSITY * entries else _SPARSE


def _to(tiles: TileGraph, device: torch.device) -> TileGraph:
    return tiles._replace(
        index_TU=tiles.index_TU.to(device),
        count_T=tiles.count_T.to(device),
        coefficient_TQSU=tiles.coefficient_TQSU.to(device),
    )
