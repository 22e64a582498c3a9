"""Compares a GPU backend's operators with plain PyTorch on this machine, before their first use on it.

Kernels that were executed in an interpreter and compiled without spilling can still be wrong on a GPU: compilers have
miscompiled correct sources. So the first use of a backend on a (device, driver, Triton, assembler, PyTorch, dtype,
float32 arithmetic, words of DCRNN_FAST_TRITON, sources of these kernels) runs its operator, forward and backward, on
small shapes beside the specification in float64.

It is run in several ways (``WAYS``): by every plan that a rule takes for some graph, with the gradients of inputs and
without, on unions of one chunk and of two. So each kernel is launched with every constant that changes its code, as a
training step of two layers of 64 units and a forecast launch it, whatever the step keeps for its backward; other
widths, other numbers of channels and offsets of 64 bits are not run.

A verdict is kept in a file of the user's cache folder where the results differ, where the compiler refuses a kernel or
the device faults in one; a full disk, a missing compiler or assembler and a lack of memory say nothing about the
kernels, and the next process checks again. An operator is passed over by ``auto``, and refused by name, with what was
found, for calls whose plan differs.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units,
M diffusion terms, S = (M-1) N stacked rows.
"""

import hashlib
import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from dcrnn_fast import __version__
from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.dcrnn_seq2seq import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv import diffusion_conv
from dcrnn_fast.kernels.dispatch import PlanOf
from dcrnn_fast.kernels.gpu import driver_version, gpu_facts
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.triton_plan import float32_word, plan_name, read_words
from dcrnn_fast.kernels.triton_runtime import override, overruled
from dcrnn_fast.kernels.weights import CellWeights

CACHE_VARIABLE = "DCRNN_FAST_CACHE"
CHECKED_DEVICES = ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Wrong code is wrong by far more than rounding; tf32x3, split sums and other orders of adding are not.
_TIMES_OWN_DISTANCE = 8
_ROUNDINGS = 32
# Of a factor's 10 bits, where plain PyTorch may have multiplied exactly.
_TF32_ROUNDING = 2.0**-10
_N, _B, _C, _O, _H, _M, _P, _F = 75, 5, 2, 1, 64, 5, 2, 3
# Nodes of a graph whose unions take two chunks; those of the other are METR-LA's size, one chunk of 128.
_CHUNKED_N = 150
# How the terms come about from two supports, over their transposes too (``DiffusionTerms.recursion``).
_STEPS = [(0, 0, -1, 1, 1), (0, 1, 0, 2, 2), (1, 0, -1, 1, 3), (1, 3, 0, 2, 4)]

_log = logging.getLogger("dcrnn_fast.kernels")
_one_at_a_time = threading.Lock()


class _Thread(threading.local):
    """``checking``: the operators that this thread calls are those of a check."""

    checking = False


_here = _Thread()


class Verdict(NamedTuple):
    """What the check of one operator found.

    ``problems``: by the name of the plan (``triton_plan.plan_name``) that does not agree with PyTorch.
    ``lasting``: it holds for later processes; else they check again.
    """

    backend: str
    operator: str
    dtype: str
    problems: dict[str, str]
    lasting: bool = True

    @property
    def problem(self) -> str:
        """All that was found, in one line; empty where everything agrees."""
        return "; ".join(self.problems.values())

    def __str__(self) -> str:
        return f"{self.backend} {self.operator} in {self.dtype}: {self.problem or 'agrees with PyTorch'}"


class Way(NamedTuple):
    """How an operator is run.

    Attributes:
        words: as in DCRNN_FAST_TRITON, instead of the user's (but for the arithmetic of float32); empty: the user's.
        inputs_wanted: inputs and labels get gradients, which in training nobody asks for.
        nodes: of the graph.
    """

    words: str = ""
    inputs_wanted: bool = True
    nodes: int = _N

    def __str__(self) -> str:
        gradients = "all gradients" if self.inputs_wanted else "no gradients of inputs"
        return f"{self.words or 'plan by rule'}, {gradients}, {self.nodes} nodes"


# Inputs' gradients alternate with where the encoder's input is computed: a kernel knows of one of the two.
_BY_TILES = (
    Way(),
    Way("tile,inline", inputs_wanted=False),
    Way("tile,hoist", nodes=_CHUNKED_N),
    Way("tile,inline", inputs_wanted=False, nodes=_CHUNKED_N),
)
WAYS = {
    "triton": (
        *_BY_TILES,
        Way("dense,hoist"),
        Way("gather,inline", inputs_wanted=False),
        Way("chain,hoist"),
        Way("gemm,gather,hoist"),
        Way("gemm,chain,inline", inputs_wanted=False),
    ),
    "cuda": _BY_TILES,
}

