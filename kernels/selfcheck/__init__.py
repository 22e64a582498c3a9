"""Compares a GPU backend's operators with plain PyTorch on this machine, before their first use on it.

Kernels that were executed in an interpreter and compiled without spilling can still be wrong on a GPU: compilers have
miscompiled correct sources. So the first use of a backend on a (device, driver, Triton, assembler, PyTorch, dtype,
float32 arithmetic, words of DCRNN_FAST_TRITON, sources of these kernels) runs its operator, forward and backward, on
small shapes beside the specification in float64.

It is run in several ways (``ways.WAYS``): by every plan that a rule takes for some graph, with the gradients of inputs
and without, on unions of one chunk and of two. Together these launches cover every compile-time constant that training
and forecasting with two layers of 64 units use, for every ``save``. Not covered: other widths, other numbers of
channels, 64-bit offsets. Known inputs of the decoder, which make one cell wider, are checked in one way.

A verdict is kept in a file of the user's cache folder if the results agree or differ, if the compiler refuses a kernel
or if the device faults in one. A full disk, a missing compiler or assembler and a lack of memory prove nothing about
the kernels: the next process checks again. If a plan differs, ``auto`` passes over the operator for calls by that plan,
and the named backend refuses them with the check's finding.
"""

import logging
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from dcrnn_fast.kernels.dispatch import PlanName, constant_when_traced
from dcrnn_fast.kernels.dtypes import computed_dtype
from dcrnn_fast.kernels.gpu.devices import gpu_facts
from dcrnn_fast.kernels.gpu.words import override
from dcrnn_fast.kernels.selfcheck.kept import Verdict, cache_folder, keep, key_of, multiplied, read_kept
from dcrnn_fast.kernels.selfcheck.ways import CASES, WAYS, Way, plan_taken, results, ways_of

CHECKED_DEVICES = ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Wrong code is wrong by far more than rounding; tf32x3, split sums and other orders of adding are not.
_TIMES_OWN_DISTANCE = 8
_ROUNDINGS = 32
# The rounding of a tf32 factor, which keeps 10 bits: plain PyTorch may have multiplied exactly.
_TF32_ROUNDING = 2.0**-10
_log = logging.getLogger("dcrnn_fast.kernels")
_one_at_a_time = threading.Lock()


class _Thread(threading.local):
    """``checking``: the operators that this thread calls are those of a check."""

    checking = False


_here = _Thread()


def failure(operator: str, backend: str, x: Tensor, plan: PlanName) -> str | None:
    """Why ``operator`` of ``backend`` may not be used on x's device in its dtype by the plan of this call, or None;
    checks on the first use.

    A failure is warned of once. While the check itself runs, and of a tensor without memory, nothing is refused; nor in
    Triton's interpreter, which is no GPU.
    """
    if x.device.type not in CHECKED_DEVICES or operator not in CASES or isinstance(x, (FakeTensor, FunctionalTensor)):
        return None
    problems = _problems(operator, backend, x.device.type, x.device.index, computed_dtype(x))
    if not problems:
        return None
    # A plan reads the graph, which a trace cannot: there, a failure of one plan refuses all.
    taken = "" if torch.compiler.is_compiling() else plan()
    found = [text for name, text in problems if taken in ("", name)]
    return f"its self-check failed on this GPU: {'; '.join(found)}" if found else None


