"""The compiled kernels: found, checked before they are opened, opened once; or the reason why there are none.

Build facts lie in a JSON file beside the shared object. They are compared first, because opening a library of another
version could already crash the process; a refusal is a reason that ``auto`` passes by and a named backend raises.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcrnn_fast import __version__
from dcrnn_fast.kernels.dispatch import constant_when_traced
from dcrnn_fast.kernels.dtypes import computed_dtype
from dcrnn_fast.kernels.source_digest import source_digest
from dcrnn_fast.kernels.variables import VariableError

MODULE = "_dcrnn_fast_C"
REBUILD = "build it with: pip install --no-build-isolation ."
SOURCES = Path(__file__).resolve().parent.parent / "csrc"
"""beside kernels/ in a source checkout; an installed package has none"""
REBUILD_HERE = "build it again with: python setup.py build_ext --inplace"
CPU_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Library(NamedTuple):
    """The opened module and its build facts, or why there is none."""

    module: ModuleType | None
    facts: dict[str, Any]
    reason: str | None


def refusal(facts: dict[str, Any], torch_version: str) -> str | None:
    """Why a library with these build facts may not be opened under this torch, or None."""
    if facts.get("package") != __version__:
        return f"the compiled kernels are of dcrnn_fast {facts.get('package')}, this is {__version__}; {REBUILD}"
    if "reason" in facts:
        return f"the kernels are not compiled: {facts['reason']}"
    needed = tuple(int(part) for part in str(facts["torch_target"]).split("."))
    if tuple(int(part) for part in torch_version.split(".")[:2]) < needed:
        return f"the compiled kernels need torch {facts['torch_target']} or newer, this is {torch_version}; {REBUILD}"
    if SOURCES.is_dir() and facts.get("sources") != source_digest(SOURCES):
        return f"the compiled kernels were built from other sources than those in {SOURCES.name}/ here; {REBUILD_HERE}"
    return None


def library_file() -> Path | None:
    """The path of the shared object, whether or not it can be opened; None: there is none."""
    spec = find_spec(MODULE)
    return None if spec is None or spec.origin is None else Path(spec.origin)


@cache
def library() -> Library:
    """Opens the compiled kernels, once."""
    file = library_file()
    # An install that compiled nothing has facts too, in the module's place: beside the package.
    package = find_spec("dcrnn_fast")
    assert package is not None
    assert package.origin is not None
    folder = file.parent if file else Path(package.origin).parent.parent
    try:
        facts = json.loads((folder / f"{MODULE}.json").read_text())
    except FileNotFoundError:
        what = f"{MODULE} has no build facts beside it" if file else "the kernels are not compiled"
        return Library(None, {}, f"{what}; {REBUILD}")
    reason = refusal(facts, torch.__version__)
    if reason is None and file is None:
        reason = f"{MODULE} is missing beside its build facts; {REBUILD}"
    if reason is not None:
        return Library(None, facts, reason)
    try:
        return Library(import_module(MODULE), facts, None)
    except ImportError as error:
        reason = f"{MODULE} cannot be opened ({str(error).splitlines()[0]}); {REBUILD}"
        return Library(None, facts, reason)


def cpu_units(module: ModuleType) -> list[tuple[str, str]]:
    """(name, why it cannot run, or "") of each unit of the opened library, from the slowest to the fastest.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    with _of_the_variable():
        return list(module.cpu_units())


def chosen_unit(module: ModuleType, storage: str) -> str:
    """The unit that computes in a storage type, or "bf16x3". Raises as ``cpu_units``."""
    with _of_the_variable():
        return str(module.chosen_unit(storage))


@contextmanager
def kept_memory() -> Iterator[None]:
    """In the body the CPU operators keep the memory of a call for the next one, in the whole process.

    A step otherwise begins with a page fault for each page that it saves. Bounded as ``csrc/cpu/kept.h`` says; freed
    at the end of the outermost body.
    """
    module = library().module
    if module is None or module.keeps_memory():
        yield
        return
    module.keep_memory(True)
    try:
        yield
    finally:
        module.keep_memory(False)


@contextmanager
def _of_the_variable() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise VariableError(str(error)) from None


# Opened with the package: torch.compile would trace a search for the file.
_WHY_NOT_OPENED = library().reason


@constant_when_traced
def _check_variable() -> None:
    """Raises VariableError here: an error that the operators throw arrives as a plain ValueError."""
    module = library().module
    if module is not None and "DCRNN_FAST_CPU" in os.environ:
        cpu_units(module)


def why_not_cpu(x: Tensor) -> str | None:
    """The reason why the compiled CPU kernels cannot take ``x``, or None.

    Raises:
        VariableError: DCRNN_FAST_CPU names no unit.
    """
    if x.device.type != "cpu":
        return f"x is on {x.device}"
    dtype = computed_dtype(x)
    if dtype not in CPU_DTYPES:
        return f"no kernels for {dtype}"
    _check_variable()
    return _WHY_NOT_OPENED
