"""A run that needs more memory than there is ends in one line with values that fit; the first of them does.

Where a test wants certain flags it takes ``manual``: what the compiled kernels' scratch memory is of a small step, and
so what fits, depends on their tiles and threads, so on the machine.
"""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcrnn_fast import train
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.memory import MARGIN
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.system import MIB, Limits
from dcrnn_fast.training import memory
from dcrnn_fast.training.loop import validate
from dcrnn_fast.training.memory import StepMemory, advice, naming_what_fits, require_room
from dcrnn_fast.training.run import Run, make_run
from dcrnn_fast.training.step import try_window
from tests.checkout import ROOT
from tests.training.rank_programs import debug_config

# 150 for the step, and what glibc reserves for the thread that keeps the lock of the folder.
MEGABYTES = 225
LIMITED = """
import resource, sys, torch
import torch._dynamo  # the first custom operator that runs would import it: 140 MB of what a step may take
from dcrnn_fast import train
from dcrnn_fast.data.city import synthetic_city
from dcrnn_fast.evaluation import plots
synthetic_city(nodes=40, days=8, seed=0)  # like all that is imported late, no part of the step
torch.set_num_threads(1)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]) * 2**20, -1))
sys.exit(train.main(sys.argv[2:]))
"""


def run(megabytes: int, results: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = ("--config", "debug", "--backend", "manual", "--threads", "1", "--epochs", "1", "--hidden-units", "64",
             "--city-nodes", "40", "--past-steps", "12", "--future-steps", "12",
             "--max-train-windows", "128", "--max-validation-windows", "2", "--device", "cpu")  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(megabytes), *words, "--results", str(results), *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_too_large_a_batch_is_answered_with_one_that_fits(tmp_path: Path) -> None:
    failed = run(MEGABYTES, tmp_path / "r", "--batch-size", "128")
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    found = re.search(r"out of memory \(.*iB available\): .*--batch-size (\d+) --accumulate (\d+)", failed.stderr)
    assert found, failed.stderr
    size, accumulate = map(int, found.groups())
    assert size * accumulate == 128
    assert size < 128
    again = run(MEGABYTES, tmp_path / "r", "--batch-size", str(size), "--accumulate", str(accumulate))
    assert again.returncode == 0, again.stderr


def gpu_run(*flags: str) -> Run:
    config = debug_config("--city-nodes", "10", "--past-steps", "12", "--future-steps", "12", *flags)
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    run.ranks = Ranks(device=torch.device("cuda"))
    return run


def step_bytes(run: Run, batch_size: int, save: str = "all") -> int:
    """What the plan says of the run's step in micro-batches of this size."""
    found = StepMemory(run)
    return found.peak(Choice(batch_size, found.now.windows // batch_size, save))


def test_on_a_gpu_others_take_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    run = gpu_run("--batch-size", "8", "--backend", "manual")
    half = int(MARGIN * step_bytes(run, 4)) + 1
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (half // 4, 100 * half))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: half - half // 4)
    wanted = r"for this process\): .* fits in parts: --batch-size 4 --accumulate 2$"
    with pytest.raises(UserError, match=wanted), naming_what_fits(run):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_step_that_runs_out_names_all_that_could_be_lowered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a GPU's allocator fails, in the middle of a training; the values are those of now."""
    predict, calls = Run.predict, []

    def full(run: Run, *arguments: object) -> torch.Tensor:
        calls.append(run)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return predict(run, *arguments)

    monkeypatch.setattr(Run, "predict", full)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2**19, 2**30))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 0)
    words = ["--config", "debug", "--backend", "manual", "--device", "cpu", "--results", str(tmp_path)]
    assert train.main([*words, "--batch-size", "8", "--global-batch-size", "16"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dcrnn-fast train: error: GPU out of memory (0.5 MiB of 1 GiB for this process): ")
    wanted = (
        r"a micro-batch of 8 windows needs about \S+ MiB, \S+ (?:MiB|bytes) more than there is, with accumulate 2, "
        r"global_batch_size 16, (num_workers \d+, )?precision fp32, save all, hidden_units 8, num_layers 1; "
        r"the same step fits.* --batch-size \d \(--global-batch-size 16 stays\)\n$"
    )
    assert re.search(wanted, said), said


def test_where_no_window_fits_fewer_states_may() -> None:
    run = gpu_run("--batch-size", "6", "--accumulate", "5", "--city-nodes", "100")
    one, states_alone = step_bytes(run, 1), step_bytes(run, 1, "h")
    assert states_alone < 0.95 * one
    said = advice(run, int(1.01 * states_alone * MARGIN))
    assert "; the same step fits, and takes longer, with --save h" in said
    parts = re.search(
        r"; the same step fits.* --batch-size (\d+) --accumulate (\d+)$", advice(run, int(1.01 * one * MARGIN))
    )
    assert parts is not None
    assert int(parts[1]) * int(parts[2]) == 30
    assert advice(run, one // 10).endswith("use fewer hidden units or layers, or a device with more memory")
    plain = gpu_run("--batch-size", "6", "--backend", "manual")
    assert "--save" not in advice(plain, int(0.8 * step_bytes(plain, 1)))


def test_a_validation_that_runs_out_is_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    config = debug_config("--city-nodes", "10", "--batch-size", "6")
    run = make_run(config, open_data(config.data, config.graph), Ranks())

    def no_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Run, "predict", no_memory)
    wanted = r"validation forecasts 6 windows at a time with .*; .* --batch-size 3 --accumulate 2$"
    with pytest.raises(UserError, match=wanted):
        validate(run, StopRequest())


def test_a_step_that_cannot_fit_is_refused_before_the_kernel_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = debug_config("--backend", "manual", "--batch-size", "8", "--max-train-windows", "16", "--device", "cpu")
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    found = StepMemory(run)
    needed = found.peak(found.now)
    monkeypatch.setattr(memory, "limits", lambda: Limits(None, 1.0, 0.0))
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: 0.85 * needed / MARGIN / MIB)
    wanted = (
        r"out of memory \(.* available\): a micro-batch of 8 .* more than there is, .*; the same step fits in parts: "
        r"--batch-size (\d+) --accumulate (\d+)$"
    )
    with pytest.raises(UserError, match=wanted) as refused:
        try_window(run)
    parts = re.search(wanted, str(refused.value))
    assert parts is not None
    assert found.peak(Choice(int(parts[1]), int(parts[2]), "all")) * MARGIN <= 0.85 * needed / MARGIN
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: needed / MIB)
    try_window(run)
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: math.nan)
    try_window(run)


