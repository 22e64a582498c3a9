"""The emulator itself: it refuses what a GPU would refuse, hang on or pass over in silence."""

import subprocess

import pytest

from tests.kernels.emulated import compile_emulation

pytestmark = pytest.mark.gpu_kernels

WANTED = [
    "launch of 1025 threads a block; 1 to 1024 are allowed",
    "launch of a grid of (1,65536,1) blocks",
    "launch with 232449 bytes of shared memory; 232448 are allowed",
    "deadlock: block (0,0,0) thread 0 at misuse.cpp:12 waits, and thread 16 of its block has returned",
    "divergent __syncthreads: block (0,0,0) thread 63 at misuse.cpp:19 and block (0,0,0) thread 0 at misuse.cpp:17",
    "shuffle from a lane outside of the mask: block (0,0,0) thread 0 at misuse.cpp:23",
    "lane 16 is not in its own mask: block (0,0,0) thread 16 at misuse.cpp:26",
    "returns with asynchronous copies in flight: block (0,0,0) thread 0 at misuse.cpp:30",
    "asynchronous copy outside of shared memory: block (0,0,0) thread 0 at misuse.cpp:35",
    "asynchronous copy of 16 bytes at an address that is no multiple of 16: block (0,0,0) thread 0 at misuse.cpp:40",
]


def test_misuse_is_named_with_thread_and_line() -> None:
    program = compile_emulation([], source="tests/emulation/misuse.cpp")
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[: len(WANTED)] == WANTED
    races = said[len(WANTED) :]
    # Lock-step cannot see it: that is what the other schedules are for.
    assert races == ["race: not seen"] * 2 + ["race: seen"] * 3
