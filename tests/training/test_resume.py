"""A resumed run equals the uninterrupted one bit for bit: weights, optimiser, metrics. Real processes, killed."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.kernels.native import library
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config
from tests.training.same_run import assert_same_run, differing, events_of, metrics

FLAGS = (
    *("--epochs", "3", "--save-every-steps", "1", "--accumulate", "2", "--batch-size", "8", "--patience", "0"),
    *("--max-train-windows", "250", "--schedule", "plateau", "--plateau-patience", "0"),
    *("--sampling-decay", "10", "--warmup-steps", "5"),
)


def saves(results: Path) -> int:
    events = results / "events.jsonl"
    return events.read_text().count('"event": "save"') if events.exists() else 0


def run_with_kills(rank_server, folder: Path, world: int, kill_after: list[int], *flags: str) -> tuple[Path, list[int]]:
    """Trains, SIGKILLs all ranks some saves after each start, resumes; returns results and the steps resumed from."""
    results = folder / "results"
    flags = ("--results", str(results), "--resume", "auto", *flags)
    for number, after in enumerate(kill_after):
        before = saves(results)
        job = rank_server.start(folder / f"job{number}", world, "rank_programs:train", *flags)
        job.until(lambda enough=before + after, job=job: saves(results) >= enough or job.ended)
        time.sleep(random.random() * 0.02)
        if not job.kill():  # a fast machine can be through before the last of the kills
            break
    rank_server.run(folder / "last", world, "rank_programs:train", *flags)
    return results, [event["step"] for event in events_of(results) if event["event"] == "resume"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, rank_server) -> Path:
    """An uninterrupted run of one process."""
    results = tmp_path_factory.mktemp("whole")
    rank_server.run(results / "job", 1, "rank_programs:train", "--results", str(results), *FLAGS)
    return results


@pytest.mark.parametrize(
    ("world", "kills"),
    [
        pytest.param(2, 1, id="2 ranks"),
        pytest.param(1, 5, id="1 rank", marks=pytest.mark.slow),
        pytest.param(3, 5, id="3 ranks", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, rank_server, world, kills):
    uninterrupted = tmp_path / "whole"
    job = rank_server.start(tmp_path / "job", world, "rank_programs:train", "--results", str(uninterrupted), *FLAGS)
    random.seed(world)
    results, resumed = run_with_kills(
        rank_server, tmp_path / "killed", world, [random.randint(1, 4) for _ in range(kills)], *FLAGS
    )
    assert job.wait() == [0] * world, job.errors(0)
    steps_per_epoch = metrics(uninterrupted)[0]["step"]
    assert any(step % int(steps_per_epoch) for step in resumed), f"never resumed in mid-epoch: {resumed}"
    assert_same_run(uninterrupted, results)


def test_the_comparison_notices_one_bit(tmp_path):
    state = {"model": {"w": torch.ones(3)}, "step": 4}
    other = {"model": {"w": torch.tensor([1.0, 1.0, 1.0 + 2**-23])}, "step": 4}
    assert differing(state, other) == ["/model/w"]
    assert differing({"step": 4}, {"step": 5}) == ["/step"]


@pytest.mark.slow
def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(tmp_path, rank_server, whole):
    """The stop may come at any moment; the resumed run goes on from exactly there."""
    results = tmp_path / "results"
    flags = ("--results", str(results), *FLAGS)
    first = rank_server.start(tmp_path / "first", 1, "rank_programs:train", *flags)
    first.until(lambda: saves(results) >= 5)
    os.kill(first.pid(0), signal.SIGUSR1)
    assert first.wait() == [85]
    rank_server.run(tmp_path / "second", 1, "rank_programs:train", *flags, "--resume", "auto")
    assert_same_run(whole, results)


def test_stop_during_validation_saves_and_validates_after_the_resume(tmp_path, rank_server, whole):
    results = tmp_path / "results"
    flags = ("--results", str(results), *FLAGS)
    first = rank_server.start(tmp_path / "first", 1, "rank_programs:stops_in_validation", *flags)
    assert first.wait() == [85], first.errors(0)
    training = load_checkpoint(results / "checkpoints" / "latest.pt")["training"]
    assert training["epoch"] == 0
    assert training["position"] == training["train_windows"]
    rank_server.run(tmp_path / "second", 1, "rank_programs:train", *flags, "--resume", "auto")
    assert_same_run(whole, results)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, rank_server) -> Path:
    results = tmp_path_factory.mktemp("trained")
    rank_server.run(results / "job", 1, "rank_programs:train", "--results", str(results), "--save-every-steps", "3")
    return results


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--hidden-units", "9"), "was trained with hidden_units = 8, this run has 9"),
        (("--hops", "1"), "was trained with hops = 2, this run has 1"),
        (("--seed", "3"), "was trained with seed = 0, this run has 3"),
        (("--past-steps", "6"), "was trained with past_steps = 12, this run has 6"),
        (("--city-nodes", "9"), "is of another graph: its 8 sensors are not the data's 9"),
        (("--city-seed", "1"), "is of another graph: same sensors, other edges or weights"),
        (("--max-train-windows", "100"), "was trained on 256 windows, this run has 100"),
        (
            ("--max-validation-windows", "100"),
            "was trained on data with other validation windows; resume with",
        ),
        (("--scaler", "published"), "was trained with scaler = observed, this run has published"),
        (("--missing-input", "mean"), "was trained with missing_input = last, this run has mean"),
        (("--loss-unit", "original"), "was trained with loss_unit = deviation, this run has original"),
        (
            ("--known-ahead", "calendar"),
            "was trained with nothing known ahead, this run has the calendar: give the same",
        ),
        (("--optimizer", "adamw"), "was trained with optimizer = adam, this run has adamw"),
        (("--reading", "contiguous"), "was trained with reading = shuffled, this run has contiguous"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(tmp_path, rank_server, trained, flags, message):
    before = (trained / "checkpoints" / "latest.pt").read_bytes()
    job = rank_server.start(
        tmp_path / "job", 1, "rank_programs:train", "--results", str(tmp_path / "new"), *flags,
        "--resume", str(trained / "checkpoints" / "latest.pt"),
    )  # fmt: skip
    assert job.wait() == [2]
    assert message in job.errors(0)
    assert job.errors(0).count("\n") == 1
    assert (trained / "checkpoints" / "latest.pt").read_bytes() == before


@pytest.mark.parametrize(("field", "what"), [("values_TNC", "readings"), ("observed_TNC", "missing readings")])
def test_a_run_is_not_resumed_on_other_readings(tmp_path, monkeypatch, field, what):
    """Also where a single one of them differs."""
    flags = ("--results", str(tmp_path), "--epochs")
    fit(debug_config(*flags, "1"))
    before = (tmp_path / "checkpoints" / "latest.pt").read_bytes()

    def changed(*args: Any, **kwargs: Any) -> ForecastData:
        data = open_data(*args, **kwargs)
        array = getattr(data.series, field)
        array[1001, 3] = array[1001, 3] == 0
        return data

    monkeypatch.setattr("dcrnn_fast.training.start.open_data", changed)
    with pytest.raises(UserError, match=rf"latest\.pt was trained on data with other {what}; resume with the data"):
        fit(debug_config(*flags, "2", "--resume", "auto"))
    assert (tmp_path / "checkpoints" / "latest.pt").read_bytes() == before


def test_a_checkpoint_that_does_not_know_its_data_is_resumed_with_a_note(tmp_path, capsys):
    flags = ("--results", str(tmp_path), "--epochs")
    fit(debug_config(*flags, "1"))
    state = load_checkpoint(tmp_path / "checkpoints" / "latest.pt")
    del state["training"]["data"], state["window_format"]["in_utc"]
    save_checkpoint(tmp_path / "checkpoints", state, "latest.pt")
    assert fit(debug_config(*flags, "2", "--resume", "auto")).epochs == 2
    assert "does not say on which data it was trained" in capsys.readouterr().out
    state = load_checkpoint(tmp_path / "checkpoints" / "latest.pt")
    known = state["window_format"]["in_utc"]
    assert known is False
    for other, epochs in ((None, 3), (True, None)):
        state["window_format"]["in_utc"] = other
        save_checkpoint(tmp_path / "checkpoints", state, "latest.pt")
        if epochs is not None:
            assert fit(debug_config(*flags, str(epochs), "--resume", "auto")).epochs == epochs
            continue
        with pytest.raises(UserError, match="was trained with in_utc = True, this run has False"):
            fit(debug_config(*flags, "4", "--resume", "auto"))


def test_sensors_in_another_order_resume_to_the_same_bits(tmp_path):
    table = pd.DataFrame(
        50 + np.random.default_rng(0).normal(size=(300, 4)).cumsum(axis=0).round(2),
        pd.date_range("2024-01-01", periods=300, freq="5min", name="time"),
        ["a", "b", "c", "d"],
    )
    pairs = [f"{u},{v},{(i - j) ** 2 / 3}" for i, u in enumerate("abcd") for j, v in enumerate("abcd")]
    (tmp_path / "g.csv").write_text("\n".join(["from,to,cost", *pairs]))
    for folder, columns in (("whole", "abcd"), ("turned", "dbca")):
        (tmp_path / folder).mkdir()
        table.to_csv(tmp_path / "x.csv")
        flags = ("--data", str(tmp_path / "x.csv"), "--graph", str(tmp_path / "g.csv"), "--results")
        fit(debug_config(*flags, str(tmp_path / folder), "--epochs", "1"))
        table[list(columns)].to_csv(tmp_path / "x.csv")
        fit(debug_config(*flags, str(tmp_path / folder), "--epochs", "2", "--resume", "auto"))
    assert_same_run(tmp_path / "whole", tmp_path / "turned")


@pytest.mark.parametrize("backend", ["cpu", "manual"])
def test_other_threads_are_said_only_where_they_change_bits(tmp_path, capsys, backend):
    if backend == "cpu" and library()[0] is None:
        pytest.skip(f"no compiled kernels here: {library()[2]}")
    fit(debug_config("--results", str(tmp_path), "--epochs", "1", "--backend", backend))
    threads = torch.get_num_threads()
    try:
        fit(debug_config(
            "--results", str(tmp_path), "--epochs", "2", "--backend", backend, "--resume", "auto", "--threads", "2"
        ))  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert ("threads: was 1, now 2; the run continues, but not bit for bit" in capsys.readouterr().out) == (
        backend == "manual"
    )


def test_resume_in_another_folder_takes_the_best_along_and_says_what_differs(tmp_path, rank_server, trained):
    job = rank_server.run(
        tmp_path / "job", 1, "rank_programs:train", "--results", str(tmp_path / "new"), "--epochs", "2",
        "--resume", str(trained / "checkpoints" / "latest.pt"), "--batch-size", "16", "--learning-rate", "0.02",
    )  # fmt: skip
    said = job.output(0)
    assert "learning_rate: was 0.01, now 0.02" in said
    assert "global batch: was 32, now 16; the run continues, but not bit for bit" in said
    assert metrics(tmp_path / "new") == metrics(trained)
    assert (tmp_path / "new" / "checkpoints" / "best.pt").is_file()


def test_a_damaged_checkpoint_is_skipped_for_the_other_good_one(tmp_path, rank_server):
    results = tmp_path / "results"
    rank_server.run(tmp_path / "a", 1, "rank_programs:train", "--results", str(results), "--epochs", "2")
    latest = results / "checkpoints" / "latest.pt"
    payload = bytearray(latest.read_bytes())
    payload[len(payload) // 2] ^= 1
    latest.write_bytes(payload)
    flags = ("--results", str(results), "--epochs", "3", "--resume", str(latest))
    job = rank_server.run(tmp_path / "b", 1, "rank_programs:train", *flags)
    assert f"skipped: checkpoint {latest} is damaged" in job.output(0)
    assert "best.pt: epoch 2, step 16" in job.output(0)
    assert [row["epoch"] for row in metrics(results)] == ["1", "2", "3"]


def test_a_new_run_neither_destroys_nor_finds_what_an_earlier_one_left(tmp_path, rank_server, trained):
    results = tmp_path / "results"
    shutil.copytree(trained, results)
    old = (results / "checkpoints" / "best.pt").read_bytes()
    job = rank_server.run(tmp_path / "job", 1, "rank_programs:train", "--results", str(results), "--epochs", "1")
    assert f"moved to {results / 'checkpoints' / 'earlier-1'}" in job.output(0)
    assert (results / "checkpoints" / "earlier-1" / "best.pt").read_bytes() == old
    assert load_checkpoint(results / "checkpoints" / "earlier-1" / "best.pt")["training"]["epoch"] == 2
    assert sorted(path.name for path in (results / "checkpoints").glob("*.pt")) == [
        "best.pt",
        "epoch_0001.pt",
        "latest.pt",
    ]
    assert len(metrics(results)) == 1
