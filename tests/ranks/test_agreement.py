"""Ranks with other code, data or configurations, or with one device, are named before the first step."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist

from dcrnn_fast import installation
from dcrnn_fast.device import choose_device, device_identity
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.failure import SharedError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.network import record_flights, set_variables
from tests.checkout import ROOT
from tests.training.rank_server import RankServer

HOST = socket.gethostname()


def errors_of(world: int, body: Callable[[Ranks], None]) -> list[str]:
    """What each rank's UserError says; "" without one."""
    store, said = dist.HashStore(), [""] * world

    def run(rank: int) -> None:
        hosts = tuple(f"n{number}" for number in range(world))
        ranks = Ranks(rank=rank, world=world, store=store, patience=20, hosts=hosts)
        try:
            body(ranks)
        except SharedError as error:
            said[rank] = str(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_all_ranks_that_differ_are_named_with_hosts_and_both_values() -> None:
    facts = [{"torch": "2.13", "numpy": "2.0"}, {"torch": "2.12", "numpy": "2.0"}, {"torch": "2.13"}]
    said = errors_of(4, lambda ranks: ranks.require_same("the installation", facts[min(ranks.rank, 2)]))
    assert set(said) == {
        "not all ranks have the installation of rank 0 on n0: rank 1 on n1 has other torch (2.12, not 2.13); rank 2, 3 "
        "on n2, n3 has other numpy (None, not 2.0); give all ranks the same files and the same version"
    }
    assert errors_of(2, lambda ranks: ranks.require_same("x", facts[0])) == ["", ""]


def test_two_ranks_with_one_device_are_both_named() -> None:
    devices = ["GPU-1 of n0", "GPU-2 of n0", "GPU-1 of n0"]
    said = errors_of(3, lambda ranks: ranks.require_apart("device", devices[ranks.rank]))
    assert said[0].startswith(
        "rank 0 and rank 2 have the same device (GPU-1 of n0): start as many ranks on each machine"
    )
    assert said == [said[0]] * 3
    assert errors_of(2, lambda ranks: ranks.require_apart("device", "")) == ["", ""], "the CPU may be shared"
    assert errors_of(2, lambda ranks: ranks.require_apart("device", f"GPU-1 of n{ranks.rank}")) == ["", ""]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes torch show that many GPUs; each has its own name, as NVIDIA's driver gives it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def show(number: int) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: number > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: number)

    monkeypatch.setattr(
        "torch.cuda.get_device_properties",
        lambda device: SimpleNamespace(uuid=f"uuid{torch.device(device).index}", name="H200"),
    )
    return show


def test_each_process_takes_the_gpu_of_its_number_or_the_only_one_that_it_sees(gpus: Callable[[int], None]) -> None:
    gpus(4)
    assert [choose_device("cuda", rank).index for rank in range(4)] == [0, 1, 2, 3]
    gpus(1)  # srun --gpus-per-task=1
    assert [choose_device("auto", rank).index for rank in range(4)] == [0, 0, 0, 0]
    gpus(2)  # srun --gpus-per-task=2: 0 and 1 of another pair
    assert [choose_device("cuda", rank).index for rank in range(4)] == [0, 1, 0, 1]
    with pytest.raises(UserError, match="needs GPU 3, this machine has 2"):
        choose_device("cuda:3", 0)


def test_a_device_is_told_apart_by_its_own_name(gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(2)
    assert device_identity(torch.device("cpu")) == ""
    assert device_identity(torch.device("cuda", 1)) == f"uuid1 of {HOST}, H200"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b")
    assert device_identity(torch.device("cuda", 1)) == f"MIG-b of {HOST}, H200"
    bus = SimpleNamespace(pci_domain_id=0, pci_bus_id=7, pci_device_id=1, name="V100")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: bus)
    assert device_identity(torch.device("cuda", 0)) == f"0:7:1 of {HOST}, V100"


def test_the_flight_recorder_is_on_unless_the_user_says_otherwise() -> None:
    environment = {"NCCL_DEBUG": "INFO", "HOME": "/"}
    assert set_variables({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1", "GLOO_X": "1"}) == {"GLOO_X": "1"}, "torchrun's own"
    (note,) = record_flights(environment)
    assert environment["TORCH_NCCL_TRACE_BUFFER_SIZE"] == "2000"
    assert environment["TORCH_NCCL_DUMP_ON_TIMEOUT"] == "1"
    assert note.endswith("leaves its last collectives in /tmp/nccl_trace_rank_RANK")
    assert set_variables(environment) == {name: value for name, value in environment.items() if name != "HOME"}
    for name in ("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"):
        own = {name: "0", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0", "TORCH_FR_DUMP_TEMP_FILE": "/x/"}
        assert record_flights(dict(own)) == []
        assert record_flights({name: "0", "TORCH_FR_DUMP_TEMP_FILE": "/x/f"})[0].endswith("in /x/fRANK")


def one_line_from_rank_0(folder: Path, server: RankServer, target: str, *args: object) -> str:
    job = server.start(folder / "job", 2, f"rank_programs:{target}", *args, "--results", str(folder / "results"))
    assert job.wait() == [2, 2]
    assert job.errors(1) == ""
    assert not (folder / "results").exists(), "refused before anything was written"
    (line,) = [line for line in job.errors(0).splitlines() if line.strip()]
    return line.removeprefix("dcrnn-fast train: error: ")


@pytest.mark.parametrize("program", ["other_version", "slow_to_print"])
def test_another_version_on_a_rank_is_named(program: str, tmp_path: Path, rank_server: RankServer) -> None:
    """Also where rank 0 takes a while to say so, and the launcher ends it once the other has ended."""
    line = one_line_from_rank_0(tmp_path, rank_server, program)
    have = f"not all ranks have the installation of rank 0 on {HOST}: rank 1 on {HOST} has other numpy"
    assert line.startswith(f"{have} (1.0, not {np.__version__})")


def test_other_files_of_the_same_name_and_another_configuration_are_named(
    tmp_path: Path, rank_server: RankServer
) -> None:
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        values = np.random.default_rng(0).normal(50, 5, (150, 3))
        values[7, 1] += rank
        times = pd.date_range("2023-01-01", periods=150, freq="15min")
        pd.DataFrame(values, index=times, columns=list("abc")).to_csv(
            tmp_path / str(rank) / "x.csv", index_label="time"
        )
        (tmp_path / str(rank) / "d.csv").write_text("from,to,cost\na,b,1\nb,c,2\nc,a,1.5\n")
        (tmp_path / str(rank) / "run.yaml").write_text(f"training:\n  seed: {rank}\n")
    flags = ("--data", "x.csv", "--graph", "d.csv", "--epochs", "1", "--threads", "1")
    flags += ("--past-steps", "3", "--future-steps", "2")
    line = one_line_from_rank_0(tmp_path, rank_server, "in_own_folder", str(tmp_path), *flags)
    assert line.startswith(
        f"not all ranks have the start of rank 0 on {HOST}: rank 1 on {HOST} has other data: readings"
    )
    (tmp_path / "c").mkdir()
    flags = ("--config", "run.yaml", *flags)
    line = one_line_from_rank_0(tmp_path / "c", rank_server, "in_own_folder", str(tmp_path), *flags)
    assert f"rank 1 on {HOST} has other --training.seed (1, not 0)" in line


def test_the_sources_digest_is_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = installation.code_facts()
    assert facts["torch"] == torch.__version__
    assert "CPU unit (DCRNN_FAST_CPU)" in facts
    assert "CPU unit (DCRNN_FAST_CPU)" not in installation.code_facts("cuda")
    digests = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2")):
        folder = tmp_path / f"{name}{text}" / "dcrnn_fast"
        folder.mkdir(parents=True)
        (folder / name).write_text(text)
        monkeypatch.setattr(installation, "_folders", lambda folder=folder: [folder])
        digests.add(installation.sources_digest.__wrapped__())
    assert len(digests) == 3


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    known = installation.commit()
    assert (known is not None) == (ROOT / ".git").exists()
    assert installation.commit(tmp_path) is None
    git, sha = tmp_path / ".git", "ab" * 20
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/x\n")
    (git / "packed-refs").write_text(f"# pack-refs\n{sha} refs/heads/x\n")
    assert installation.commit(tmp_path) == sha
    (git / "HEAD").write_text(f"{sha}\n")
    assert installation.commit(tmp_path) == sha
