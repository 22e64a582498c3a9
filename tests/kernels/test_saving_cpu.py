"""What a forward of the compiled kernels keeps: the bits do not depend on it, the peak of memory does."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.cases import Case, make_seq2seq, make_terms
from dcrnn_fast.kernels import dcrnn_seq2seq
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, kept_steps, saved_numbers, segment_length, segment_of
from tests.checkout import ROOT
from tests.kernels.compiled import require_library
from tests.kernels.operators import forward_and_gradients, sequence_results

CASES = [
    pytest.param(Case(B=3, P=4, F=3, N=33, C=3, O=2, H=17, L=3, M=3), id="nothing_divides_a_tile"),
    pytest.param(Case(B=11, P=2, F=5, N=29, C=2, O=2, H=5, L=2, M=2), id="tiles"),
    pytest.param(Case(B=1, P=1, F=1, N=5, H=3, L=1, M=1), id="one_step_each"),
    pytest.param(Case(B=11, P=2, F=5, N=29, C=1, O=2, H=5, L=2, M=2, K=3), id="known_channels"),
]
SAVES = ["h", "segments:2", "segments:3", "segments:100"]


def seq2seq(case: Case, dtype: torch.dtype, save: str, *, autocast: bool = False) -> list[Tensor]:
    prediction, gradients = forward_and_gradients(case, dtype, "cpu", True, autocast=autocast, save=save)
    return [prediction.detach(), *gradients]


def sequence(case: Case, dtype: torch.dtype, save: str) -> list[Tensor]:
    return sequence_results(replace(case, P=case.P + case.F), dtype, "cpu", save=save)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("case", CASES)
def test_bits_do_not_depend_on_what_is_saved(case: Case, save: str) -> None:
    require_library()
    for dtype, autocast in ((torch.float32, False), (torch.float32, True), (torch.float64, False)):
        wanted, got = (seq2seq(case, dtype, how, autocast=autocast) for how in ("all", save))
        assert len(got) == len(wanted) > 1
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        wanted, got = (sequence(case, dtype, how) for how in ("all", save))
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("save", ["", "none", "segments:0", "segments:-1", "segments:", "segments:two", "h:2"])
def test_other_ways_to_save_are_refused(save: str) -> None:
    with pytest.raises(
        ValueError, match=r'dcrnn_seq2seq: save must be "all", "h" or "segments:K" with K of at least 1'
    ):
        seq2seq(Case(), torch.float32, save)


@pytest.mark.parametrize("backend", ["manual", "specification"])
def test_backends_that_keep_everything_say_so(backend: str) -> None:
    case = Case()
    inputs, terms = make_seq2seq(case).to(torch.float32), make_terms(case, torch.float32)
    arguments = (inputs.encoder, inputs.decoder, inputs.projection_weight_OH, inputs.projection_bias_O)
    needed = "save='h' needs the cpu, triton or cuda backend, .*"
    with pytest.raises(NotImplementedError, match=f"{needed}; {backend} keeps everything"):
        dcrnn_seq2seq(inputs.x_BPNC, terms, *arguments, future_steps=2, backend=backend, save="h")
    with torch.no_grad():  # no backward can come
        dcrnn_seq2seq(inputs.x_BPNC, terms, *arguments, future_steps=2, backend=backend, save="h")


def test_saved_numbers_of_each_way() -> None:
    sizes = {"batch": 3, "nodes": 7, "units": 20, "layers": 2}
    of = {save: saved_numbers(segment_length("op", save), 10, torch.float32, **sizes) for save in ("all", *SAVES)}
    panel = 3 * 7 * 32 * 2
    assert [of[save] // panel for save in of] == [40, 9, 4, 3, 0]
    assert saved_numbers(1, 10, torch.bfloat16, **(sizes | {"units": 33})) == 9 * 3 * 7 * 64 * 2


def test_steps_that_a_gpu_keeps_and_their_segments() -> None:
    """The last step of each run but the last starts the run after it."""
    assert kept_steps(SAVE_ALL, 5, 4) == [5, 4]
    assert kept_steps(SAVE_NOTHING, 5, 4) == [0, 0]
    assert [kept_steps(save, 5, 4) for save in (1, 2, 4, 5, 100)] == [[5, 3], [3, 1], [2, 0], [1, 0], [1, 0]]
    assert [kept_steps(save, 5) for save in (1, 2, 4, 5, 100)] == [[4], [2], [1], [0], [0]]
    assert [segment_of(3, 7, t) for t in (0, 2, 3, 6)] == [(0, 3), (0, 3), (3, 6), (6, 7)]
    assert [segment_of(save, 7, 6) for save in (SAVE_ALL, SAVE_NOTHING, 100)] == [(0, 7)] * 3


PEAK_CASE = Case(B=8, P=12, F=12, N=200, C=2, O=1, H=64, L=2, M=2, density=0.02)
PROGRAM = """
import json
import sys
import torch
from bench.machine import peak_resident_mib, resident_mib
from bench.cases import Case
from tests.kernels.operators import forward_and_gradients

torch.set_num_threads(1)
save, autocast = sys.argv[1], sys.argv[2] == "bf16"
forward_and_gradients(Case(), torch.float32, "cpu", True, save=save, autocast=autocast)
before = resident_mib()
case = Case(**json.loads(sys.argv[3]))
forward_and_gradients(case, torch.float32, "cpu", True, save=save, autocast=autocast)
print(peak_resident_mib() - before)
"""


def peak_mib(save: str, dtype: str) -> float:
    """What forward and backward take at their peak, in a process of their own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, save, dtype, json.dumps(vars(PEAK_CASE))],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_peak_memory_is_what_is_saved_and_little_more(dtype: str) -> None:
    require_library()
    case = PEAK_CASE
    width, of = (2, torch.bfloat16) if dtype == "bf16" else (4, torch.float32)
    # Inputs, packed weights, one tile's panels and sums of gradients; with segments, a tile's activations of K steps.
    beside = 18
    for save in ("all", "h", "segments:6"):
        numbers = saved_numbers(segment_length("op", save), 24, of, case.B, case.N, case.H, case.L)
        saved, peak = numbers * width / 2**20, peak_mib(save, dtype)
        assert saved - 1 <= peak <= saved + beside, f"save={save}: {saved:.0f} MiB saved, peak {peak:.0f} MiB"
