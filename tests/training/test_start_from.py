"""``train --start-from``: weights of another model, on other data and another graph."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dcrnn_fast
from dcrnn_fast import train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.state import forecast_weights
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.start import open_run
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer

WORDS = ("--city-nodes", "9", "--city-days", "3", "--batch-size", "16", "--max-train-windows", "64", "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    fit(debug_config(*WORDS, "--epochs", "1", "--ema-decay", "0.5", "--results", str(folder)))
    return folder


def test_weights_and_scaler_are_those_of_the_model_on_another_graph(trained: Path, tmp_path: Path) -> None:
    config = debug_config(*WORDS[2:], "--city-nodes", "14", "--city-seed", "5", "--start-from", str(trained))
    run, _ = open_run(config, Ranks())
    old = dcrnn_fast.load(trained)
    assert run.data.graph.num_nodes == 14
    assert run.data.scaler == old.scaler
    state = load_checkpoint(Path(str(old.about["checkpoint"])))
    for name, weight in forecast_weights(state).items():
        assert torch.equal(run.model.state_dict()[name], weight)
    assert not all(torch.equal(weight, state["model"][name]) for name, weight in forecast_weights(state).items())
    assert any("trained on 9 sensors" in line for line in run.begun)
    fitted, _ = open_run(debug_config(*WORDS, "--start-from", str(trained), "--start-scaler", "fitted"), Ranks())
    assert fitted.data.scaler == old.scaler  # the same data: the fit gives the same again
    other, _ = open_run(
        debug_config(
            *WORDS[2:], "--city-nodes", "14", "--city-seed", "5", "--start-from", str(trained), "--start-scaler",
            "fitted",
        ),
        Ranks(),
    )  # fmt: skip
    assert other.data.scaler != old.scaler


def test_readings_in_another_unit_are_told_where_the_scaler_is_kept(trained: Path, tmp_path: Path) -> None:
    run, _ = open_run(debug_config(*WORDS, "--start-from", str(trained)), Ranks())
    assert not any("deviations from" in line for line in run.begun)
    series, links = run.data.series, tmp_path / "links.csv"
    np.savez(tmp_path / "m.npz", data=1000 * series.values_TNC, times=series.times_T, channels=["speed"])
    links.write_text("from,to\n" + "".join(f"{n},{(n + 1) % 9}\n" for n in range(9)))
    words = (
        "--data",
        str(tmp_path / "m.npz"),
        "--graph",
        str(links),
        "--batch-size",
        "16",
        "--max-train-windows",
        "64",
    )
    run, _ = open_run(debug_config(*words, "--start-from", str(trained)), Ranks())
    (told,) = [line for line in run.begun if "over 10 deviations from those in training" in line]
    assert told.startswith("look: ")
    assert told.endswith("or is it another unit? --start-scaler fitted scales them anew")
    run, _ = open_run(debug_config(*words, "--start-from", str(trained), "--start-scaler", "fitted"), Ranks())
    assert not any("deviations from" in line for line in run.begun)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--hidden-units", "5", "--hops", "1"],
            "hidden_units = 8, hops = 2; this run has 5, 1: give --hidden-units 8",
        ),
        (["--day-of-week"], "day_of_week = False; this run has True: give --no-day-of-week"),
        (["--scaler", "sensor"], "has a scaler of the kind observed, --scaler is sensor"),
    ],
)
def test_another_shape_names_the_flags(words: list[str], said: str, trained: Path) -> None:
    with pytest.raises(UserError, match=said):
        open_run(debug_config(*WORDS, "--start-from", str(trained), *words), Ranks())


def test_an_empty_name_is_no_folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    with pytest.raises(UserError, match=r"^the checkpoint's name is empty"):
        open_run(debug_config(*WORDS, "--start-from", ""), Ranks())
    with pytest.raises(UserError, match=r"^the checkpoint's name is empty"):
        dcrnn_fast.load("")


def test_a_damaged_file_that_another_one_stands_in_for_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "copy")
    (tmp_path / "copy" / "best.pt").write_bytes(b"torn")
    run, _ = open_run(debug_config(*WORDS, "--start-from", str(tmp_path / "copy")), Ranks())
    assert "skipped: checkpoint" in run.begun[0]
    assert "best.pt" in run.begun[0]
    assert run.begun[1] == f"using {tmp_path / 'copy' / 'latest.pt'} instead"
    assert "start: weights of" in run.begun[2]


@pytest.mark.slow
def test_what_is_wrong_is_said_once_by_all_ranks(trained: Path, tmp_path: Path, rank_server: RankServer) -> None:
    flags = (*WORDS, "--start-from", str(trained), "--day-of-week", "--results", str(tmp_path / "run"))
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:train", *flags)
    assert job.wait() == [2, 2]
    assert "give --no-day-of-week" in job.errors(0)
    assert "rank 1" not in job.errors(0)


@pytest.mark.slow
def test_a_run_that_is_resumed_goes_on_with_its_own(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--config", "debug", *WORDS, "--start-from", str(trained), "--results", str(tmp_path / "run"),
        "--resume", "auto",
    ]  # fmt: skip
    assert train.main([*words, "--epochs", "1"]) == 0
    assert "start: weights of" in capsys.readouterr().out
    assert train.main([*words, "--epochs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "resumed from" in shown
    assert "start: weights of" not in shown


@pytest.mark.slow
def test_without_an_epoch_the_model_is_carried_to_the_other_graph(trained: Path, tmp_path: Path) -> None:
    words = ["--config", "debug", *WORDS[2:], "--city-nodes", "14", "--start-from", str(trained), "--epochs", "0"]
    assert train.main([*words, "--results", str(tmp_path / "run")]) == 0
    carried, old = dcrnn_fast.load(tmp_path / "run"), dcrnn_fast.load(trained)
    assert len(carried.ids) == 14
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(carried.model.parameters(), old.model.parameters(), strict=True)
    )


def test_the_scaler_takes_no_effect_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "debug", "--start-scaler", "fitted"]) == 2
    assert "--start-scaler needs --start-from" in capsys.readouterr().err
