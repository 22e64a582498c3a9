"""The Triton backend through Triton's own JIT without a GPU: kernels are specialised, compiled and assembled as on one,
and launches do nothing.

``python -m tests.kernels.triton_jit 90 small_dense:bf16:gather:h ...`` in a process of its own, whose driver is
replaced; see ``Job``. It prints how often each kernel was launched, and how many binaries there were.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from bench.cases import Case
from bench.shapes import CORNERS
from dcrnn_fast.kernels.gpu import available
from dcrnn_fast.kernels.gpu.blocks import assumed_architecture
from dcrnn_fast.kernels.gpu.words import overruled
from dcrnn_fast.kernels.selfcheck import ways
from tests.kernels.operators import convolution_results, forward_and_gradients, sequence_results

# Bytes of shared memory that a block can have.
SHARED = {80: 166912, 90: 232448}
CASES = CORNERS | {"step": Case(B=1, P=1, F=1, N=19, C=2, O=1, H=16, L=1, M=2)}
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Job(NamedTuple):
    """A name of ``CASES`` or "selfcheck"; one of ``DTYPES`` (tf32: float32, as PyTorch may multiply it); words; save,
    which the self-check leaves at all."""

    case: str
    dtype: str
    words: str
    save: str = "all"


class Launched(NamedTuple):
    kernel: str
    function: int
    grid: tuple[int, int, int]


class Driver:
    """What Triton asks of a CUDA driver; a function's handle is its place among ``binaries``."""

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.binaries: list[bytes] = []
        self.launched: list[Launched] = []
        self.utils = self

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": SHARED[self.arch]}

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
        """Module, function, registers, spills, most threads of a block."""
        self.binaries.append(binary)
        return 0, len(self.binaries) - 1, 0, 0, 1024

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        def launch(x: int, y: int, z: int, stream: int, function: int, *rest: Any) -> None:
            self.launched.append(Launched(metadata.name, function, (x, y, z)))

        return launch


def run(job: Job) -> None:
    """Every operator, forward and backward; results are what was in fresh memory."""
    dtype = DTYPES[job.dtype]
    torch.backends.cuda.matmul.fp32_precision = "tf32" if job.dtype == "tf32" else "ieee"
    with overruled(job.words):
        if job.case == "selfcheck":
            for operator in ways.CASES:
                for way in ways.ways_of(operator, "triton"):
                    ways.results(operator, "triton", way, torch.device("cpu"), dtype)
            return
        case = CASES[job.case]
        forward_and_gradients(case, dtype, "triton", True, save=job.save)
        sequence_results(case, dtype, "triton", save=job.save)
        convolution_results(case, dtype, "triton")


def main(arch: int, jobs: list[Job]) -> None:
    fake = Driver(arch)
    driver.set_active(fake)
    available._why_not = lambda device_type, index: None
    torch.set_num_threads(1)
    with assumed_architecture(arch):
        for job in jobs:
            before = len(fake.launched)
            try:
                run(job)
            except Exception as error:
                error.add_note(f"in {job}")
                raise
            assert len(fake.launched) > before, f"{job} launched nothing"
    for one in fake.launched:
        assert fake.binaries[one.function].startswith(b"\x7fELF"), f"{one.kernel} has no binary"
        assert min(one.grid) > 0, f"{one.kernel} on {one.grid}"
    print(json.dumps({"launches": Counter(one.kernel for one in fake.launched), "binaries": len(fake.binaries)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), [Job(*text.split(":")) for text in sys.argv[2:]])
