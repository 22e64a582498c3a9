"""Compares a GPU backend's operators with plain PyTorch on this machine, before their first use on it.

Kernels that were executed in an interpreter and compiled without spilling can still be wrong on a GPU: compilers have
miscompiled correct sources. So the first use of a backend on a (device, driver, Triton, assembler, PyTorch, dtype,
float32 arithmetic, words of DCRNN_FAST_TRITON, sources of these kernels) runs its operator, forward and backward, on
small shapes beside the specification in float64. A verdict is kept in a file of the user's cache folder; an operator
that differs is passed over by ``auto``, and refused by name, with what was found.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units,
M diffusion terms, S = (M-1) N stacked rows.
"""

import hashlib
import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcrnn_fast import __version__
from dcrnn_fast.kernels.dcgru_sequence import dcgru_sequence
from dcrnn_fast.kernels.dcrnn_seq2seq import dcrnn_seq2seq
from dcrnn_fast.kernels.diffusion_conv import diffusion_conv
from dcrnn_fast.kernels.gpu import driver_version, gpu_facts
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.triton_plan import float32_word, read_words
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
_N, _B, _C, _O, _H, _M, _P, _F = 37, 5, 2, 1, 64, 5, 3, 2
# How the terms come about from two supports, over their transposes too (``DiffusionTerms.recursion``).
_STEPS = [(0, 0, -1, 1, 1), (0, 1, 0, 2, 2), (1, 0, -1, 1, 3), (1, 3, 0, 2, 4)]

_log = logging.getLogger("dcrnn_fast.kernels")
_running = False


class Verdict(NamedTuple):
    """What the check of one operator found; ``problem`` is empty where it agrees with PyTorch."""

    backend: str
    operator: str
    dtype: str
    problem: str

    def __str__(self) -> str:
        return f"{self.backend} {self.operator} in {self.dtype}: {self.problem or 'agrees with PyTorch'}"


Run = Callable[[Sequence[Tensor], DiffusionTerms, str], list[Tensor]]

# Plans that no rule takes for a graph so small; other graphs and sizes get them.
_OTHER_PLANS = ("dense", "chain", "gather", "gemm")


def _run_diffusion_conv(t: Sequence[Tensor], terms: DiffusionTerms, backend: str) -> list[Tensor]:
    """By the rule's plan; by Triton also by every other, in the arithmetic that is asked for."""
    made = [diffusion_conv(t[0], terms, t[1], t[2], backend=backend)]
    if backend != "triton":
        return made * (1 + len(_OTHER_PLANS))
    asked = read_words(override()).float32
    for plan in _OTHER_PLANS:
        with overruled(f"{plan},{asked}" if asked else plan):
            made.append(diffusion_conv(t[0], terms, t[1], t[2], backend=backend))
    return made


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


def _cell_shapes(channels: int) -> list[tuple[int, ...]]:
    rows = (channels + _H) * _M
    return [(rows, 2 * _H), (2 * _H,), (rows, _H), (_H,)]


# What each operator is run on: shapes of its floating arguments, the first batch-major.
_CASES: dict[str, tuple[Run, list[tuple[int, ...]]]] = {
    "diffusion_conv": (_run_diffusion_conv, [(_B, _N, _C), (_C * _M, _H), (_H,)]),
    "dcgru_sequence": (
        _run_dcgru_sequence,
        [(_B, _P, _N, _C), (2, _B, _N, _H), *_cell_shapes(_C), *_cell_shapes(_H)],
    ),
    "dcrnn_seq2seq": (
        _run_dcrnn_seq2seq,
        [
            (_B, _P, _N, _C), (_O, _H), (_O,), (_B, _F, _N, _O),
            *_cell_shapes(_C), *_cell_shapes(_H), *_cell_shapes(_O), *_cell_shapes(_H),
        ],
    ),
}  # fmt: skip


def failure(operator: str, backend: str, x: Tensor) -> str | None:
    """Why ``operator`` of ``backend`` may not be used on x's device in its dtype, or None; checks on the first use.

    A failure is warned of once. While the check itself runs, and of a fake tensor, nothing is refused; nor in Triton's
    interpreter, which is no GPU.
    """
    if x.device.type not in CHECKED_DEVICES or operator not in _CASES or type(x) is not Tensor:
        return None
    problem = _problem(operator, backend, x.device.type, x.device.index, _dtype_of(x))
    return f"its self-check failed on this GPU: {problem}" if problem else None