# torch.compile takes the verdict for a constant, instead of tracing the check.
@constant_when_traced
def _problems(
    operator: str, backend: str, device_type: str, index: int | None, dtype: torch.dtype
) -> tuple[tuple[str, str], ...]:
    if _here.checking or (device_type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return ()
    device = torch.device(device_type) if index is None else torch.device(device_type, index)
    with _one_at_a_time:
        return tuple(_verdict(operator, backend, device, dtype, override(), multiplied(dtype)).problems.items())


def selfcheck(device: str | torch.device | None = None, *, backends: Sequence[str] | None = None) -> list[Verdict]:
    """Checks every operator of ``backends`` anew, in float32, bfloat16 and float16; prints and keeps the verdicts.

    Args:
        device: left out: the current GPU.
        backends: "triton", "cuda"; left out: those that can run there, and a line about one that cannot.

    Raises:
        NotImplementedError: a named backend cannot run there, or no backend can; the message gives the reasons.
    """
    chosen = torch.device("cuda" if device is None else device)
    verdicts, reasons = [], []
    for backend in tuple(WAYS) if backends is None else backends:
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
        NotImplementedError: it cannot run there; the message gives the reason.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError(f"there is no GPU to check on: {gpu_facts()['reason']}")
    for dtype in DTYPES:
        for operator in CASES:
            verdict = _check(operator, backend, device, dtype)
            keep(key_of(operator, backend, device, dtype), verdict)
            yield verdict
    _verdict.cache_clear()


@cache
def _verdict(
    operator: str, backend: str, device: torch.device, dtype: torch.dtype, words: str, arithmetic: str
) -> Verdict:
    """Kept by ``words`` and ``arithmetic`` too, which are those of ``override`` and ``multiplied`` now."""
    key = key_of(operator, backend, device, dtype)
    verdict = read_kept(key)
    if verdict is None:
        if _capturing(device):
            raise RuntimeError(
                f"{operator}: {backend} must be checked on this GPU first, which no CUDA graph can hold; "
                "run the step once before it is captured"
            )
        verdict = _check(operator, backend, device, dtype)
        keep(key, verdict)
    if verdict.problem:
        again = f"kept in {cache_folder()}" if verdict.lasting else "this process does not try again"
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
    ways = ways_of(operator, backend)
    problems: dict[str, str] = {}
    lasting = True
    rounding = _TF32_ROUNDING if multiplied(dtype) == "tf32" else torch.finfo(dtype).eps
    with _checking():
        plans = [plan_taken(way, device, dtype) for way in ways]
        beside = {
            (way.nodes, way.known): [
                results(operator, "specification", way, device, one) for one in (torch.float64, dtype)
            ]
            for way in sorted({Way(nodes=way.nodes, known=way.known) for way in ways})
        }
        for index, (way, plan) in enumerate(zip(ways, plans, strict=True)):
            if plan in problems:
                continue
            try:
                got = results(operator, backend, way, device, dtype)
            except (NotImplementedError, torch.OutOfMemoryError):
                raise  # no fault of the kernels
            except _kernel_errors() as error:
                said = (str(error) or type(error).__name__).splitlines()[0]
                problems[plan] = f"its kernels cannot be compiled or launched ({said}; {way})"
                lasting = lasting and _lasting(error)
                if _has_faulted(error):
                    left = dict.fromkeys(plans[index:], f"not checked, after a fault of the device ({way})")
                    problems = left | problems
                    break
                continue
            truth, plain = beside[way.nodes, way.known]
            problem = _difference(truth, plain, got, rounding)
            if problem:
                problems[plan] = f"{problem} ({way})"
    return Verdict(backend, operator, str(dtype).removeprefix("torch."), problems, lasting)


def _difference(
    truth: Sequence[Tensor | None], plain: Sequence[Tensor | None], got: Sequence[Tensor | None], rounding: float
) -> str:
    """The first result that is further from the truth than rounding explains; "": none. None is not compared."""
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
    """The errors of a kernel that its compiler, the assembler, the driver or the device refuses.

    Triton and the compiled library report the driver's errors as RuntimeError; a missing assembler or C compiler raises
    the others.
    """
    return (RuntimeError, OSError, subprocess.SubprocessError, *_compiler_errors())


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
    """Whether the kernel is to blame (its compiler refuses it, the device faults), not a machine that can be fixed."""
    said = str(error)
    of_device = isinstance(error, torch.AcceleratorError) or said.startswith("Triton Error [CUDA]")
    return isinstance(error, _compiler_errors()) or (of_device and "out of memory" not in said)


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
