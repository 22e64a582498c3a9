"""The smallest step by every plan, in float64: so that a wrong load of any plan is found in the quick tests.

``test_triton_seq2seq.py`` has larger ones, which take minutes.
"""

import pytest
import torch

from bench.cases import Case
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import forward_and_gradients

STEP = Case(B=2, P=1, F=2, N=6, C=1, O=1, H=3, L=1, M=3)
# Two tiles, and a union of more nodes than a chunk holds.
CHUNKED = Case(B=1, P=1, F=1, N=19, C=1, O=1, H=2, L=1, M=3, density=0.9)
# Blocks of columns that are full, as at 64 units, in all kernels; a second block of batch rows.
FULL = Case(B=5, P=1, F=1, N=6, C=1, O=1, H=16, L=2, M=2)
# No diffusion: no terms to gather.
ALONE = Case(B=2, P=2, F=1, N=5, C=1, O=1, H=3, L=1, M=1)
PLANS = {
    "dense": (STEP, "convolve_kernel"),
    "gather,inline": (STEP, "gather_kernel"),
    "gather,hoist": (ALONE, "convolve_kernel"),
    "gemm": (STEP, "gather_kernel"),
    "tile,inline": (CHUNKED, "gates_kernel"),
    "tile,hoist": (FULL, "convolve_kernel"),
}


@pytest.mark.parametrize("words", PLANS)
def test_a_step_by_every_plan_equals_the_specification(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, kernel = PLANS[words]
    monkeypatch.setattr("dcrnn_fast.kernels.gpu.plan.LARGEST_CHUNK", 16)
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    with red_zones() as ran:
        got, gradients = forward_and_gradients(case, torch.float64, "triton", True)
    assert kernel in ran
    wanted, wanted_gradients = forward_and_gradients(case, torch.float64, "specification", True)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for ours, true in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)