Run = Callable[[Sequence[Tensor], DiffusionTerms, str], list[Tensor]]
Shapes = list[tuple[int, ...]]


class Case(NamedTuple):
    """What an operator is run on: ``shapes(nodes)`` of its floating arguments; ``data``: inputs and labels of these."""

    run: Run
    shapes: Callable[[int], Shapes]
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
            feed_label_F=feed_label_F, backend=backend,
        )
    ]  # fmt: skip


def _cell_shapes(channels: int) -> Shapes:
    rows = (channels + _H) * _M
    return [(rows, 2 * _H), (2 * _H,), (rows, _H), (_H,)]


_CASES = {
    "diffusion_conv": Case(_run_diffusion_conv, lambda N: [(_B, N, _C), (_C * _M, _H), (_H,)], (0,)),
    "dcgru_sequence": Case(
        _run_dcgru_sequence,
        lambda N: [(_B, _P, N, _C), (2, _B, N, _H), *_cell_shapes(_C), *_cell_shapes(_H)],
        (0,),
    ),
    "dcrnn_seq2seq": Case(
        _run_dcrnn_seq2seq,
        lambda N: [
            (_B, _P, N, _C), (_O, _H), (_O,), (_B, _F, N, _O),
            *_cell_shapes(_C), *_cell_shapes(_H), *_cell_shapes(_O), *_cell_shapes(_H),
        ],
        (0, 3),
    ),
}  # fmt: skip


def failure(operator: str, backend: str, x: Tensor, plan_of: PlanOf) -> str | None:
    """Why ``operator`` of ``backend`` may not be used on x's device in its dtype by the plan of this call, or None;
    checks on the first use.

    A failure is warned of once. While the check itself runs, and of a tensor without memory, nothing is refused; nor in
    Triton's interpreter, which is no GPU.
    """
    if x.device.type not in CHECKED_DEVICES or operator not in _CASES or isinstance(x, (FakeTensor, FunctionalTensor)):
        return None
    problems = _problems(operator, backend, x.device.type, x.device.index, _dtype_of(x))
    if not problems:
        return None
    # A plan reads the graph, which a trace does not: then what is wrong in one is wrong in all.
    plan = "" if torch.compiler.is_compiling() else plan_of(_dtype_of(x))
    found = [text for name, text in problems if plan in ("", name)]
    return f"its self-check failed on this GPU: {'; '.join(found)}" if found else None


