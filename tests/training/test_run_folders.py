"""The folders of a run: whose they are, what a kill has left there, and what another timeline has."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcrnn_fast import train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.process import this_process
from dcrnn_fast.records.lock import LOCK, Holder
from dcrnn_fast.records.status import Status, read_status
from dcrnn_fast.records.watchers import WATCHERS
from dcrnn_fast.training import fit as fit_module
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config
from tests.training.rank_server import Job, RankServer

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")
COMMAND = ("--config", "debug", "--threads", "1", *TINY, "--epochs", "2")


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def status_of(folder: Path) -> Status:
    found = read_status(folder)
    assert found is not None
    return found


@pytest.fixture
def going_on(tmp_path: Path, rank_server: RankServer) -> Iterator[Job]:
    """A run in ``results`` that has saved."""
    results = tmp_path / "results"
    flags = (*TINY, "--results", str(results), "--epochs", "5000", "--patience", "0")
    job = rank_server.start(tmp_path / "job", 1, "rank_programs:train", *flags)
    job.until((results / "checkpoints" / "best.pt").is_file)
    yield job
    job.kill()


def states_of_threads(pid: int) -> list[str]:
    """R, S, T ... of each, as the system has them; one that is in the middle of a file stops after that."""
    return [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]


def test_a_second_run_is_refused_and_changes_nothing(
    tmp_path: Path, going_on: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    results, pid = tmp_path / "results", going_on.pid(0)
    os.kill(pid, signal.SIGSTOP)
    going_on.until(lambda: all(state == "T" for state in states_of_threads(pid)))
    before = files_in(results)
    assert status_of(results).state == "running"
    elsewhere = ("--results", str(tmp_path / "new"), "--checkpoint-dir", str(results / "checkpoints"))
    for flags, flag in ((("--results", str(results)), "--results"), (elsewhere, "--checkpoint-dir")):
        for more in ((), ("--resume", "auto")):
            assert train.main([*COMMAND, *flags, *more]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert f"is in use by another run (process {pid} on {this_process().host}, started 20" in error
            assert f"give another {flag}, or end that run first" in error
    assert train.main([*COMMAND, "--results", str(results), "--check"]) == 0, "it writes nothing"
    assert files_in(results) == before
    assert not (tmp_path / "new").exists()
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)
    assert going_on.wait() == [85]
    found = status_of(results)
    assert (found.state, found.signal) == ("stopped", "SIGTERM")
    assert found.step == load_checkpoint(results / "checkpoints" / "latest.pt")["training"]["step"]
    assert not [name for name in files_in(results) if LOCK in name]


def test_the_folder_of_a_killed_run_is_taken_over_and_said(
    tmp_path: Path, going_on: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    results, pid = tmp_path / "results", going_on.pid(0)
    assert going_on.kill()
    assert status_of(results).state == "killed"
    for name in ("metrics.csv.tmp-1234567", "map_a.png.tmp-1234567", "checkpoints/latest.pt.tmp-1234567", "mine.tmp-7"):
        (results / name).write_text("half")
    with open(results / "events.jsonl", "a") as events:
        events.write('{"time": "2026')
    epochs = load_checkpoint(results / "checkpoints" / "latest.pt")["training"]["epoch"]
    result = fit(debug_config(*TINY, "--results", str(results), "--epochs", str(epochs + 1), "--resume", "auto"))
    said = capsys.readouterr().out
    assert f"{results} was the folder of process {pid} on {this_process().host}, started 20" in said
    assert "which is dead: taken over" in said
    assert result.epochs == epochs + 1
    assert status_of(results).state == "finished"
    assert sorted(name for name in files_in(results) if ".tmp-" in name or LOCK in name) == ["mine.tmp-7"]
    lines = [json.loads(line) for line in (results / "events.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == list(range(1, epochs + 2))


def test_ranks_that_find_the_folder_taken_end_with_one_line(tmp_path: Path, rank_server: RankServer) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / LOCK).write_bytes(Holder().to_bytes())
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:train", *TINY, "--results", str(results))
    assert job.wait() == [2, 2]
    assert job.errors(1) == ""
    assert job.errors(0).count("\n") == 1
    assert f"in use by another run (process {os.getpid()} on " in job.errors(0)
    assert [path.name for path in results.iterdir()] == [LOCK]


def test_a_run_that_was_taken_for_dead_stops_before_it_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch = fit_module.train_epoch

    def loses_the_folder(*args: object) -> bool:
        (tmp_path / LOCK).write_bytes(Holder().to_bytes())
        return bool(train_epoch(*args))

    monkeypatch.setattr(fit_module, "train_epoch", loses_the_folder)
    with pytest.raises(UserError, match="which took this run for dead: stopped, nothing more was written there"):
        fit(debug_config(*TINY, "--results", str(tmp_path)))
    assert not list((tmp_path / "checkpoints").glob("*.pt"))
    assert (tmp_path / LOCK).exists(), "the other run's"


def test_status_says_how_a_run_failed_and_a_refused_command_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*COMMAND, "--results", str(tmp_path))
    assert train.main([*flags, "--learning-rate", "1e30", "--loss", "mse", "--batch-size", "8"]) == 2
    found = status_of(tmp_path)
    assert found.state == "nan"
    assert found.error in capsys.readouterr().err
    assert len(found.windows) == len(found.times) == 8
    before = files_in(tmp_path)
    for wrong in (("--hops", "-1"), ("--data", "none.csv"), ("--resume", str(tmp_path / "none.pt"))):
        assert train.main([*flags, *wrong]) == 2
    assert files_in(tmp_path) == before

    def full(*_: object) -> None:
        raise UserError("cannot write latest.pt: No space left on device")

    monkeypatch.setattr("dcrnn_fast.checkpoints.writer.write_checkpoint", full)
    assert train.main([*flags]) == 2
    found = status_of(tmp_path)
    assert (found.state, found.error) == ("failed", "cannot write latest.pt: No space left on device")
    monkeypatch.setattr("dcrnn_fast.checkpoints.writer.write_checkpoint", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.main([*flags])
    assert status_of(tmp_path).error == "ZeroDivisionError: division by zero"
    assert not [name for name in files_in(tmp_path) if LOCK in name]


def test_logs_that_cannot_be_written_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = (kind for kind in WATCHERS if kind.wanted(Config()))
    names = ("config.yaml", *(name.replace("*", "0") for kind in written for name in kind.files))
    assert names == ("config.yaml", "status.json", "metrics.csv", "events.jsonl", "timing_rank0.csv")
    for name in names:
        (tmp_path / name).mkdir()
    assert train.main([*COMMAND, "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for name in names:
        why = "is not a run's status" if name == "status.json" else "Is a directory"
        assert len(re.findall(f"{re.escape(str(tmp_path / name))}:? {why}.*; training goes on", said)) == 1, name
    assert "MAE at the horizon" in said
    assert load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["training"]["epoch"] == 2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_evaluation_ends_it_and_gives_the_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(train, "evaluate_model", lambda *_, **__: os.kill(os.getpid(), getattr(signal, name)))
    before = signal.getsignal(signal.SIGTERM)
    of_a_background_job = signal.signal(signal.SIGINT, signal.default_int_handler)  # which may ignore it
    try:
        assert train.main([*COMMAND, "--results", str(tmp_path)]) == 130
    finally:
        signal.signal(signal.SIGINT, of_a_background_job)
    assert status_of(tmp_path).state == "finished"
    assert not [name for name in files_in(tmp_path) if LOCK in name]
    assert signal.getsignal(signal.SIGTERM) == before


def test_nothing_of_a_timeline_that_a_resume_has_left_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = tmp_path / "checkpoints"
    flags = (*TINY, "--results", str(tmp_path), "--save-every-epochs", "1", "--patience", "0")
    fit(debug_config(*flags, "--epochs", "4"))
    old = {path.name: path.read_bytes() for path in checkpoints.glob("*.pt")}
    assert load_checkpoint(checkpoints / "best.pt")["training"]["epoch"] > 1
    capsys.readouterr()
    # So large a step that no epoch is better than the first.
    resume = ("--resume", str(checkpoints / "epoch_0001.pt"), "--learning-rate", "20")
    result = fit(debug_config(*flags, "--epochs", "3", *resume))
    left = ["best.pt", *(f"epoch_000{epoch}.pt" for epoch in (2, 3, 4)), "latest.pt"]
    target = checkpoints / "earlier-1"
    assert {path.name: path.read_bytes() for path in target.glob("*.pt")} == {name: old[name] for name in left}
    said = capsys.readouterr().out
    assert f"not of the training that this run goes on with, moved to {target}: " in said
    assert "no entry in manifest" not in said
    assert (result.best_epoch, result.checkpoint.name) == (1, "best.pt")
    assert load_checkpoint(checkpoints / "best.pt")["training"]["epoch"] == 1
    assert not (checkpoints / "epoch_0004.pt").exists()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2, 3]


def test_a_kill_between_latest_and_best_costs_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state in which a kill after the first of an epoch's files leaves the folder."""
    checkpoints = tmp_path / "checkpoints"
    flags = (*TINY, "--results", str(tmp_path), "--save-every-epochs", "2")
    fit(debug_config(*flags, "--epochs", "2"))
    best = load_checkpoint(checkpoints / "best.pt")["training"]["epoch"]
    assert best == 2
    for name in ("best.pt", "epoch_0002.pt"):
        (checkpoints / name).unlink()
    fit(debug_config(*flags, "--epochs", "2", "--resume", "auto"))
    for name in ("best.pt", "epoch_0002.pt"):
        assert (checkpoints / name).read_bytes() == (checkpoints / "latest.pt").read_bytes()


