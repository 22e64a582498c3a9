"""The facts of one rank, as plain values, with sentences about what is broken there."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import OutputConfig
from dcrnn_fast.device import choose_device, choose_threads, device_identity
from dcrnn_fast.doctoring.network import hostname, interfaces, wrong_interfaces
from dcrnn_fast.installation import code_facts, commit
from dcrnn_fast.kernels.explain import facts
from dcrnn_fast.kernels.gpu import why_no_gpu
from dcrnn_fast.messages import one_line, sized
from dcrnn_fast.ranks.environment import Launch
from dcrnn_fast.ranks.network import set_variables
from dcrnn_fast.system import MIB, limits, memory_mib, usable_cores

_LEAST_FREE_MIB = 1024


def facts_of_rank(launch: Launch) -> dict[str, Any]:
    """What this rank is, has and uses; ``broken``: sentences."""
    broken: list[str] = []
    code: dict[str, str] = {}
    device = choose_device("auto", launch.local_rank or 0)
    try:
        code = code_facts(device.type) | {"commit": (commit() or "none")[:12]}
        operator = facts()["operators"]["dcrnn_seq2seq"]
    except ValueError as error:  # a DCRNN_FAST_ variable that names nothing
        broken.append(one_line(error))
        operator = {"chosen": "unknown", "not": {}}
    driver = driver_cuda()
    broken += wrong_cuda(torch.version.cuda, driver)
    found, disks = interfaces(), free_mib()
    broken += wrong_interfaces(os.environ, found)
    broken += [
        f"{what} ({folder}) has {sized(free * MIB)} left"
        for what, (folder, free) in disks.items()
        if free < _LEAST_FREE_MIB
    ]
    return {
        "rank": launch.rank,
        "world": launch.world,
        "host": hostname(),
        "launcher": launch.launcher or "none",
        "code": code,
        "cuda": {"torch": torch.version.cuda, "driver": driver},
        "device": device_identity(device),
        "collectives": f"nccl on {device}" if device.type == "cuda" else f"gloo: {why_no_gpu()}",
        "kernels": operator,
        "interfaces": found,
        "variables": set_variables(os.environ),
        "cores": usable_cores(),
        "threads": choose_threads(None, None, launcher_sets_one=launch.sets_one_thread),
        "limits": limits()._asdict(),
        "memory_available_mib": memory_mib("MemAvailable"),
        "free_mib": {what: [str(folder), free] for what, (folder, free) in disks.items()},
        "broken": broken,
    }


def driver_cuda() -> str | None:
    """The newest CUDA that the driver can run, as NVML says; None: there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return f"{number // 1000}.{number % 1000 // 10}"


def wrong_cuda(of_torch: str | None, of_driver: str | None) -> list[str]:
    """A sentence if the driver is too old for PyTorch's CUDA; within a major number every driver will do."""
    if of_torch is None or of_driver is None or int(of_driver.split(".")[0]) >= int(of_torch.split(".")[0]):
        return []
    return [
        f"PyTorch is built for CUDA {of_torch}, the driver runs CUDA {of_driver} at most: update the driver, or "
        f"install a PyTorch for CUDA {of_driver.split('.')[0]}"
    ]


def free_mib() -> dict[str, tuple[Path, float]]:
    """The folders of a run by default, as far as they exist, and what is free there."""
    asked: Mapping[str, str] = {
        "the results' disk": OutputConfig().results,
        "the data's disk": DataConfig().data_folder,
        "the temporary folder's disk": tempfile.gettempdir(),
    }
    found = {}
    for what, name in asked.items():
        folder = Path(name).absolute()
        while not folder.exists():
            folder = folder.parent
        found[what] = (folder, shutil.disk_usage(folder).free / MIB)
    return found
