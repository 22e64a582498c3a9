"""This machine, and this process's share of it: processor, cores, memory, limits of its control group."""

import errno
import math
import os
import platform
import sys
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import resource  # now: it is asked when there may be no memory left to load it

FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "bf16",
    "sve",
)
"""instruction sets that matter here, x86 first, as /proc/cpuinfo names them"""
MIB = 2**20
_OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "Cannot allocate memory", "not enough memory", "out of memory")


class Limits(NamedTuple):
    """The limits of a control group (a container, a batch job); None: no limit.

    Memory used is without the pages of files that the kernel drops if memory is needed.
    """

    cores: float | None
    memory_mib: float | None
    memory_used_mib: float | None


def machine() -> dict[str, object]:
    """Processor, its instruction sets that matter here, cores, memory, load."""
    return {
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in (_cpu_field("flags") or _cpu_field("Features")).split()],
        "cores": os.cpu_count(),
        "memory_gib": round(memory_mib("MemTotal") / 1024, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
    }


def usable_cores() -> int:
    """Cores that the scheduler may give this process (taskset, a batch system); all if the affinity is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_mib(field: str, proc: Path = Path("/proc")) -> float:
    """A field of /proc/meminfo ("MemTotal", "MemAvailable"), in MiB; NaN on a system without that file."""
    kibibytes = _field(proc / "meminfo", field)
    return float("nan") if kibibytes is None else int(kibibytes.split()[0]) / 1024


def available_mib(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup"), *, processes: int = 1) -> float:
    """Memory that this process can still take, in MiB: of the machine, of its control group, and up to its own limits
    (``ulimit -v``, ``ulimit -d``).

    NaN if the system does not report it.

    Args:
        processes: that share what the machine and the group have.
    """
    group = limits(proc, groups)
    free = memory_mib("MemAvailable", proc)
    if group.memory_mib is not None:
        free = min(free, group.memory_mib - (group.memory_used_mib or 0))
    return max(min(free / processes, *_left_of_own_limits(proc)), 0.0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch has no exception type for it on a CPU, C++ says bad_alloc."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ImportError):
        return "failed to map segment" in str(error) or "Cannot allocate memory" in str(error)
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in said for words in _OUT_OF_MEMORY)
    )


def _left_of_own_limits(proc: Path) -> list[float]:
    """MiB up to each limit that this process has on its address space and on its data."""
    if sys.platform == "win32":
        return [math.inf]
    sizes = (_read(proc / "self" / "statm") or "").split()
    left = []
    for limit, field in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and sizes:
            left.append((most - int(sizes[field]) * resource.getpagesize()) / MIB)
    return left or [math.inf]


def limits(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Limits:
    """The tightest limits on the way from this process's control group up to the root, of version 2 or 1."""
    membership = proc / "self" / "cgroup"
    if not membership.is_file():
        return Limits(None, None, None)
    cores: list[float] = []
    memory: list[float] = []
    used: list[float] = []
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        for folder in _upwards(groups if not controllers else groups / controllers, path):
            if not controllers:
                quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
                _keep(cores, quota, float(period or 1))
                _keep(memory, _read(folder / "memory.max"), MIB)
                _keep(used, _without_files(folder, "memory.current", ""), MIB)
            elif "cpu" in names:
                period = _read(folder / "cpu.cfs_period_us") or "1"
                _keep(cores, _read(folder / "cpu.cfs_quota_us"), float(period))
            elif "memory" in names:
                _keep(memory, _read(folder / "memory.limit_in_bytes"), MIB)
                _keep(used, _without_files(folder, "memory.usage_in_bytes", "total_"), MIB)
    return Limits(min(cores, default=None), min(memory, default=None), used[0] if used and memory else None)


def _without_files(folder: Path, usage: str, prefix: str) -> str | None:
    if (used := _read(folder / usage)) is None:
        return None
    fields = dict(line.split(" ", 1) for line in (_read(folder / "memory.stat") or "").splitlines())
    files = sum(int(fields.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    return str(int(used) - files)


def _upwards(root: Path, path: str) -> list[Path]:
    """The group's folder and those above it, nearest first."""
    folder = root / path.lstrip("/")
    # Inside a container the path can be the host's, which does not exist here: the root is then the container's own.
    return [f for f in (folder, *folder.parents) if f.is_relative_to(root)]


def _keep(found: list[float], text: str | None, unit: float) -> None:
    # "max", -1 and numbers near 2**63 all mean that there is no limit.
    if text is not None and text.lstrip("-").isdigit() and 0 < int(text) < 2**60:
        found.append(int(text) / unit)


def _read(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


def _cpu_field(name: str) -> str:
    return _field(Path("/proc/cpuinfo"), name) or ""


def _field(path: Path, name: str) -> str | None:
    # Linux alone has these files.
    if not path.is_file():
        return None
    lines = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return next((value.strip() for key, value in lines if key.strip() == name), None)
