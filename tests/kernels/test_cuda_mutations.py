"""Bugs planted in the CUDA kernels, one at a time: emulator, schedules, sanitizers or numbers find each of them.

A mutation names the text that it replaces, and fails when the sources no longer have it.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cases import assert_within_budget
from tests.kernels.cuda_calls import LOW, TRUTH, CallSizes, candidate, candidate_gradient, make_call, plain
from tests.kernels.emulated import PROGRAM, ROOT, SANITIZERS, compile_emulation, run_program

pytestmark = pytest.mark.gpu_kernels

SIZES = CallSizes(counts=(16, 37), U=48, B=3, H=24, C=3, M=3)
WIDE = CallSizes(counts=(20,), U=32, B=2, H=72, C=2, M=2)
BARRIER = """        wait_copies<0>();
        __syncthreads();  // all threads' copies have landed, and no thread reads the other stage any more
"""
ISSUE = """        Step next = now;
        advance(next);
        if (next.output < counts_.outputs) issue(next);
"""


PARTS = """            float part[4] = {0.f, 0.f, 0.f, 0.f};
            multiply_tf32(part, a.low, b.high);
            multiply_tf32(part, a.high, b.low);
            multiply_tf32(part, a.high, b.high);
#pragma unroll
            for (int i = 0; i < 4; ++i) d[i] += part[i];