# torch.compile takes the verdict for a constant, instead of tracing the check.
@torch.compiler.assume_constant_result
def _problem(operator: str, backend: str, device_type: str, index: int | None, dtype: torch.dtype) -> str:
    if _running or (device_type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return ""
    device = torch.device(device_type) if index is None else torch.device(device_type, index)
    return _verdict(operator, backend, device, dtype, override(), _multiplied(dtype)).problem


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
        _log.warning("%s; it is not used", verdict)
    return verdict


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _check(operator: str, backend: str, device: torch.device, dtype: torch.dtype) -> Verdict:
    """Runs the operator in ``backend`` and in plain PyTorch, and holds both against float64."""
    run, shapes = _CASES[operator]
    with _checking():
        made, dense_SN = _made(shapes), _made_operators()
        truth = _results(run, made, dense_SN, device, torch.float64, "specification")
        plain = _results(run, made, dense_SN, device, dtype, "specification")
        try:
            got = _results(run, made, dense_SN, device, dtype, backend)
        except (NotImplementedError, torch.OutOfMemoryError):
            raise  # says nothing about the kernels
        except _kernel_errors() as error:
            why = f"its kernels cannot be compiled or launched ({str(error).splitlines()[0]})"
            return Verdict(backend, operator, str(dtype).removeprefix("torch."), why)
    problem = ""
    rounding = _TF32_ROUNDING if _multiplied(dtype) == "tf32" else torch.finfo(dtype).eps
    for index, (true, one, other) in enumerate(zip(truth, plain, got, strict=True)):
        size = float(true.abs().max())
        own = float((one - true).abs().max())
        distance = float((other - true).abs().max())
        bound = _TIMES_OWN_DISTANCE * own + _ROUNDINGS * rounding * size
        if not distance <= bound:
            what = "output" if index == 0 else f"result {index}"
            problem = f"{what} is off by {distance:.2g}, PyTorch by {own:.2g}, at most {bound:.2g} is rounding"
            break
    return Verdict(backend, operator, str(dtype).removeprefix("torch."), problem)


def _kernel_errors() -> tuple[type[BaseException], ...]:
    """What is raised for a kernel that its compiler, the assembler, the driver or the device refuses.

    Of the driver, Triton and the compiled library tell by a RuntimeError; a missing assembler or C compiler by the
    others.
    """
    errors = (RuntimeError, OSError, subprocess.SubprocessError)
    try:
        from triton.errors import TritonError
    except ImportError:
        return errors
    return (*errors, TritonError)


def _results(
    run: Run, made: Sequence[Tensor], dense_SN: Tensor, device: torch.device, dtype: torch.dtype, backend: str
) -> list[Tensor]:
    """Outputs, then the gradients of all arguments, in float64 on the host."""
    arguments = [tensor.to(device, dtype).requires_grad_() for tensor in made]
    terms_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    outputs = run(arguments, _terms(dense_SN.to(device, terms_dtype)), backend)
    gradients = torch.autograd.grad([output.double().square().sum() for output in outputs], arguments)
    return [tensor.detach().double().cpu() for tensor in (*outputs, *gradients)]


def _made(shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in shapes:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        # Weights small enough that no gate saturates; values that bfloat16 and float16 hold exactly.
        made.append((tensor * (0.08 if len(shape) <= 2 else 0.5)).to(torch.bfloat16).to(torch.float16).double())
    return made


def _made_operators() -> Tensor:
    """P_1 .. P_{M-1} on top of each other: S and 2 S² - I of two sparse supports.

    In both there is an empty row and a node that nobody reads.
    """
    generator = torch.Generator().manual_seed(1)
    support_2NN = torch.rand(2, _N, _N, generator=generator, dtype=torch.float64)
    # Few bits, so that float32 holds the squares exactly.
    support_2NN = torch.where(support_2NN > 0.9, (support_2NN * 64).round() / 256, 0.0)
    support_2NN[:, 3] = 0
    support_2NN[:, :, 5] = 0
    squared_2NN = 2 * support_2NN @ support_2NN - torch.eye(_N, dtype=torch.float64)
    return torch.stack([support_2NN, squared_2NN], dim=1).reshape(-1, _N)


def _terms(dense_SN: Tensor) -> DiffusionTerms:
    tensors, recursion = [], []
    steps = torch.tensor(_STEPS, dtype=torch.int32, device=dense_SN.device)
    for dense_MNN in (dense_SN.view(_M - 1, _N, _N), dense_SN.view(_M - 1, _N, _N).mT):
        tensors += _csr(dense_MNN)
        recursion += [steps, *_csr(dense_MNN[::2])]
    return DiffusionTerms.from_tensors([*tensors, *recursion], _N, _M)


def _csr(dense_MNN: Tensor) -> list[Tensor]:
    sparse = dense_MNN.reshape(-1, _N).to_sparse_csr()
    return [sparse.crow_indices().int(), sparse.col_indices().int(), sparse.values().clone()]


@contextmanager
def _checking() -> Iterator[None]:
    global _running
    _running = True
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cuda", enabled=False),
            torch.autocast("cpu", enabled=False),
        ):
            yield
    finally:
        _running = False


def _dtype_of(x: Tensor) -> torch.dtype:
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _key(operator: str, backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """What a verdict holds for."""
    facts: dict[str, Any] = {
        "dcrnn_fast": __version__,
        "torch": torch.__version__,
        "triton": metadata.version("triton"),
        "operator": operator,
        "backend": backend,
        "dtype": str(dtype),
        "words": override(),
        "multiplied": _multiplied(dtype),
        # Where a compiler was wrong, naming another is what one does about it.
        "assemblers": [os.environ.get(name) for name in ("TRITON_PTXAS_PATH", "TRITON_PTXAS_BLACKWELL_PATH")],
        "sources": _sources(),
        "device": "cpu",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = [properties.name, properties.major, properties.minor]
        facts["driver"] = driver_version()
        facts["cuda"] = torch.version.cuda
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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
    folder = _folder()
    beside = folder / f"selfcheck-{key}.tmp-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(verdict._asdict()) + "\n")
        os.replace(beside, folder / f"selfcheck-{key}.json")
    except OSError as error:
        _log.warning("the self-check cannot be kept (%s); the next process makes it again", error)
