"""A run on staged files is the run on the shared ones, and leaves nothing behind, however it ends."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.errors import UserError
from dcrnn_fast.training.check import check
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.same_run import differing, metrics, without_times

FEW = ("--max-train-windows", "32", "--max-validation-windows", "16", "--epochs", "1")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Flags for readings and a graph in files."""
    times = np.datetime64("2024-01-01T00:00") + np.arange(300) * np.timedelta64(5, "m")
    values = 50 + np.random.default_rng(0).normal(size=(300, 4)).cumsum(axis=0)
    rows = [f"{time},{','.join(f'{value:.2f}' for value in row)}" for time, row in zip(times, values, strict=True)]
    (tmp_path / "readings.csv").write_text("\n".join(["time,a,b,c,d", *rows]))
    pairs = [f"{u},{v},{(i - j) ** 2 / 3}" for i, u in enumerate("abcd") for j, v in enumerate("abcd")]
    (tmp_path / "links.csv").write_text("\n".join(["from,to,cost", *pairs]))
    (tmp_path / "node").mkdir()
    return ("--data", str(tmp_path / "readings.csv"), "--graph", str(tmp_path / "links.csv"))


def state_in(results: Path) -> dict:
    return without_times(load_checkpoint(results / "checkpoints" / "latest.pt"))


def test_only_the_setting_itself_differs(
    files: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = str(tmp_path / "node")
    fit(debug_config(*files, *FEW, "--results", str(tmp_path / "shared")))
    capsys.readouterr()
    fit(debug_config(*files, *FEW, "--results", str(tmp_path / "staged"), "--stage", node))
    out = capsys.readouterr().out
    assert "KiB copied to" in out
    assert os.listdir(node) == []
    assert differing(state_in(tmp_path / "shared"), state_in(tmp_path / "staged")) == ["/config/data/stage"]
    told = [line for line in out.splitlines() if node in line]
    assert [line.split(":")[0].strip() for line in told] == ["stage", "stage"]  # the copying, and the configuration
    written = yaml.safe_load((tmp_path / "staged" / "config.yaml").read_text())
    assert (written["data"]["data"], written["graph"]["graph"]) == (files[1], files[3])
    # A resumed run may stage elsewhere, or not at all.
    fit(debug_config(*files, *FEW, "--epochs", "2", "--results", str(tmp_path / "staged"), "--resume", "auto"))
    assert "stage: was" not in capsys.readouterr().out


def test_a_run_that_fails_leaves_no_copy(files: tuple[str, ...], tmp_path: Path) -> None:
    flags = (*files, *FEW, "--results", str(tmp_path / "r"), "--stage", str(tmp_path / "node"))
    with pytest.raises(UserError, match=r"too few steps for one window") as told:
        fit(debug_config(*flags, "--past-steps", "400"))
    assert "node" not in str(told.value)
    assert os.listdir(tmp_path / "node") == []
    check(debug_config(*flags))
    assert os.listdir(tmp_path / "node") == []


def test_what_cannot_be_staged_is_read_where_it_is(
    files: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*files, *FEW, "--results", str(tmp_path / "r"), "--stage", str(tmp_path / "readings.csv" / "x"))
    assert fit(debug_config(*flags)).epochs == 1
    said = capsys.readouterr().out
    assert "warning: stage: " in said
    assert "Not a directory; it reads the shared files" in said


@pytest.mark.slow
def test_two_ranks_share_one_copy(files: tuple[str, ...], tmp_path: Path, rank_server: RankServer) -> None:
    node = tmp_path / "node"
    flags = (*files, *FEW, "--results")
    rank_server.run(tmp_path / "a", 2, "rank_programs:train", *flags, str(tmp_path / "shared"))
    job = rank_server.run(
        tmp_path / "b",
        2,
        "rank_programs:reads_copies",
        str(node),
        *flags,
        str(tmp_path / "staged"),
        "--stage",
        str(node),
    )
    assert job.output(0).count(" copied to ") == 1
    assert job.output(1) == ""
    seen = [json.loads((node / f"read.{rank}").read_text()) for rank in range(2)]
    assert seen[0] == seen[1] == sorted(Path(name).name for name in (files[1], files[3]))
    assert [path for path in node.iterdir() if path.is_dir()] == []
    assert metrics(tmp_path / "shared") == metrics(tmp_path / "staged")
