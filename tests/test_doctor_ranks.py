"""``dcrnn-fast doctor --all-ranks``: every finding, provoked; and ``--log``: words of torchrun, explained."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pynvml
import pytest
import torch

from dcrnn_fast import doctor
from dcrnn_fast.doctoring import network
from dcrnn_fast.doctoring.compare import findings, notes
from dcrnn_fast.doctoring.job_output import EXPLANATIONS, explained
from dcrnn_fast.doctoring.network import interfaces, reach, wrong_interfaces
from dcrnn_fast.doctoring.one_rank import driver_cuda, wrong_cuda
from dcrnn_fast.errors import UserError
from tests.training.rank_server import Job, RankServer

HOST = socket.gethostname()


def said(folder: Path, server: RankServer, planted: str, *flags: str, **env: str) -> tuple[int, str]:
    """Rank 0's exit code and output of two ranks; all have the same code."""
    job = server.start(folder / "job", 2, "rank_programs:doctor", planted, *flags, env=env)
    codes = job.wait()
    assert set(codes) <= {codes[0], -15}, f"{codes} {errors(job)}"
    assert errors(job) == job.output(1) == ""
    return codes[0], job.output(0)


def errors(job: Job) -> str:
    return "".join(job.errors(rank) for rank in range(2) if job.errors(rank))


def test_ranks_that_are_alike(tmp_path: Path, rank_server: RankServer) -> None:
    code, out = said(tmp_path, rank_server, "", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["met"].startswith("2 ranks, started by RANK and WORLD_SIZE, met in ")
    assert [one["rank"] for one in found["ranks"]] == [0, 1]
    assert found["broken"] == []
    one = found["ranks"][1]
    assert one["code"]["torch"] == torch.__version__
    assert one["collectives"].startswith("gloo: ")
    assert abs(one["clock"]["ahead"]) < 0.5
    assert 0 < one["clock"]["round_trip"] < 60
    assert any("127.0.0.1" in addresses for addresses in one["interfaces"].values())
    assert set(one["free_mib"]) == {"the results' disk", "the data's disk", "the temporary folder's disk"}


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        pytest.param("numpy", f"rank 1 on {HOST}: numpy is 1.0, rank 0 has ", marks=pytest.mark.slow),
        ("clock", f"rank 1 on {HOST}: its clock is 7.25 s behind rank 0's; set it by NTP"),
        (
            "GLOO_SOCKET_IFNAME=ib7",
            f"rank 1 on {HOST}: GLOO_SOCKET_IFNAME=ib7 names no interface that is up here; there are lo (127.0.0.1",
        ),
        pytest.param(
            "DCRNN_FAST_CPU=sse9", f"rank 1 on {HOST}: DCRNN_FAST_CPU is 'sse9', wanted one of ", marks=pytest.mark.slow
        ),
    ],
)
def test_what_differs_or_is_broken_is_said_once(
    tmp_path: Path, rank_server: RankServer, planted: str, sentence: str
) -> None:
    code, out = said(tmp_path, rank_server, planted)
    assert code == 1
    assert out.count(f"BROKEN: {sentence}") == 1, out
    assert "\nrank  host" in out


@pytest.mark.slow
def test_a_full_disk_is_named(tmp_path: Path, rank_server: RankServer, small_disk: Path) -> None:
    code, out = said(tmp_path, rank_server, f"folder {small_disk}")
    assert code == 1
    assert f"BROKEN: rank 1 on {HOST}: the results' disk ({small_disk}) has 4 MiB left" in out


def test_who_does_not_come_is_named_in_time(tmp_path: Path, rank_server: RankServer) -> None:
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:doctor", "absent", "--dist-timeout", "1")
    job.wait()
    out = job.output(0)
    assert out.startswith("waiting for rank 1 of 2 at 127.0.0.1:")
    assert f"BROKEN: rank 0 on {HOST}: rank 1 of 2 at 127.0.0.1:" in out
    assert "did not come within 1 s (--dist-timeout)" in out


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a rank that will not find the others."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    return monkeypatch