def test_swap_is_memory_where_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = debug_config("--city-nodes", "10", "--device", "cpu", "--max-train-windows", "16")
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: 0.0)
    monkeypatch.setattr(memory, "memory_mib", lambda field: {"SwapFree": 1e6}[field])
    monkeypatch.setattr(memory, "limits", lambda: Limits(None, None, None))
    require_room(run)
    monkeypatch.setattr(memory, "limits", lambda: Limits(None, 1.0, 0.0))
    with pytest.raises(UserError, match="out of memory"):
        require_room(run)


@pytest.mark.parametrize("error", [RuntimeError("std::bad_alloc (originally from torch_parallel_for)"), MemoryError()])
def test_any_failed_allocation_of_a_step_is_answered(error: Exception) -> None:
    config = debug_config("--city-nodes", "10", "--batch-size", "6", "--device", "cpu")
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    with (
        pytest.raises(UserError, match=r"out of memory \(.* GiB available\): a micro-batch of 6"),
        naming_what_fits(run),
    ):
        raise error


def test_weights_without_end_are_refused_before_they_are_made() -> None:
    config = debug_config("--city-nodes", "4", "--hidden-units", "1000000")
    with pytest.raises(UserError, match=r"out of memory .* weights of 1 layers of 1000000 units with 2 hops take"):
        make_run(config, open_data(config.data, config.graph), Ranks())


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = debug_config("--backend", "manual", "--city-nodes", "10", "--batch-size", "8")
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    found = StepMemory(run)
    room = 1.2 * found.peak(found.now) / MIB
    monkeypatch.setattr("dcrnn_fast.training.memory.available_mib", lambda processes=1: room / processes)
    monkeypatch.setattr("dcrnn_fast.training.memory.memory_mib", lambda field: 0.0)
    require_room(run)
    run.ranks = Ranks(local_world=2)
    with pytest.raises(UserError, match=r"for each of 2 processes here, LOCAL_WORLD_SIZE\): .* --batch-size \d --acc"):
        require_room(run)
