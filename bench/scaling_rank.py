"""One rank of one layout of ``bench.scaling``: real training steps, and what each costs in bytes and in waiting.

Started with torchrun's variables in its environment. After opening its data, and then after each line of its input (a
number of steps), rank 0 prints a JSON line with the numbers of all ranks; the others print an empty one.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FIELDS = ("seconds", "all_reduce_seconds", "halo_seconds", "gradient_bytes", "halo_bytes", "exchanges")
"""of a turn, for each rank"""


@dataclass(slots=True)
class Counts:
    """What went through torch.distributed since the last turn began."""

    seconds: float = 0.0
    bytes: int = 0
    partners: list[Any] = field(default_factory=list)
    exchanges: int = 0

    def halo(self) -> tuple[float, int]:
        """Seconds that exchanges of rows were waited for, and the bytes that were sent, since the process began."""
        return sum(p.waited_seconds for p in self.partners), sum(p.bytes_sent for p in self.partners)


def counting() -> Counts:
    """Counts from now on what all-reduces carry, and what partners exchange."""
    import torch.distributed as dist

    counts, all_reduce = Counts(), dist.all_reduce

    def timed(tensor: Any, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return all_reduce(tensor, *arguments, **named)
        finally:
            counts.seconds += time.perf_counter() - began
            counts.bytes += tensor.numel() * tensor.element_size()

    dist.all_reduce = timed
    return counts


def count_partners(run: Any, counts: Counts) -> None:
    """Adds the partners of a graph that is shared, if it is."""
    shared = getattr(run, "shared", None)
    if shared is None:
        return
    start = shared.partners.start

    def counted(*arguments: Any, **named: Any) -> Any:
        counts.exchanges += 1
        return start(*arguments, **named)

    shared.partners.start = counted
    counts.partners.append(shared.partners)


def main(argv: list[str]) -> int:
    """Argument: a JSON object, as ``bench.scaling`` makes it."""
    task = json.loads(argv[0])
    if task["cores"]:
        os.sched_setaffinity(0, set(task["cores"]))
    import torch
    import torch.distributed as dist

    from dcrnn_fast.config.plain import from_dict
    from dcrnn_fast.config.sections import Config
    from dcrnn_fast.errors import UserError
    from dcrnn_fast.kernels.native import kept_memory
    from dcrnn_fast.model.build import chosen_backend
    from dcrnn_fast.ranks.group import join_ranks
    from dcrnn_fast.ranks.stopping import StopRequest
    from dcrnn_fast.training.start import open_run
    from dcrnn_fast.training.step import EagerStep

    counts = counting()
    config = from_dict(Config, task["config"])
    os.chdir(task["folder"])
    results = str(Path("results", task["name"].replace(" ", "_")))
    config = replace(config, output=replace(config.output, results=results))
    try:
        run, _ = open_run(config, join_ranks(300))
    except (UserError, NotImplementedError) as error:
        print(json.dumps({"why_not": str(error)}), flush=True)
        return 0
    torch.set_num_threads(task["threads"])
    count_partners(run, counts)
    stepper, stop, step = EagerStep(run), StopRequest(), 0
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(json.dumps({"parameters": parameters, "backend": chosen_backend(run.model)}), flush=True)
    run.model.train()
    for line in sys.stdin:
        counts.seconds, counts.bytes, counts.exchanges = 0.0, 0, 0
        waited, sent = counts.halo()
        with kept_memory():
            began = time.perf_counter()
            for _ in range(int(line)):
                stepper.take(next(iter(run.batches.epoch(step))), step, 1e-3, stop)
                step += 1
            seconds = time.perf_counter() - began
        waited, sent = (now - before for now, before in zip(counts.halo(), (waited, sent), strict=True))
        mine = [seconds, counts.seconds, waited, counts.bytes, sent, counts.exchanges]
        numbers = torch.tensor([mine], dtype=torch.float64, device=run.ranks.device)
        all_ranks = [numbers]
        if run.ranks.world > 1:
            all_ranks = [torch.empty_like(numbers) for _ in range(run.ranks.world)]
            dist.all_gather(all_ranks, numbers)
        answer = dict(zip(FIELDS, (torch.cat(all_ranks).T / int(line)).tolist(), strict=True))
        print(json.dumps(answer if run.ranks.is_first else {}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
