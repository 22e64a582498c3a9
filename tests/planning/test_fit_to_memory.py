"""``--fit``: the fastest that fits, as many windows in a step, the same on every rank, and it is written down."""

from pathlib import Path

import pytest

from dcrnn_fast import train
from dcrnn_fast.config.yaml_file import load_config
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.planning.choice import Choice
from dcrnn_fast.planning.memory import MARGIN
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.system import MIB
from dcrnn_fast.training import memory
from dcrnn_fast.training.memory import StepMemory, fit_to_memory
from dcrnn_fast.training.run import Run, make_run
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer


def made(*flags: str) -> Run:
    config = debug_config("--city-nodes", "30", "--batch-size", "4", "--accumulate", "6", "--fit", "--device", "cpu",
                          "--max-train-windows", "60", *flags)  # fmt: skip
    return make_run(config, open_data(config.data, config.graph), Ranks())


def test_what_fits_all_at_once_is_taken_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made("--save", "h")
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: 1e5)
    fit_to_memory(run)
    training = run.config.training
    assert (training.batch_size, training.accumulate, run.config.model.save, run.model.save) == (24, 1, "all", "all")
    assert run.fitted[0].startswith("fit: --batch-size 24 --accumulate 1 --save all, instead of --batch-size 4 ")


def test_less_memory_means_smaller_parts_and_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made()
    found = StepMemory(run)
    room = MARGIN * 1.01 * found.peak(Choice(8, 3, "all"))
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: room / MIB)
    batches = run.batches.batch_size
    fit_to_memory(run)
    training = run.config.training
    chosen = Choice(training.batch_size, training.accumulate, run.model.save)
    assert chosen == next(choice for choice in found.choices() if MARGIN * found.peak(choice) <= room)
    assert chosen.windows == 24
    assert chosen != found.choices()[0]
    assert run.batches.batch_size == batches == 24
    assert StepMemory(run).peak(StepMemory(run).now) * MARGIN <= room
    assert any("x the time of the fastest" in line for line in run.fitted)


def test_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made()
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: 0.01)
    with pytest.raises(UserError, match=r"--fit: nothing fits in 10.2 KiB: the nearest, --batch-size 1 .* MiB more;"):
        fit_to_memory(run)
    monkeypatch.setattr(memory, "available_mib", lambda processes=1: float("nan"))
    with pytest.raises(UserError, match="--fit needs to know how much memory there is"):
        fit_to_memory(run)


def test_the_other_name_of_saving_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--config", "debug", "--fit", "--gradient-checkpointing", "--results", str(tmp_path)]) == 2
    assert "fit must be off with gradient_checkpointing" in capsys.readouterr().err


@pytest.mark.slow
def test_all_ranks_choose_what_fits_the_poorest(tmp_path: Path, rank_server: RankServer) -> None:
    """The second rank may take less than the first."""
    flags = (
        "--city-nodes",
        "30",
        "--batch-size",
        "16",
        "--fit",
        "--hidden-units",
        "64",
        "--max-train-windows",
        "64",
        "--device",
        "cpu",
    )
    job = rank_server.run(
        tmp_path / "job", 2, "fit_programs:with_less_on_the_second_rank", *flags, "--results", str(tmp_path / "r")
    )
    assert job.wait() == [0, 0], job.errors(0) + job.errors(1)
    written = load_config(str(tmp_path / "r" / "config.yaml"))
    assert written.training.fit
    assert written.training.batch_size * written.training.accumulate == 16
    assert written.training.batch_size < 16
    assert "fit: --batch-size" in job.output(0)
