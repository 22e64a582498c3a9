"""Is a contestant right? Its distance from float64 may be at most twice plain PyTorch's, plus one rounding.

The truth is the same step in float64 (``TRUTH``). Plain PyTorch in float32 is the reference itself, in bfloat16 the
clean model under autocast. The clean model, compiled or not, is not ours: it must only be right (``OTHERS``); the code
that torch.compile makes sums a bias's gradient in one long float32 sum, ten times further from the truth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contestants import Contestant
from dcrnn_fast.kernels.gpu.words import float32_word, override, read_words

TRUTH = Contestant("manual", "float64")
PLAIN = {"float32": Contestant("reference"), "bf16": Contestant("plain", "bf16")}
EPSILON = {"float32": torch.finfo(torch.float32).eps, "bf16": torch.finfo(torch.bfloat16).eps}
SPLIT_LIMIT = 1e-5
"""bf16x3 promises this, in the prediction and in each gradient"""
TF32X3_LIMIT = 5e-6
"""the same for float32 as three tf32 products on a GPU, whose tensor cores cut sums off: 1.0e-6 on an H100 (METR-LA)"""


@dataclass(frozen=True)
class Errors:
    """max |a - b| / max |b| against the truth: of the prediction, and the largest one of all gradients."""

    prediction: float
    gradient: float


OTHERS = {"float32": Errors(2e-5, 2e-4), "bf16": Errors(3e-2, 8e-2)}


def errors(got: dict[str, Tensor], truth: dict[str, Tensor]) -> Errors:
    """The distance of results from the truth.

    Raises:
        ValueError: they do not hold the same tensors.
    """
    if got.keys() != truth.keys():
        raise ValueError(f"not the same tensors: {sorted(got.keys() ^ truth.keys())}")
    distances = {}
    for name, exact in truth.items():
        a, b = got[name].cpu().double(), exact.cpu().double()
        distance = ((a - b).abs().max() / b.abs().max()).item()
        # NaN compares as smaller than any bound.
        distances[name] = distance if distance == distance else float("inf")
    return Errors(distances.pop("prediction"), max(distances.values(), default=0.0))


def plain_for(contestant: Contestant) -> Contestant | None:
    """The contestant whose distance sets this one's budget; None: its budget is a promised limit."""
    return PLAIN.get(contestant.dtype)


def budget(contestant: Contestant, plain: Errors | None) -> Errors:
    """The errors that the contestant may have."""
    if contestant.backend in ("plain", "compile"):
        return OTHERS[contestant.dtype]
    if plain is None:
        return Errors(SPLIT_LIMIT, SPLIT_LIMIT)
    splits = contestant.backend in ("triton", "cuda") and float32_word(read_words(override())) == "tf32x3"
    if splits and contestant.dtype == "float32":
        return Errors(TF32X3_LIMIT, TF32X3_LIMIT)
    rounding = EPSILON[contestant.dtype]
    return Errors(2 * plain.prediction + rounding, 2 * plain.gradient + rounding)


def over_budget(got: Errors, allowed: Errors) -> str:
    """Which error is over its budget, and by how much; empty: none."""
    for what in ("prediction", "gradient"):
        error, bound = getattr(got, what), getattr(allowed, what)
        if not error <= bound:
            return f"error of the {what} {error:.1e}, budget {bound:.1e}"
    return ""


def require_equal(contestant: Contestant, got: Errors, allowed: Errors) -> None:
    """Raises SystemExit if an error is over its budget."""
    over = over_budget(got, allowed)
    if over:
        raise SystemExit(f"bench.compare: {contestant.name} is wrong, so no speed is reported: {over}")
