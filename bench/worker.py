"""A contestant in a process of its own, pinned to one core: first its peak memory and results, then one step a request.

Started by ``bench.step``. Prints one JSON line when ready and one for each line that it reads; ends with its input.
"""

import json
import os
import resource
import sys
import time


def main(argv: list[str]) -> int:
    """Arguments: a JSON object with contestant, workload, core and results (a path, or null)."""
    task = json.loads(argv[0])
    os.sched_setaffinity(0, {task["core"]})
    import torch

    torch.set_num_threads(1)
    from bench.machine import peak_resident_mib, resident_mib

    baseline = resident_mib()
    # Only now: what the contestant itself imports and builds counts as its own.
    from bench.contestants import Contestant, TrainingStep
    from bench.workload import Workload

    step = TrainingStep(Contestant.parse(task["contestant"]), Workload(**task["workload"]))
    step.run()
    peak_mib = peak_resident_mib() - baseline
    if task["results"] is not None:
        torch.save(step.results(), task["results"])
    print(json.dumps({"peak_mib": peak_mib}), flush=True)
    for _ in sys.stdin:
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        step.run()
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(json.dumps({"seconds": seconds, "cpu_seconds": used}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
