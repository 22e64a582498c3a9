"""Training with channels that are known ahead: it uses them, goes on from a checkpoint, and divides over ranks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.loading import load
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.start import open_run
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.same_run import assert_same_run, metrics

IDS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags of a folder of two channels: rain, of which nothing in the past says anything, and speed, which follows it
    in the same row; a little of the rain is missing.
    """
    folder = tmp_path_factory.mktemp("known")
    (folder / "readings").mkdir()
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-01-01", periods=400, freq="h", name="time")
    rain = rng.uniform(-1, 1, (400, 3)).round(3)
    speed = (30 + 10 * rain).round(3)
    rain[rng.random(rain.shape) < 0.03] = np.nan
    for name, values in (("speed", speed), ("rain", rain)):
        pd.DataFrame(values, index=times, columns=IDS).to_csv(folder / "readings" / f"{name}.csv")
    pairs = [(one, other, 1.0) for one in IDS for other in IDS]
    pd.DataFrame(pairs, columns=["from", "to", "weight"]).to_csv(folder / "graph.csv", index=False)
    return (
        *("--data", str(folder / "readings"), "--data-format", "channels", "--graph", str(folder / "graph.csv")),
        *("--targets", "speed", "--past-steps", "4", "--future-steps", "3", "--missing", "nan"),
    )


@pytest.mark.slow
def test_a_future_that_follows_from_what_is_known_is_learnt(tmp_path: Path, source: tuple[str, ...]) -> None:
    maes = {}
    for name, known in (("with", ("--known-ahead", "rain")), ("without", ())):
        config = debug_config(*source, *known, "--epochs", "10", "--results", str(tmp_path / name))
        maes[name] = fit(config).best_validation_mae
    assert maes["with"] is not None
    assert maes["without"] is not None
    assert maes["without"] > 4  # the mean deviation of the speed is 5
    assert maes["with"] < 0.4 * maes["without"]
    report = load(tmp_path / "with").evaluate(split="validation")
    assert report.methods["DCRNN"].overall().mae == pytest.approx(maes["with"], rel=1e-4)


RUN = ("--known-ahead", "rain", "calendar", "--epochs", "2", "--global-batch-size", "16", "--patience", "0")


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    tmp_path: Path, rank_server: RankServer, source: tuple[str, ...]
) -> None:
    flags, world = (*source, *RUN, "--batch-size", "8"), 2
    whole = rank_server.start(
        tmp_path / "whole", world, "rank_programs:train", "--results", str(tmp_path / "one"), *flags
    )
    for leg, stop_at in enumerate((5, -1)):
        job = rank_server.start(
            tmp_path / f"leg{leg}", world, "rank_programs:notes_windows", str(tmp_path / f"windows{leg}"), stop_at,
            "--results", str(tmp_path / "two"), "--resume", "auto", *flags,
        )  # fmt: skip
        assert job.wait() == [85 if stop_at > 0 else 0] * world, job.errors(0)
    assert whole.wait() == [0] * world, whole.errors(0)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_ranks_and_micro_batches_train_alike(tmp_path: Path, rank_server: RankServer, source: tuple[str, ...]) -> None:
    """16 windows on one process, 2 x 2 x 4, and 8 of which two processes have a part of the nodes each."""
    ways = {
        "one": (1, ("--batch-size", "16")),
        "ranks": (2, ("--batch-size", "4")),
        "shared": (2, ("--batch-size", "8", "--node-parallel", "2", "--graph-partition", "contiguous")),
    }
    jobs = {}
    for name, (world, more) in ways.items():
        flags = ("--results", str(tmp_path / name), *source, *RUN, *more)
        jobs[name] = rank_server.start(tmp_path / f"job {name}", world, "rank_programs:train", *flags)
    for name, job in jobs.items():
        assert job.wait() == [0] * ways[name][0], job.errors(0)
    rows = {name: metrics(tmp_path / name) for name in ways}
    for name in ("ranks", "shared"):
        for got, wanted in zip(rows[name], rows["one"], strict=True):
            for column in ("train_loss", "gradient_norm", "validation_mae"):
                assert float(got[column]) == pytest.approx(float(wanted[column]), rel=2e-3), (name, column)


@pytest.mark.slow
def test_a_store_gives_the_same_windows(tmp_path: Path, source: tuple[str, ...]) -> None:
    from dcrnn_fast import prepare

    reading, windows = source[:6] + source[-2:], (*source[6:-2], "--known-ahead", "rain")
    assert prepare.main([*reading, "--output", str(tmp_path / "store")]) == 0
    config, stored = debug_config(*source, *windows[-2:]), debug_config("--data", str(tmp_path / "store"), *windows)
    whole = open_data(config.data, config.graph)
    read = open_data(stored.data, stored.graph)
    starts = whole.train.starts_W[[0, 50, 7]]
    assert read.window_format.num_known == whole.window_format.num_known == 2
    # A store holds float32.
    np.testing.assert_allclose(read.gather(starts).known_BFNK, whole.gather(starts).known_BFNK, rtol=1e-6)
    assert to_dict(read.config)["known_ahead"] == ["rain"]


@pytest.mark.slow
def test_a_new_training_begins_with_a_model_that_knows_the_same_ahead(tmp_path: Path, source: tuple[str, ...]) -> None:
    known, plain = (str(tmp_path / name) for name in ("known", "plain"))
    fit(debug_config(*source, "--known-ahead", "rain", "--epochs", "0", "--results", known))
    fit(debug_config(*source, "--epochs", "0", "--results", plain))
    new = (*source, "--future-steps", "5", "--seed", "7", "--results", str(tmp_path / "new"), "--start-from")
    run, _ = open_run(debug_config(*new, known, "--known-ahead", "rain"), Ranks())
    for ours, theirs in zip(run.model.parameters(), load(known).model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for words, said in (
        ((known,), "with rain, the calendar known ahead, this run has nothing: give --known-ahead rain"),
        ((known, "--known-ahead", "calendar"), "this run has the calendar: give --known-ahead rain"),
        ((plain, "--known-ahead", "rain"), "with nothing known ahead, .* leave --known-ahead out"),
    ):
        with pytest.raises(UserError, match=said):
            open_run(debug_config(*new, *words), Ranks())
    assert not (tmp_path / "new").exists()
