"""The words of ``DCRNN_FAST_TRITON``, which overrule the rules of ``plan.py``."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dcrnn_fast.kernels.dispatch import constant_when_traced
from dcrnn_fast.kernels.variables import VariableError

DIFFUSIONS = ("tile", "dense", "chain", "gather")
PRODUCTS = ("fused", "gemm")
FLOAT32 = ("strict", "tf32x3", "tf32")
INPUTS = ("hoist", "inline")


@dataclass(frozen=True)
class Words:
    """The choices of ``DCRNN_FAST_TRITON``; None: a rule decides."""

    diffusion: str | None = None
    product: str | None = None
    float32: str | None = None
    input: str | None = None


def read_words(text: str) -> Words:
    """The words of the environment variable.

    Raises:
        VariableError: an unknown word, or two for the same choice.
    """
    kinds = {"diffusion": DIFFUSIONS, "product": PRODUCTS, "float32": FLOAT32, "input": INPUTS}
    found: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        kind = next((name for name, known in kinds.items() if word in known), None)
        if kind is None:
            every = ", ".join(word for known in kinds.values() for word in known)
            raise VariableError(f"DCRNN_FAST_TRITON: unknown word {word!r}; known: {every}")
        if kind in found:
            raise VariableError(f"DCRNN_FAST_TRITON: {found[kind]} and {word} exclude each other")
        found[kind] = word
    return Words(**found)


def float32_word(words: Words) -> str:
    """How float32 is multiplied: as asked, or as PyTorch multiplies it."""
    # torch.get_float32_matmul_precision() raises once fp32_precision has been set; this reads both settings.
    return words.float32 or ("tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3")


class _Overruling(threading.local):
    """``words`` of this thread; None: those of the environment."""

    words: str | None = None


_overruling = _Overruling()


@contextmanager
def overruled(words: str) -> Iterator[None]:
    """Within, and in this thread, ``words`` stand for those of the environment."""
    before, _overruling.words = _overruling.words, words
    try:
        yield
    finally:
        _overruling.words = before


@constant_when_traced
def override() -> str:
    """The words of ``DCRNN_FAST_TRITON``, or those that stand for them in this thread."""
    return os.environ.get("DCRNN_FAST_TRITON", "") if _overruling.words is None else _overruling.words
