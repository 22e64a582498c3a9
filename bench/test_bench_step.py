"""pytest-benchmark: a training step of every contestant on small named shapes. Run with ``pytest bench``."""

from typing import Any

import pytest

from bench.contestants import REFERENCE, Contestant, TrainingStep, largest_errors
from bench.machine import machine, versions
from bench.workload import SMALL


@pytest.mark.parametrize("contestant", [REFERENCE, "specification", "manual", "manual:bf16"])
@pytest.mark.parametrize("shape", SMALL)
def test_bench_training_step(benchmark: Any, shape: str, contestant: str) -> None:
    workload, taking_part = SMALL[shape], Contestant.parse(contestant)
    step, reference = TrainingStep(taking_part, workload), TrainingStep(Contestant(REFERENCE), workload)
    step.run()
    reference.run()
    errors = largest_errors(step.results(), reference.results())
    assert errors[0] <= taking_part.bounds[0]
    assert errors[1] <= taking_part.bounds[1]
    benchmark.pedantic(step.run, rounds=10, warmup_rounds=2)
    benchmark.extra_info.update(
        machine=machine(),
        versions=versions(),
        dtype=taking_part.dtype,
        gflop=workload.gflop,
        gflop_per_s=workload.gflop / benchmark.stats.stats.median,
    )
