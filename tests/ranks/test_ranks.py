"""Ranks of one run: they agree, they stop together, and rank 0 says why in one line."""

import json
import os
import re
import signal
import socket

import pytest
import torch

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks import failure
from dcrnn_fast.ranks.group import Group, Ranks, join_ranks


def test_without_torchrun_there_is_one_process_and_no_group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = join_ranks(60)
    ranks.connect(torch.device("cpu"), 5)
    assert (ranks.rank, ranks.world, ranks.store, ranks.backend) == (0, 1, None, "none")
    assert not torch.distributed.is_initialized()
    assert ranks.sum_integers(3, True) == [3, 1]
    assert ranks.from_first(b"state") == b"state"
    for sum_ in (ranks.sum_, ranks.sum_over_partners):
        tensor = torch.ones(2)
        sum_(tensor, "testing")
        assert tensor.tolist() == [1.0, 1.0]


def test_neighbouring_ranks_share_a_graph_and_their_groups_the_batch():
    ranks = Ranks(rank=2, world=3)
    assert (ranks.replicas, ranks.partners) == (Group(2, 3), Group(0, 1))
    ranks = Ranks(rank=4, world=6)
    ranks.share_graph(3)
    assert (ranks.replicas, ranks.partners) == (Group(1, 2), Group(1, 3))
    assert ranks.partner_ranks(1) == [3, 4, 5]
    with pytest.raises(
        UserError,
        match=r"^--node-parallel 4 must divide the run's 6 process\(es\): start a multiple of 4, or give 1, 2",
    ):
        ranks.share_graph(4)


def test_a_wait_for_another_rank_says_so_and_ends_and_names_it(monkeypatch, capsys):
    monkeypatch.setattr(failure, "_SPEAKS_AFTER", 0.03)
    store = torch.distributed.HashStore()
    ranks = Ranks(rank=0, world=2, store=store, patience=0.1)
    with pytest.raises(
        UserError, match=r"^rank 0 waited 0.1 s .--dist-timeout. for rank 1 while reading; see rank 1's"
    ):
        ranks.together("reading", lambda: 3)
    assert capsys.readouterr().out == "reading: waiting for rank 1, up to 0.1 s (--dist-timeout)\n"
    store.set("error", "rank 1: the disk is full")
    with pytest.raises(UserError, match=r"^rank 1: the disk is full$"):
        Ranks(rank=0, world=2, store=store, patience=60).together("reading", lambda: 3)


def has_finished_an_epoch(results):
    events = results / "events.jsonl"
    return events.exists() and '"event": "epoch"' in events.read_text()


def test_a_wait_ends_with_the_words_of_a_job_that_is_over(tmp_path, rank_server):
    job = rank_server.start(tmp_path / "job", 1, "rank_programs:train", "--hops", "-1")
    with pytest.raises(AssertionError, match="did not happen: dcrnn-fast train: error: hops must be at least 0"):
        job.until(lambda: False)
    job = rank_server.start(tmp_path / "killed", 1, "time:sleep", 600)
    job.until((tmp_path / "killed" / "pid.0").exists)
    assert job.kill()
    with pytest.raises(AssertionError, match="the job is over"):
        job.wait()


def one_line_from_rank_0(job, world):
    assert [job.errors(rank) for rank in range(1, world)] == [""] * (world - 1)
    lines = [line for line in job.errors(0).splitlines() if line.strip()]
    assert len(lines) == 1, job.errors(0)
    return lines[0]


def test_a_mistake_that_all_ranks_share_is_said_once(tmp_path, rank_server):
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:command", "--config", "debug", "--hops", "-1")
    assert job.wait() == [2, 2]
    assert one_line_from_rank_0(job, 2) == "dcrnn-fast train: error: hops must be at least 0, got -1"


@pytest.mark.parametrize("where", ["configuration", pytest.param("data", marks=pytest.mark.slow), "training"])
def test_a_mistake_on_one_rank_stops_all_and_rank_0_names_it(tmp_path, rank_server, where):
    job = rank_server.start(
        tmp_path / "job", 3, "rank_programs:fails_on_rank_2", where, "--results", str(tmp_path / "results")
    )
    assert job.wait() == [2, 2, 2], job.errors(2)
    assert one_line_from_rank_0(job, 3).startswith("dcrnn-fast train: error: rank 2: this rank's own")


def test_ranks_with_other_data_are_named_before_the_first_step(tmp_path, rank_server):
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:other_data", "--results", str(tmp_path / "results"))
    assert job.wait() == [2, 2]
    line = one_line_from_rank_0(job, 2)
    host = socket.gethostname()
    start = f"not all ranks have the start of rank 0 on {host}: rank 1 on {host} has other data: readings ("
    assert line.startswith(f"dcrnn-fast train: error: {start}")


def test_a_killed_rank_is_noticed(tmp_path, rank_server):
    job = rank_server.start(
        tmp_path / "job", 2, "rank_programs:train", "--results", str(tmp_path / "results"), "--epochs", "500"
    )
    job.until(lambda: has_finished_an_epoch(tmp_path / "results"))
    os.kill(job.pid(1), signal.SIGKILL)
    assert job.wait() == [1, -9]  # not 2: no mistake of the command's
    assert "rank 0 lost the other ranks while" in one_line_from_rank_0(job, 2)


def test_a_rank_whose_first_is_gone_says_so_itself(tmp_path, rank_server):
    flags = ("--results", str(tmp_path / "results"), "--epochs", "500")
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:command", "--config", "debug", *flags)
    job.until(lambda: has_finished_an_epoch(tmp_path / "results"))
    os.kill(job.pid(0), signal.SIGKILL)
    assert job.wait() == [-9, 1]
    last = job.errors(1).splitlines()[-1]  # torch's own warnings stand above
    assert re.match(r"dcrnn-fast train: error: rank 1 lost the other ranks while .* \(Connection ", last), last


@pytest.mark.parametrize("where", ["reading", "opening connections"])
def test_a_first_rank_that_answers_nothing_more_is_not_waited_for_without_end(tmp_path, rank_server, where):
    """It is halted, with the store that lives in it: so is one behind a cable that was pulled out."""
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:halts_on_rank_0", where)
    try:
        job.until(lambda: f"rank 1 lost the other ranks while {where} (" in job.errors(1), 60)
    finally:
        job.kill()


@pytest.mark.parametrize("name", ["SIGTERM", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGINT", "SIGUSR1"))])
def test_a_signal_to_one_rank_stops_all_after_the_step_with_everything_saved(tmp_path, rank_server, name):
    results = tmp_path / "results"
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:train", "--results", str(results), "--epochs", "500")
    job.until(lambda: has_finished_an_epoch(results))
    os.kill(job.pid(1), getattr(signal, name))
    assert job.wait() == [85, 85], job.errors(0)
    assert "continue with the same command and --resume auto" in job.output(0)
    assert job.output(1) == ""
    last = json.loads((results / "events.jsonl").read_text().splitlines()[-1])
    saved = torch.load(results / "checkpoints" / "latest.pt", weights_only=True)
    assert last["event"] == "end"
    assert saved["training"]["step"] == last["step"]
