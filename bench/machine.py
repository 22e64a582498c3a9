"""The circumstances of a measurement: versions and commit; and the memory that a process has used."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

from dcrnn_fast.kernels.native import library
from dcrnn_fast.system import machine


def circumstances() -> dict[str, object]:
    """The circumstances in every record."""
    return {"machine": machine(), "versions": versions(), "commit": commit()}


def versions() -> dict[str, str]:
    """Versions of Python, the packages and the compiler."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")}
    compiled = str(library().facts.get("compiler", "none"))
    return {
        "python": platform.python_version(),
        **packages,
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "kernels_compiled_by": compiled,
    }


def commit() -> str:
    """The repository's commit, with ``+`` if files differ from it; "unknown" outside a repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def resident_mib() -> float:
    """Memory of this process that is resident now."""
    return _status_mib("VmRSS")


def peak_resident_mib() -> float:
    """The most that was resident since this program began.

    Not ``ru_maxrss``: that survives exec, so that a child of a large process begins with its parent's peak.
    """
    return _status_mib("VmHWM")


def _status_mib(field: str) -> float:
    # Linux alone has this file; elsewhere opening it says so.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")
