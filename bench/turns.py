"""Contestants in processes of their own that take turns, so that a disturbance meets all of them.

Memory between steps. `cpu` has glibc's default heap, and its operators keep their memory, as in a training: the same
for its seconds and its peak. What computes with PyTorch's own operators has what is best for it. Timed, its heap is
kept (glibc's MALLOC_MMAP_MAX_=0 and no trimming): with the default every large tensor is fresh memory, whose page
faults cost the reference half as much time again at METR-LA's B=64. Its peak is read with the default, as a kept heap
falls into pieces and takes up to 1.2 times as much.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.contestants import Contestant
from bench.workload import Workload
from dcrnn_fast.system import available_mib

KEEPS_ITS_OWN = "cpu"
"""the backend whose operators keep their memory in a training"""
_KEEP_THE_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
_ROOT = Path(__file__).resolve().parent.parent
TURN_SECONDS = 0.25
"""shorter steps run several times in a turn"""


class CannotRunError(Exception):
    """A contestant cannot run here; the message gives its reason."""


class Worker:
    """A ``bench.worker`` process; ends when it is closed.

    Raises:
        CannotRunError: the contestant gave a reason why it cannot run.
        SystemExit: the process ended otherwise; its messages are on stderr.
    """

    def __init__(
        self,
        name: str,
        task: dict[str, Any],
        *,
        cores: list[int],
        unit: str | None = None,
        keep_heap: bool = True,
    ) -> None:
        self.name = name
        threads = {variable: str(len(cores)) for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {**os.environ, **threads, **(_KEEP_THE_HEAP if keep_heap else {})}
        if unit is not None:
            environment["DCRNN_FAST_CPU"] = unit
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps({**task, "cores": cores})],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self._answer()
        if "why_not" in first:
            self.close()
            raise CannotRunError(first["why_not"])
        self.first: dict[str, float] = first
        self.count = 0

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and waits for it."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.communicate()

    def turn(self) -> dict[str, Any]:
        """Seconds of each run of one turn, and the share of them that the processor worked."""
        if self.count == 0:
            (seconds,) = self._run(1)["seconds"]
            self.count = max(1, min(50, math.ceil(TURN_SECONDS / seconds)))
        return self._run(self.count)

    def _run(self, count: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> SystemExit:
        code = self.process.wait()
        why = "was killed, for memory perhaps" if code == -9 else f"ended with code {code}; see above"
        return SystemExit(f"bench.compare: {self.name} {why}")


@dataclass
class Times:
    """All counted runs of one contestant, with the reference's of the same heats."""

    seconds: list[float] = field(default_factory=list)
    cpu_shares: list[float] = field(default_factory=list)
    reference_best: float = math.inf
    peak_mib: float = 0.0


def contestant_worker(
    contestant: Contestant, workload: Workload, *, results: Path | None = None, timed: bool = True
) -> Worker:
    """Started, and through its first run; ``timed``: its turns will be, with the heap that is best for it."""
    task = {
        "contestant": contestant.name,
        "workload": asdict(workload),
        "results": None if results is None else str(results),
    }
    cores = pinned_cores(contestant.threads)
    keep_heap = timed and contestant.backend != KEEPS_ITS_OWN
    return Worker(contestant.name, task, cores=cores, unit=contestant.unit, keep_heap=keep_heap)


def product_worker(kind: str, threads: int) -> Worker:
    """A matrix product of ``bench.gemm``, started."""
    return Worker(kind, {"product": kind}, cores=pinned_cores(threads))


def pinned_cores(threads: int) -> list[int]:
    """The last ones of those that this process may use: the first ones serve interrupts."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return usable[-threads:]


def heats(contestants: Sequence[Contestant], peaks_mib: dict[Contestant, float]) -> list[list[Contestant]]:
    """Groups that fit in memory together with the reference, which comes first and takes part in each.

    Raises:
        SystemExit: one does not fit beside the reference.
    """
    reference, *others = contestants
    room = available_mib() / 1.3  # keeping the heap costs some memory over the peak: 1.2 times, seen with the reference
    groups: list[list[Contestant]] = [[]]
    for contestant in others:
        together = peaks_mib[reference] + sum(peaks_mib[c] for c in groups[-1]) + peaks_mib[contestant]
        if together > room and groups[-1]:
            groups.append([])
            together = peaks_mib[reference] + peaks_mib[contestant]
        if together > room:
            raise SystemExit(
                f"bench.compare: {contestant.name} and the reference together need about {1.3 * together / 1024:.1f} "
                f"GiB, {1.3 * room / 1024:.1f} are free: take a smaller --batch-size"
            )
        groups[-1].append(contestant)
    return [[reference, *group] for group in groups]


def take_turns(workers: Sequence[Worker], *, rounds: int, warm_up: int) -> list[list[dict[str, Any]]]:
    """Each worker's counted turns."""
    turns = [[worker.turn() for worker in workers] for _ in range(warm_up + rounds)][warm_up:]
    return [list(of_one) for of_one in zip(*turns, strict=True)]


def run_heat(
    group: Sequence[Contestant],
    workload: Workload,
    times: dict[Contestant, Times],
    rates: dict[int, dict[str, float]],
    *,
    products: dict[tuple[int, str], Worker],
    gflop_of_product: float,
    rounds: int,
    warm_up: int,
    started: dict[Contestant, Worker],
) -> None:
    """Times one group, the reference first, and the matrix products beside it; adds to ``times`` and ``rates``."""
    with ExitStack() as stack:
        workers = [
            started.get(contestant) or stack.enter_context(contestant_worker(contestant, workload))
            for contestant in group
        ]
        turns = take_turns([*workers, *products.values()], rounds=rounds, warm_up=warm_up)
    seconds = [[second for turn in of_one for second in turn["seconds"]] for of_one in turns]
    for contestant, of_one, all_seconds in zip(group, turns, seconds, strict=False):
        mine = times.setdefault(contestant, Times())
        mine.seconds += all_seconds
        mine.cpu_shares += [turn["cpu_share"] for turn in of_one]
        mine.peak_mib = max(mine.peak_mib, *(turn["peak_mib"] for turn in of_one))
        mine.reference_best = min(seconds[0]) if contestant is not group[0] else math.inf
    for (threads, kind), all_seconds in zip(products, seconds[len(group) :], strict=True):
        rate = gflop_of_product / min(all_seconds)
        rates.setdefault(threads, {})[kind] = max(rate, rates.get(threads, {}).get(kind, 0.0))
