"""Verdicts of the self-check, and the files of the user's cache folder that keep them."""

import hashlib
import json
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dcrnn_fast import __version__
from dcrnn_fast.kernels.gpu.devices import driver_version
from dcrnn_fast.kernels.gpu.words import float32_word, override, read_words
from dcrnn_fast.kernels.native import library

CACHE_VARIABLE = "DCRNN_FAST_CACHE"

_log = logging.getLogger("dcrnn_fast.kernels")


class Verdict(NamedTuple):
    """The findings of one operator's check.

    ``problems``: by the name of the plan (``gpu/plan.py plan_name``) that does not agree with PyTorch.
    ``lasting``: it holds for later processes; else they check again.
    """

    backend: str
    operator: str
    dtype: str
    problems: dict[str, str]
    lasting: bool = True

    @property
    def problem(self) -> str:
        """All findings in one line; empty if everything agrees."""
        return "; ".join(self.problems.values())

    def __str__(self) -> str:
        return f"{self.backend} {self.operator} in {self.dtype}: {self.problem or 'agrees with PyTorch'}"


def multiplied(dtype: torch.dtype) -> str:
    """How products of the dtype are made: "tf32", "tf32x3" or "strict" in float32."""
    return float32_word(read_words(override())) if dtype == torch.float32 else "exact"


def key_of(operator: str, backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """A digest of everything that a verdict depends on."""
    import triton  # by its metadata it may have another name

    facts: dict[str, Any] = {
        "dcrnn_fast": __version__,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "operator": operator,
        "backend": backend,
        "dtype": str(dtype),
        "words": override(),
        "multiplied": multiplied(dtype),
        # The remedy for a wrong compiler is to name another one.
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
    """A digest of this package's Python and of the compiled library's sources."""
    digest = hashlib.sha256(str(library().facts.get("sources")).encode())
    folder = Path(__file__).parent.parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcrnn_fast"


def read_kept(key: str) -> Verdict | None:
    try:
        return Verdict(**json.loads((cache_folder() / f"selfcheck-{key}.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        _log.warning("a kept self-check cannot be read (%s); it is made again", error)
        return None


def keep(key: str, verdict: Verdict) -> None:
    if not verdict.lasting:
        return
    folder = cache_folder()
    beside = folder / f"selfcheck-{key}.tmp-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(verdict._asdict()) + "\n")
        os.replace(beside, folder / f"selfcheck-{key}.json")
    except OSError as error:
        _log.warning("the self-check cannot be kept (%s); the next process makes it again", error)
