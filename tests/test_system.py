"""What of the machine a process may use: control groups of both versions, memory, cores."""

import errno
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dcrnn_fast.system import MIB, Limits, available_mib, is_out_of_memory, limits, usable_cores


def made(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def test_limits_of_a_control_group_of_version_2(tmp_path: Path) -> None:
    made(
        tmp_path,
        {
            "proc/self/cgroup": "0::/batch/job7\n",
            "group/batch/cpu.max": "350000 100000\n",
            "group/batch/memory.max": f"{2**33}\n",
            "group/batch/job7/cpu.max": "max 100000\n",
            "group/batch/job7/memory.max": f"{2**32}\n",
            "group/batch/job7/memory.current": f"{2**30}\n",
        },
    )
    assert limits(tmp_path / "proc", tmp_path / "group") == Limits(3.5, 4096.0, 1024.0)


def test_limits_of_control_groups_of_version_1(tmp_path: Path) -> None:
    made(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/x\n0::/x\n",
            # In a container the path is the host's; the folder is the container's own.
            "group/memory/memory.limit_in_bytes": f"{2**31}\n",
            "group/memory/memory.usage_in_bytes": f"{2**20}\n",
            "group/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "group/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits(tmp_path / "proc", tmp_path / "group") == Limits(None, 2048.0, 1.0)


def test_no_control_group_no_limit(tmp_path: Path) -> None:
    assert limits(tmp_path / "proc", tmp_path / "group") == Limits(None, None, None)


def test_available_memory_is_the_less_of_machine_and_control_group(tmp_path: Path) -> None:
    """Pages of files in the group count as available: the kernel drops them when memory is needed."""
    made(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
            "proc/self/cgroup": "0::/job\n",
            "group/job/memory.max": f"{2**32}\n",
            "group/job/memory.current": f"{2**32}\n",
            "group/job/memory.stat": f"anon {2**30}\ninactive_file {2**31}\nactive_file {2**30}\n",
        },
    )
    assert available_mib(tmp_path / "proc", tmp_path / "group") == 3072.0
    (tmp_path / "group/job/memory.max").write_text("max\n")
    assert available_mib(tmp_path / "proc", tmp_path / "group") == 8192.0
    (tmp_path / "proc/meminfo").unlink()
    assert math.isnan(available_mib(tmp_path / "proc", tmp_path / "group"))


def test_usable_cores_are_those_of_the_scheduler() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))


def test_a_process_has_limits_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ulimit -v`` counts all pages, ``ulimit -d`` those of data; what is taken of them is not there any more."""
    made(tmp_path, {"proc/meminfo": "MemAvailable: 8388608 kB\n", "proc/self/statm": "1000 500 0 0 0 100 0\n"})
    page, unlimited = resource.getpagesize(), resource.RLIM_INFINITY
    most = {resource.RLIMIT_AS: unlimited, resource.RLIMIT_DATA: unlimited}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (most[limit], unlimited))
    assert available_mib(tmp_path / "proc", tmp_path) == 8192.0
    most[resource.RLIMIT_AS] = 1000 * page + 512 * MIB
    assert available_mib(tmp_path / "proc", tmp_path) == 512.0
    assert available_mib(tmp_path / "proc", tmp_path, processes=32) == 256.0, "the machine's is shared, not these"
    most[resource.RLIMIT_DATA] = 100 * page + 256 * MIB
    assert available_mib(tmp_path / "proc", tmp_path) == 256.0
    most[resource.RLIMIT_DATA] = 0
    assert available_mib(tmp_path / "proc", tmp_path) == 0.0


def test_ulimit_is_seen() -> None:
    program = "from dcrnn_fast.system import available_mib; print(available_mib())"
    limited = f"ulimit -v 500000; exec {sys.executable} -c '{program}'"
    said = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=True)
    assert 0 < float(said.stdout) < 490


def failed(make: object) -> BaseException:
    with pytest.raises((MemoryError, RuntimeError)) as error:
        make()  # type: ignore[operator]
    return error.value


def test_allocations_that_fail_are_known() -> None:
    for error in (
        failed(lambda: torch.empty(2**60, dtype=torch.uint8)),
        failed(lambda: np.empty(2**60, dtype=np.uint8)),
        MemoryError(),
        RuntimeError("std::bad_alloc (originally from torch_parallel_for)"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ):
        assert is_out_of_memory(error), error
    for error in (
        RuntimeError("size mismatch"),
        OSError(errno.ENOSPC, "No space"),
        ImportError("no module"),
        KeyError(),
    ):
        assert not is_out_of_memory(error), error