"""


@dataclass(frozen=True)
class Mutation:
    """``found``: a part of what the program says, or of the failed comparison with float64."""

    file: str
    old: str
    new: str
    found: str
    gradient: bool = False
    sizes: CallSizes = SIZES
    precision: str = "bf16"


MUTATIONS = {
    "no barrier before a stage is read": Mutation(
        "diffuse.cuh", BARRIER, "        wait_copies<0>();\n", "differ in tensor|max error"
    ),
    "a stage is overwritten before the barrier": Mutation(
        "diffuse.cuh", BARRIER + ISSUE, ISSUE + BARRIER, "differ in tensor|max error"
    ),
    "no wait for asynchronous copies": Mutation(
        "diffuse.cuh", BARRIER, "        __syncthreads();\n", "copies in flight|max error"
    ),
    "the stages are not swapped": Mutation("diffuse.cuh", "        filled_ ^= 1;\n", "", "differ in tensor|max error"),
    "divergent barrier": Mutation(
        "diffuse.cuh", BARRIER, BARRIER.replace("__sync", "if (lane_ < 16) __sync"), "deadlock"
    ),
    "swapped registers of the left operand": Mutation(
        "arithmetic.cuh",
        "rows + (lane % 16) * stride + lane / 16 * 8",
        "rows + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8",
        "max error",
    ),
    "no guard for batch rows": Mutation(
        "candidate.cuh",
        "if (row >= batch || unit >= units) return;",
        "if (unit >= units) return;",
        "AddressSanitizer|differ in tensor",
    ),
    "no guard for columns of the input's gradient": Mutation(
        "candidate.cuh", "if (first + i < channels) ", "", "AddressSanitizer|differ in tensor|max error", gradient=True
    ),
    "misaligned store of 16 bytes": Mutation(
        "candidate.cuh",
        "Math::store8(next + here, after)",
        "Math::store8(next + here + 1, after)",
        "misaligned address",
    ),
    "rows of shared memory at no multiple of 16 bytes": Mutation(
        "arithmetic.cuh",
        "kPad = 8, kCoefficientPad = 8, kWeightPad = 8",
        "kPad = 7, kCoefficientPad = 8, kWeightPad = 8",
        "no multiple of 16",
    ),
    "a row of shared memory stays as it was": Mutation(
        "diffuse.cuh", "int node = warp_; node < kNodes;", "int node = warp_; node < kNodes - 1;", "max error nan"
    ),
    "shuffle of half a warp": Mutation(
        "diffuse.cuh", "__shfl_sync(~0u, indices_", "__shfl_sync(0xffffu, indices_", "not in its own mask"
    ),
    "shuffle inside a branch": Mutation(
        "arithmetic.cuh",
        "__shfl_xor_sync(~0u, odd ? mid[j] : mid[j + 1], 1)",
        "(lane < 31 ? __shfl_xor_sync(~0u, odd ? mid[j] : mid[j + 1], 1) : 0.f)",
        "deadlock",
    ),
    "a lane's part of a row taken from the wrong lane": Mutation(
        "arithmetic.cuh",
        "upper ? from[j][i] : from[j + 2][i], 2)",
        "upper ? from[j][i] : from[j + 2][i], 1)",
        "max error",
    ),
    "reads behind shared memory": Mutation(
        "diffuse.cuh", "stages_ + 2 * Sizes::kStage + term", "stages_ + 4 * Sizes::kStage + term", "Sanitizer|outside"
    ),
    "terms of one slab kept for all": Mutation(
        "diffuse.cuh", "groups == 1 && slabs == 1", "groups == 1", "max error", gradient=True, sizes=WIDE
    ),
    "long sums of split products left to the tensor core": Mutation(
        "arithmetic.cuh",
        PARTS,
        PARTS.replace("{0.f, 0.f, 0.f, 0.f}", "{d[0], d[1], d[2], d[3]}").replace("+=", "="),
        "max error",
        precision="tf32x3",
    ),
}

# Every instance costs time.
INSTANCES = {"bf16": "Half<true>", "fp16": "Half<false>", "tf32": "Single<false>", "tf32x3": "Single<true>"}


# The layouts' sizes are asserted: the compiler would find a planted one before the emulator does.
ASSERTED = (
    "static_assert(Layout<Half<true>>::kBytes == 77824 && Layout<Half<false>>::kBytes == 77824);\n",
    "static_assert(Layout<Single<true>>::kBytes == 138240 && Layout<Single<false>>::kBytes == 138240);\n",
)


def _only(precision: str) -> list[tuple[str, str]]:
    instances = [
        (f"        case Precision::{name}:\n            return enqueue<{math}>(Task<{math}>(call), stream);\n", "")
        for name, math in INSTANCES.items()
        if name != precision
    ]
    return instances + [(line, "") for line in ASSERTED]


def _sources(folder: Path, edits: dict[str, list[tuple[str, str]]]) -> Path:
    """A copy of the kernels and the emulator with texts replaced; each must stand there exactly once."""
    for part in ("csrc/cuda", "tests/emulation"):
        shutil.copytree(ROOT / part, folder / part)
    for name, replacements in edits.items():
        path = folder / "csrc" / "cuda" / name
        text = path.read_text()
        for old, new in replacements:
            assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times: the mutation must be renewed"
            text = text.replace(old, new)
        path.write_text(text)
    return folder


def _complaint(folder: Path, gradient: bool, sizes: CallSizes, precision: str, mutation: Mutation | None) -> str:
    edits = {"candidate.cu": _only(precision)}
    if mutation is not None:
        edits[mutation.file] = [(mutation.old, mutation.new)]
    program = compile_emulation([*PROGRAM, *SANITIZERS], _sources(folder / "sources", edits))
    call = make_call(sizes, LOW[precision])
    complaint, got = run_program(program, call, precision, folder, gradient=gradient)
    if complaint:
        return complaint
    define = candidate_gradient if gradient else candidate
    try:
        assert_within_budget(got, define(call, plain(precision)), define(call, TRUTH))
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gradient", "sizes", "precision"),
    [(False, SIZES, "bf16"), (True, SIZES, "bf16"), (True, WIDE, "bf16"), (False, SIZES, "tf32x3")],
)
def test_nothing_is_found_in_the_sources_as_they_are(
    gradient: bool, sizes: CallSizes, precision: str, tmp_path: Path
) -> None:
    assert _complaint(tmp_path, gradient, sizes, precision, None) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    mutation = MUTATIONS[name]
    complaint = _complaint(tmp_path, mutation.gradient, mutation.sizes, mutation.precision, mutation)
    assert any(part in complaint for part in mutation.found.split("|")), complaint or "nothing was found"


def test_every_mutation_still_fits_the_sources(tmp_path: Path) -> None:
    for mutation in MUTATIONS.values():
        text = (ROOT / "csrc" / "cuda" / mutation.file).read_text()
        assert text.count(mutation.old) == 1, f"{mutation.file} has {mutation.old!r} {text.count(mutation.old)} times"
    for precision in ("bf16", "tf32x3"):
        _sources(tmp_path / precision, {"candidate.cu": _only(precision)})
