"""This machine's GPU software and devices: PyTorch's build, the driver, the devices, Triton, or why one is missing."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

DRIVER = Path("/proc/driver/nvidia/version")


def driver_version(file: Path = DRIVER) -> str | None:
    """The version line of the kernel's NVIDIA driver; under WSL, its CUDA version; None: there is no driver."""
    if file.is_file():
        return file.read_text().splitlines()[0].strip()
    asked = torch.version.cuda or torch.version.hip is None  # ROCm's numbers mean something else
    version = getattr(torch._C, "_cuda_getDriverVersion", int)() if asked else 0  # a build for the CPU lacks it
    return f"CUDA {version // 1000}.{version % 1000 // 10}" if version else None


def gpu_facts(driver_file: Path = DRIVER) -> dict[str, Any]:
    """``build``, ``driver``, ``devices``, ``triton``; ``reason``: why no device can be used, None if one can."""
    platform = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    built = bool(torch.version.cuda or torch.version.hip)
    driver = driver_version(driver_file)
    devices = [_device(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {
        "build": f"PyTorch for {platform}" if built else "PyTorch for the CPU only",
        "driver": driver or "none found",
        "devices": devices,
        "triton": _triton(),
        "reason": why_no_gpu(driver_file),
    }


def why_no_gpu(driver_file: Path = DRIVER) -> str | None:
    """Why no GPU can be used, or None if one can."""
    if torch.cuda.is_available():
        return None
    driver = driver_version(driver_file)
    if not torch.version.cuda and not torch.version.hip:
        return "this PyTorch is built for the CPU only" + ("" if driver is None else ", though there is a GPU's driver")
    if driver is None and torch.version.cuda:
        return "no NVIDIA driver is loaded"
    return "PyTorch sees no device: is one visible (CUDA_VISIBLE_DEVICES), is the driver new enough for this PyTorch?"


def _device(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.total_memory / 2**30:.0f} GiB"


def _triton() -> str:
    if find_spec("triton") is None:
        return "not installed"
    try:
        installed = version("triton")
    except PackageNotFoundError:
        installed = "installed under another name"
    try:
        import triton

        assembler = triton.knobs.nvidia.ptxas
    except (ImportError, AttributeError, OSError, RuntimeError):
        return installed
    return f"{installed}, ptxas {assembler.version} in {assembler.path}"
