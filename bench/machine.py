"""The circumstances of a measurement: machine, versions, commit; and what a process has used of its memory."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")


def machine() -> dict[str, object]:
    """Processor, its instruction sets that matter here, cores, memory, load."""
    return {
        "cpu": _cpu_field("model name") or platform.processor(),
        "flags": [flag for flag in _FLAGS if flag in _cpu_field("flags").split()],
        "cores": os.cpu_count(),
        "memory_gib": round(_kibibytes("/proc/meminfo", "MemTotal") / 2**20, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of what takes part."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return {"python": platform.python_version(), **packages, "torch_cpu": torch.backends.cpu.get_cpu_capability()}


def commit() -> str:
    """The repository's commit, with ``+`` where files differ from it; "unknown" outside a repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def available_mib() -> float:
    """Memory that a new process could take."""
    return _kibibytes("/proc/meminfo", "MemAvailable") / 1024


def resident_mib() -> float:
    """Memory of this process that is resident now."""
    return _kibibytes("/proc/self/status", "VmRSS") / 1024


def peak_resident_mib() -> float:
    """The most that was resident since this program began.

    Not ``ru_maxrss``: that survives exec, so that a child of a large process begins with its parent's peak.
    """
    return _kibibytes("/proc/self/status", "VmHWM") / 1024


def _kibibytes(file: str, field: str) -> int:
    # Linux alone has these files; elsewhere opening them says so.
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in {file}")


def _cpu_field(name: str) -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return ""
    lines = (line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    return next((value.strip() for key, value in lines if key.strip() == name), "")