def test_a_port_that_is_taken_is_named_with_its_holder(
    alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        alone.setenv("MASTER_PORT", str(port))
        alone.setenv("RANK", "0")
        assert doctor.main(["--all-ranks"]) == 1
    out = capsys.readouterr().out
    assert f"rank 0 cannot use MASTER_PORT {port}: Address already in use: process {os.getpid()} (" in out


def test_a_place_that_cannot_be_reached_is_explained(
    alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["--all-ranks", "--dist-timeout", "1"]) == 1
    out = capsys.readouterr().out
    why = "127.0.0.1:1 (127.0.0.1) cannot be reached: the machine answers, but nothing listens at the port"
    assert f"BROKEN: rank 1 on {HOST}: {why}" in out
    assert f"BROKEN: rank 1 on {HOST}: port 1 here is free" in out
    alone.setenv("RANK", "0")
    alone.setenv("MASTER_ADDR", "192.0.2.99")
    alone.setenv("MASTER_PORT", "29987")
    assert doctor.main(["--all-ranks", "--dist-timeout", "1"]) == 1
    assert "MASTER_ADDR 192.0.2.99 is none of this machine's addresses" in capsys.readouterr().out


def test_silence_and_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_IN_TIME", 0.05)
    assert "no.such.machine.invalid is no machine that is known here: " in reach("no.such.machine.invalid", 1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:  # whose queue is full: nothing comes back
        port = full.getsockname()[1]
        guests = [socket.socket() for _ in range(4)]
        for guest in guests:
            guest.setblocking(False)
            guest.connect_ex(("127.0.0.1", port))
        assert "nothing came back within 0.05 s: a firewall" in reach("127.0.0.1", port)
        for guest in guests:
            guest.close()


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("GLOO_SOCKET_IFNAME", "eth0", True),
        ("GLOO_SOCKET_IFNAME", "ib0,eth0", True),
        ("GLOO_SOCKET_IFNAME", "eth", False),
        ("NCCL_SOCKET_IFNAME", "eth", True),
        ("NCCL_SOCKET_IFNAME", "=eth", False),
        ("NCCL_SOCKET_IFNAME", "=eth0", True),
        ("NCCL_SOCKET_IFNAME", "^lo", True),
        ("NCCL_SOCKET_IFNAME", "^lo,eth", False),
        ("NCCL_SOCKET_IFNAME", "", True),
    ],
)
def test_interfaces_are_named_as_each_library_reads_them(variable: str, value: str, right: bool) -> None:
    known = {"lo": ["127.0.0.1"], "eth0": []}
    assert (wrong_interfaces({variable: value}, known) == []) == right
    assert "lo" in interfaces()


def test_a_driver_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong_cuda(None, None) == wrong_cuda("12.8", None) == wrong_cuda("12.8", "12.2") == []
    assert wrong_cuda("13.0", "12.4") == [
        "PyTorch is built for CUDA 13.0, the driver runs CUDA 12.4 at most: update the driver, or install a PyTorch "
        "for CUDA 12"
    ]
    assert driver_cuda() is None or torch.version.cuda
    for name, answer in (("nvmlInit", None), ("nvmlShutdown", None), ("nvmlSystemGetCudaDriverVersion_v2", 12040)):
        monkeypatch.setattr(pynvml, name, lambda answer=answer: answer)
    assert driver_cuda() == "12.4"


def rank(number: int, **facts: Any) -> dict[str, Any]:
    base = {"rank": number, "host": f"n{number}", "code": {"torch": "2"}, "device": "", "broken": []}
    base |= {"clock": {"ahead": 0.0, "round_trip": 0.0}, "threads": 1, "cores": 1, "kernels": {"chosen": "cpu"}}
    return base | facts


def test_what_is_shared_or_uneven() -> None:
    ranks = [rank(0, device="GPU-1"), rank(1), rank(2, device="GPU-1", host="n0")]
    assert findings(ranks) == ["rank 0, 2 on n0: they share a device: GPU-1"]
    unsure = [rank(0), rank(1, clock={"ahead": 1.5, "round_trip": 2.0})]
    assert findings(unsure) == [], "the question took longer than the difference"
    assert notes([rank(0), rank(1, threads=4, cores=2, kernels={"chosen": "manual"})]) == [
        "rank 1 on n1: 4 threads, and its share of the cores is 2: set OMP_NUM_THREADS",
        "not all ranks compute with the same backend: cpu on rank 0 on n0; manual on rank 1 on n1",
    ]


def test_one_process_says_how_to_see_them_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert doctor.main(["--all-ranks"]) == 0
    assert capsys.readouterr().out.startswith("one process: start it under srun, mpirun or torchrun to see them all\n")
    assert doctor.main(["--all-ranks", "--dist-timeout", "0"]) == 2
    assert "dist_timeout must be at least 1, got 0" in capsys.readouterr().err


# Lines that torchrun, PyTorch and Slurm have printed.
PRINTED = [
    "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError",
    "torch.distributed.DistStoreError: Timed out after 4 seconds waiting for clients. 1/2 clients joined.",
    "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store has failed.",
    "RuntimeError: The server socket has failed to listen on any local network address. port: 29500, EADDRINUSE, -98",
    "ncclInvalidUsage: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000",
    "traceback : Signal 9 (SIGKILL) received by PID 4242",
    "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
    "  exitcode  : 85 (pid: 3131)",
    "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)",
    "RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:4321",
]


@pytest.mark.parametrize(("line", "number"), list(zip(PRINTED, range(len(EXPLANATIONS)), strict=True)))
def test_known_words_are_explained(line: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "job.out"
    log.write_text(f"epoch 1\n{line}\n\x1b[0mmore\n")
    assert explained(log) == [f"line 2: {line.strip()}\n  {EXPLANATIONS[number].meaning}"]
    assert doctor.main(["--log", str(log)]) == 0
    assert EXPLANATIONS[number].meaning in capsys.readouterr().out


def test_a_log_without_known_words_and_none_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_bytes(b"\xff fine")
    assert doctor.main(["--log", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out.endswith("log: no message that is known here\n")
    assert doctor.main(["--log", str(tmp_path / "absent")]) == 2
    with pytest.raises(UserError, match="absent"):
        explained(tmp_path / "absent")