# torch.compile takes the verdict for a constant, instead of tracing the check.
@torch.compiler.assume_constant_result
def _problems(
    operator: str, backend: str, device_type: str, index: int | None, dtype: torch.dtype
) -> tuple[tuple[str, str], ...]:
    if _here.checking or (device_type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return ()
    device = torch.device(device_type) if index is None else torch.device(device_type, index)
    with _one_at_a_time:
        return tuple(_verdict(operator, backend, device, dtype, override(), _multiplied(dtype)).problems.items())


def _multiplied(dtype: torch.dtype) -> str:
    """How products of the dtype are made: "tf32", "tf32x3" or "strict" in float32."""
    return float32_word(read_words(override())) if dtype == torch.float32 else "exact"


def selfcheck(device: str | torch.device | None = None, *, backends: Sequence[str] | None = None) -> list[Verdict]:
    """Checks every operator of ``backends`` anew, in float32, bfloat16 and float16; prints and keeps the verdicts.

    Args:
        device: left out: the current GPU.
        backends: "triton", "cuda"; left out: those that can run there, and a line about one that cannot.

    Raises:
        NotImplementedError: a named backend, or none of them, can run there; the message says why.
    """
    chosen = torch.device("cuda" if device is None else device)
    verdicts, reasons = [], []
    for backend in ("triton", "cuda") if backends is None else backends:
        try:
            for verdict in check_backend(backend, chosen):
                print(verdict, flush=True)
                verdicts.append(verdict)
        except NotImplementedError as error:
            if backends is not None:
                raise
            reasons.append(str(error))
            print(f"{backend}: cannot run: {error}", flush=True)
    if not verdicts and reasons:
        raise NotImplementedError("; ".join(dict.fromkeys(reasons)))
    return verdicts


def check_backend(backend: str, device: torch.device) -> Iterator[Verdict]:
    """Checks every operator of one backend anew, and keeps the verdicts.

    Raises:
        NotImplementedError: it cannot run there; the message says why.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError(f"there is no GPU to check on: {gpu_facts()['reason']}")
    for dtype in DTYPES:
        for operator in _CASES:
            verdict = _check(operator, backend, device, dtype)
            _keep(_key(operator, backend, device, dtype), verdict)
            yield verdict
    _verdict.cache_clear()


@cache
def _verdict(
    operator: str, backend: str, device: torch.device, dtype: torch.dtype, words: str, multiplied: str
) -> Verdict:
    """Kept by ``words`` and ``multiplied`` too, which are those of ``override`` and ``_multiplied`` now."""
    key = _key(operator, backend, device, dtype)
    verdict = _kept(key)
    if verdict is None:
        if _capturing(device):
            raise RuntimeError(
                f"{operator}: {backend} must be checked on this GPU first, which no CUDA graph can hold; "
                "run the step once before it is captured"
            )
        verdict = _check(operator, backend, device, dtype)
        _keep(key, verdict)
    if verdict.problem:
        again = f"kept in {_folder()}" if verdict.lasting else "this process does not try again"
        _log.warning(
            "%s; it is not used by plan %s (%s; dcrnn_fast.selfcheck() checks anew)",
            verdict,
            ", ".join(verdict.problems),
            again,
        )
    return verdict


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _check(operator: str, backend: str, device: torch.device, dtype: torch.dtype) -> Verdict:
    """Runs the operator in ``backend``, in every way until its plan is wrong in one, and in plain PyTorch, and holds
    both against float64. After a fault of the device, which is the last thing that it does, plans that were not yet
    checked are refused.
    """
    ways = WAYS.get(backend, _BY_TILES)
    problems: dict[str, str] = {}
    lasting = True
    rounding = _TF32_ROUNDING if _multiplied(dtype) == "tf32" else torch.finfo(dtype).eps
    with _checking():
        plans = [_plan(way, device, dtype) for way in ways]
        beside = {
            way.nodes: [_results(operator, "specification", way, device, one) for one in (torch.float64, dtype)]
            for way in (Way(nodes=nodes) for nodes in sorted({way.nodes for way in ways}))
        }
        for index, (way, plan) in enumerate(zip(ways, plans, strict=True)):
            if plan in problems:
                continue
            try:
                got = _results(operator, backend, way, device, dtype)
            except (NotImplementedError, torch.OutOfMemoryError):
                raise  # says nothing about the kernels
            except _kernel_errors() as error:
                said = (str(error) or type(error).__name__).splitlines()[0]
                problems[plan] = f"its kernels cannot be compiled or launched ({said}; {way})"
                lasting = lasting and _lasting(error)
                if _has_faulted(error):
                    left = dict.fromkeys(plans[index:], f"not checked, after a fault of the device ({way})")
                    problems = left | problems
                    break
                continue
            truth, plain = beside[way.nodes]
            problem = _difference(truth, plain, got, rounding)
            if problem:
                problems[plan] = f"{problem} ({way})"
    return Verdict(backend, operator, str(dtype).removeprefix("torch."), problems, lasting)


def _plan(way: Way, device: torch.device, dtype: torch.dtype) -> str:
    """The name of the plan that the way takes."""
    terms = _terms(_made_operators(way.nodes).to(device, torch.float64 if dtype == torch.float64 else torch.float32))
    with overruled(_words(way)):
        return plan_name(terms, dtype, _B, _C, _H)


def _difference(
    truth: Sequence[Tensor | None], plain: Sequence[Tensor | None], got: Sequence[Tensor | None], rounding: float
) -> str:
    """What is further from the truth than rounding explains; empty: nothing. Results that are None are not compared."""
    for index, (true, one, other) in enumerate(zip(truth, plain, got, strict=True)):
        if true is None or one is None or other is None:
            continue
        size = float(true.abs().max())
        own = float((one - true).abs().max())
        distance = float((other - true).abs().max())
        bound = _TIMES_OWN_DISTANCE * own + _ROUNDINGS * rounding * size
        if not distance <= bound:
            what = "output" if index == 0 else f"result {index}"
            return f"{what} is off by {distance:.2g}, PyTorch by {own:.2g}, at most {bound:.2g} is rounding"
    return ""


def _kernel_errors() -> tuple[type[BaseException], ...]:
    """What is raised for a kernel that its compiler, the assembler, the driver or the device refuses.

    Of the driver, Triton and the compiled library tell by a RuntimeError; a missing assembler or C compiler by the
    others.
    """
    errors = (RuntimeError, OSError, subprocess.SubprocessError)
    return (*errors, *_compiler_errors())


def _compiler_errors() -> tuple[type[BaseException], ...]:
    try:
        from triton.errors import TritonError
    except ImportError:
        return ()
    return (TritonError,)


def _has_faulted(error: BaseException) -> bool:
    """Whether the process can do nothing more on the device."""
    of_triton = str(error).startswith("Triton Error [CUDA]")
    faults = ("illegal", "misaligned", "launch failure")
    return isinstance(error, torch.AcceleratorError) or (of_triton and any(one in str(error) for one in faults))


def _lasting(error: BaseException) -> bool:
    """Whether the error is the kernel's (a compiler's word, a device's fault), not that of a machine to be mended."""
    said = str(error)
    of_device = isinstance(error, torch.AcceleratorError) or said.startswith("Triton Error [CUDA]")
    return isinstance(error, _compiler_errors()) or (of_device and "out of memory" not in said)


def _results(operator: str, backend: str, way: Way, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Outputs, then the gradients of all arguments (None: not wanted), in float64 on the host."""
    case = _CASES[operator]
    arguments = [tensor.to(device, dtype) for tensor in _made(case.shapes(way.nodes))]
    wanted = [way.inputs_wanted or index not in case.data for index in range(len(arguments))]
    arguments = [tensor.requires_grad_(one) for tensor, one in zip(arguments, wanted, strict=True)]
    dense_SN = _made_operators(way.nodes).to(device, torch.float64 if dtype == torch.float64 else torch.float32)
    with overruled(_words(way)):
        outputs = case.run(arguments, _terms(dense_SN), backend)
        loss = torch.stack([output.double().square().sum() for output in outputs]).sum()
        found = iter(torch.autograd.grad(loss, [t for t, one in zip(arguments, wanted, strict=True) if one]))
    gradients = [next(found) if one else None for one in wanted]
    return [None if tensor is None else tensor.detach().double().cpu() for tensor in (*outputs, *gradients)]


def _words(way: Way) -> str:
    asked = read_words(override()).float32
    return ",".join(filter(None, (way.words, asked))) if way.words else override()


def _made(shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in shapes:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        # Weights small enough that no gate saturates; values that bfloat16 and float16 hold exactly.
        made.append((tensor * (0.08 if len(shape) <= 2 else 0.5)).to(torch.bfloat16).to(torch.float16).double())
    return made


def _made_operators(nodes: int = _N) -> Tensor:
    """P_1 .. P_{M-1} on top of each other: S and 2 S² - I of two sparse supports.

    In both there is an empty row and a node that nobody reads.
    """
    generator = torch.Generator().manual_seed(1)
    support_2NN = torch.rand(2, nodes, nodes, generator=generator, dtype=torch.float64)
    # About four entries a row, of few bits, so that float32 holds the squares exactly.
    support_2NN = torch.where(support_2NN > 1 - 3.7 / nodes, (support_2NN * 64).round() / 256, 0.0)
    support_2NN[:, 3] = 0
    support_2NN[:, :, 5] = 0
    squared_2NN = 2 * support_2NN @ support_2NN - torch.eye(nodes, dtype=torch.float64)
    return torch.stack([support_2NN, squared_2NN], dim=1).reshape(-1, nodes)


def _terms(dense_SN: Tensor) -> DiffusionTerms:
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


@contextmanager
def _checking() -> Iterator[None]:
    _here.checking = True
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cuda", enabled=False),
            torch.autocast("cpu", enabled=False),
        ):
            yield
    finally:
        _here.checking = False


def _dtype_of(x: Tensor) -> torch.dtype:
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _key(operator: str, backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """What a verdict holds for."""
    import triton  # by its metadata it may have another name

    facts: dict[str, Any] = {
        "dcrnn_fast": __version__,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "operator": operator,
        "backend": backend,
        "dtype": str(dtype),
        "words": override(),
        "multiplied": _multiplied(dtype),
        # Where a compiler was wrong, naming another is what one does about it.
        "assemblers": [_assembler(name) for name in ("TRITON_PTXAS_PATH", "TRITON_PTXAS_BLACKWELL_PATH")],
        "sources": _sources(),
        "device": "cpu",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = [properties.name, properties.major, properties.minor]
        facts["driver"] = driver_version()
        facts["cuda"] = torch.version.cuda
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _assembler(variable: str) -> list[str | int]:
    """The program that a variable names, with its size and time: another version may stand at the same place."""
    path = os.environ.get(variable)
    if path is None:
        return []
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [path, found.st_size, found.st_mtime_ns]


@cache
def _sources() -> str:
    """A digest of this package's Python and of what the compiled library was made from."""
    digest = hashlib.sha256(str(library().facts.get("sources")).encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _folder() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcrnn_fast"


def _kept(key: str) -> Verdict | None:
    try:
        return Verdict(**json.loads((_folder() / f"selfcheck-{key}.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        _log.warning("a kept self-check cannot be read (%s); it is made again", error)
        return None


def _keep(key: str, verdict: Verdict) -> None:
    if not verdict.lasting:
        return
    folder = _folder()
    beside = folder / f"selfcheck-{key}.tmp-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(verdict._asdict()) + "\n")
        os.replace(beside, folder / f"selfcheck-{key}.json")
    except OSError as error:
        _log.warning("the self-check cannot be kept (%s); the next process makes it again", error)
