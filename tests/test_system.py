"""What of the machine a process may use: control groups of both versions, memory, cores."""

import math
import os
from pathlib import Path

from dcrnn_fast.system import Limits, available_mib, limits, usable_cores


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
            "group/job/memory.stat": f"anon {2**30}\ninactive_file {3 * 2**30}\n",
        },
    )
    assert available_mib(tmp_path / "proc", tmp_path / "group") == 3072.0
    (tmp_path / "group/job/memory.max").write_text("max\n")
    assert available_mib(tmp_path / "proc", tmp_path / "group") == 8192.0
    (tmp_path / "proc/meminfo").unlink()
    assert math.isnan(available_mib(tmp_path / "proc", tmp_path / "group"))


def test_usable_cores_are_those_of_the_scheduler() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