@pytest.mark.slow
def test_a_requeue_script_sees_under_torchrun_what_its_exit_code_hides(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    launch += ["dcrnn_fast.train", *COMMAND, "--results", str(tmp_path / "r"), "--epochs", "5000", "--patience", "0"]
    run = subprocess.Popen(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (tmp_path / "r" / "checkpoints" / "best.pt").is_file():
        assert run.poll() is None
    run.send_signal(signal.SIGUSR1)
    assert run.stdout is not None
    said = run.stdout.read()
    assert run.returncode is None or run.returncode == -signal.SIGUSR1
    assert "torchrun --signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 passes it on too" in said
    assert "stopped by SIGUSR1 or SIGKILL to torchrun after step" in said
    assert status_of(tmp_path / "r").state == "stopped"
    run.wait()


@pytest.mark.parametrize("more", [(), ("--resume", "auto")])
def test_a_folder_in_a_checkpoint_s_place_is_refused_before_an_epoch_is_lost(
    tmp_path: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r" / "checkpoints" / "latest.pt").mkdir(parents=True)
    assert train.main([*COMMAND, "--results", str(tmp_path / "r"), *more]) == 2
    assert "latest.pt is a folder, where a checkpoint is to stand" in capsys.readouterr().err
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(("stays", "code"), [("events.jsonl", 0), ("best.pt", 2)])
def test_a_file_that_cannot_be_moved_is_a_line(
    tmp_path: Path, stays: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that stays ends nothing; a checkpoint that would be overwritten does."""
    assert train.main([*COMMAND, "--results", str(tmp_path)]) == 0
    real = os.replace

    def replace(source: str | Path, target: str | Path) -> None:
        if Path(source).name == stays:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    capsys.readouterr()
    assert train.main([*COMMAND, "--results", str(tmp_path)]) == code
    assert f"cannot move {stays} from {tmp_path}" in "".join(capsys.readouterr())
