"""One contestant, or one kind of matrix product, in a process of its own, pinned to its cores.

Started by ``bench.compare``. Runs once, and prints a JSON line with the seconds of that first run and the peak memory;
then answers each line of its input, a number of runs, with the seconds of each run and the peak so far. Ends with its
input. A contestant
that cannot run here prints ``why_not`` instead.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def _product() -> Callable[[dict[str, Any]], Any]:
    from bench.gemm import Product

    return lambda task: Product(task["product"])


def _step() -> Callable[[dict[str, Any]], Any]:
    from bench.contestants import Contestant, Step
    from bench.workload import Workload

    return lambda task: Step(Contestant.parse(task["contestant"]), Workload(**task["workload"]))


def main(argv: list[str]) -> int:
    """Argument: a JSON object with contestant or product, workload, cores and results (a path, or null)."""
    task = json.loads(argv[0])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(task["cores"]))
    import torch

    from dcrnn_fast.kernels.native import kept_memory

    torch.set_num_threads(len(task["cores"]))
    with kept_memory():  # as in a training
        return _answer(task)


def _answer(task: dict[str, Any]) -> int:
    # Imported before the memory is read: Python modules are no part of a step.
    import torch

    from bench.machine import peak_resident_mib, resident_mib
    from dcrnn_fast.model.heap import give_back_freed_memory

    make = _product() if task.get("product") else _step()
    baseline = resident_mib()
    try:
        step = make(task)
        give_back_freed_memory()  # by the reference, from which all have their weights
        start = time.perf_counter()
        step.run()
    except NotImplementedError as error:
        print(json.dumps({"why_not": str(error)}), flush=True)
        return 0
    seconds = time.perf_counter() - start
    answer = {"seconds_first": seconds, "peak_mib": peak_resident_mib() - baseline, "imported_mib": baseline}
    if task.get("results"):
        torch.save(step.results(), task["results"])
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        times = []
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(int(line)):
            start = time.perf_counter()
            step.run()
            times.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        share, peak = used / max(sum(times), 1e-9), peak_resident_mib() - baseline
        print(json.dumps({"seconds": times, "cpu_share": share, "peak_mib": peak}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
