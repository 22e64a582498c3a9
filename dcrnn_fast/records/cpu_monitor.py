"""cpu_monitor.csv: load and memory of the machine, and of the run's own processes on it."""

import os
import time

from dcrnn_fast.config.sections import Config
from dcrnn_fast.records.monitor import Monitor
from dcrnn_fast.records.packages import require_package
from dcrnn_fast.records.watcher import Place
from dcrnn_fast.system import MIB


class CpuMonitor(Monitor):
    """A row each time: of several ranks on a host the processes are their launcher's and all below it."""

    stem = "cpu_monitor"
    files = ("cpu_monitor*.csv",)
    columns = (
        "time",
        "host",
        "cpu_percent",
        "memory_used_mib",
        "process_cpu_percent",
        "process_rss_mib",
        "processes",
    )
    averaged = {"cpu_percent": "cpu_percent"}  # noqa: RUF012 (nobody changes it)

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return config.watch.monitor_cpu

    @classmethod
    def require(cls, config: Config) -> None:
        require_package("psutil", "--monitor-cpu", "psutil")

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        import psutil

        self._psutil = psutil
        parent = os.getppid()
        self._root = psutil.Process(parent if place.local_world > 1 and parent > 1 else os.getpid())
        self._worked: dict[tuple[int, float], float] = {}
        self._when = 0.0

    def open(self) -> None:
        self._psutil.cpu_percent()  # it counts from the call before
        self._own()

    def read(self) -> list[list[object]]:
        memory = self._psutil.virtual_memory()
        used = round((memory.total - memory.available) / MIB, 1)
        return [[self._psutil.cpu_percent(), used, *self._own()]]

    def _own(self) -> tuple[float, float, int]:
        """Of all processes of the run: percent of one core since the last call, MiB, how many."""
        worked: dict[tuple[int, float], float] = {}
        resident = 0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    worked[process.pid, process.create_time()] = times.user + times.system
                    resident += process.memory_info().rss
            except self._psutil.Error:  # it has ended
                continue
        now = time.monotonic()
        # Of a process that is new all counts, of one that has ended nothing.
        seconds = sum(spent - self._worked.get(process, 0.0) for process, spent in worked.items())
        share = seconds / max(now - self._when, 1e-3)
        self._worked, self._when = worked, now
        return round(100 * share, 1), round(resident / MIB, 1), len(worked)
