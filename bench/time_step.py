"""pytest-benchmark: a complete step, or forecast, of every contestant on small shapes. Run with ``pytest bench``.

``python -m bench.compare`` is the comparison that numbers are quoted from: processes that take turns, pinned cores.
"""

from typing import Any

import pytest

from bench.benchmark import UNITS, extra_info, skip_or_cap
from bench.budget import TRUTH, budget, errors, plain_for, require_equal
from bench.contestants import Contestant, Step
from bench.workload import QUICK, Workload, metr_la

NAMES = [
    *("reference", "plain", "compile", "specification", "manual"),
    *("plain:bf16", "manual:bf16", "cpu:bf16"),
    *(f"cpu:unit={unit}" for unit in UNITS),
]
WORKLOADS = {
    "tiny": QUICK["metr-la"],
    "nothing_divides_a_tile": QUICK["pems-bay"],
    "metr_la_one_window": metr_la(batch_size=1),
    "metr_la_forecast": metr_la(batch_size=1, training=False),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_bench_step(benchmark: Any, workload: Workload, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    contestant = Contestant.parse(name)
    skip_or_cap(
        monkeypatch,
        reason=contestant.why_not(workload),
        compiles_for_minutes=contestant.backend == "compile" and workload.future_steps > 3,
        unit=contestant.unit,
    )
    step = Step(contestant, workload)
    step.run()
    plain = plain_for(contestant)
    truth = _results(TRUTH, workload)
    assert plain is not None
    allowed = budget(contestant, errors(_results(plain, workload), truth))
    require_equal(contestant, errors(step.results(), truth), allowed)
    benchmark.pedantic(step.run, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(extra_info(benchmark, workload.gflop, contestant.dtype), dtype=contestant.dtype)


def _results(contestant: Contestant, workload: Workload) -> Any:
    step = Step(contestant, workload)
    step.run()
    return step.results()
