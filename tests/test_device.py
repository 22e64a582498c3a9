"""Device and threads of a process: as asked for, else what the machine has; and why not."""

import pytest

from dcrnn_fast.device import choose_device, choose_threads, device_notes
from dcrnn_fast.errors import UserError


def test_threads_are_cores_over_processes_unless_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert [choose_threads(None, cores) for cores in (None, 4, 1)] == [8, 4, 1]
    assert choose_threads(5, 2) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(None, 2) == 1
    assert choose_threads(None, 4, launcher_sets_one=True) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads(None, 2, launcher_sets_one=True) == 3


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto", 0).type == "cpu"
    for wanted in ("cuda", "cuda:3"):
        with pytest.raises(UserError, match=r"this machine has 0 \(.+\)"):
            choose_device(wanted, 0)
    for wanted in ("tpu", "mps"):
        with pytest.raises(UserError, match="must be auto, cpu, cuda"):
            choose_device(wanted, 0)


def test_a_build_for_gpus_says_why_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("dcrnn_fast.kernels.gpu.devices.driver_version", lambda file: None)
    monkeypatch.setattr("torch.version.cuda", None)
    assert device_notes("auto") == []
    monkeypatch.setattr("torch.version.cuda", "13.0")
    assert device_notes("auto") == ["device auto: the CPU, because no NVIDIA driver is loaded"]
    assert device_notes("cpu") == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert device_notes("auto") == []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    for wanted in ("auto", "cuda"):
        (note,) = device_notes(wanted)
        assert note.startswith("one process computes on 1 of 8 GPUs: torchrun --standalone --nproc-per-node=8")
    assert device_notes("cuda:3") == device_notes("cpu") == []
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert device_notes("auto") == []
