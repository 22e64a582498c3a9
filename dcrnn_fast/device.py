"""The device and the CPU threads that this process computes with; training and inference choose them alike."""

import os
import socket

import torch

from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels.gpu import why_no_gpu
from dcrnn_fast.system import usable_cores


def choose_device(wanted: str, local_rank: int = 0) -> torch.device:
    """auto: the GPU with this process's number on its host, else the CPU; ``cuda`` insists on a GPU.

    Raises:
        UserError: no such kind of device, or no GPU of that number here.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:NUMBER, got {wanted!r}") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise UserError(f"device must be auto, cpu, cuda or cuda:NUMBER, got {wanted!r}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # Some launchers show each process its own devices only, numbered from 0 in each; ranks compare what they have.
    index = local_rank % max(found, 1) if device.index is None else device.index
    if index >= found:
        why = why_no_gpu()
        raise UserError(
            f"device {wanted}: local rank {local_rank} needs GPU {index}, this machine has {found}"
            f"{'' if why is None else f' ({why})'}; use --device cpu, or start as many processes as there are GPUs"
        )
    return torch.device("cuda", index)


def device_identity(device: torch.device) -> str:
    """The device as no other of this machine is called, and the machine; "" for the CPU, which processes may share."""
    if device.type != "cuda":
        return ""
    own = torch.cuda.get_device_properties(device)
    places = (getattr(own, f"pci_{part}_id", None) for part in ("domain", "bus", "device"))
    name = str(getattr(own, "uuid", None) or ":".join(str(place) for place in places))
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if (device.index or 0) < len(listed) and (part := listed[device.index or 0].strip()).startswith("MIG-"):
        name = part  # the parts of one GPU may have its name in common
    return f"{name} of {socket.gethostname()}, {own.name}"


def device_notes(wanted: str) -> list[str]:
    """Why ``auto`` is the CPU although PyTorch was built for GPUs: a user who installed such a build expects a GPU. And
    how to use all GPUs, for a single process that sees several.
    """
    if wanted != "cpu" and "WORLD_SIZE" not in os.environ and torch.cuda.is_available():
        if (found := torch.cuda.device_count()) > 1 and wanted in ("auto", "cuda"):
            return [
                f"one process computes on 1 of {found} GPUs: torchrun --standalone --nproc-per-node={found} uses all"
            ]
        return []
    why = why_no_gpu() if wanted == "auto" and (torch.version.cuda or torch.version.hip) else None
    return [] if why is None else [f"device auto: the CPU, because {why}"]


def choose_threads(wanted: int | None, cores: int | None = None, *, launcher_sets_one: bool = False) -> int:
    """CPU threads of this process: as configured, by OMP_NUM_THREADS, else one for each of its cores.

    Args:
        cores: this process's share of those that it may use; None: all of them. Slurm's --cpus-per-task limits it.
        launcher_sets_one: the launcher sets OMP_NUM_THREADS=1 by itself (torchrun does), which would leave cores idle:
            a 1 then does not count as the user's.
    """
    if wanted is not None:
        return wanted
    by_user = os.environ.get("OMP_NUM_THREADS", "")
    if by_user.isdigit() and int(by_user) > 0 and not (by_user == "1" and launcher_sets_one):
        return int(by_user)
    by_slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    own = usable_cores() if cores is None else cores
    return min(own, int(by_slurm)) if by_slurm.isdigit() and int(by_slurm) > 0 else own
