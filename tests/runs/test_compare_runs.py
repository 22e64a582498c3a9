"""``dcrnn-fast compare``: the table, its CSV file and its picture, over runs in any state."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dcrnn_fast import compare
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.records.events import Ended
from dcrnn_fast.runs.record import read_run, read_runs
from tests.checkout import ROOT
from tests.runs.made_runs import FAILED, make_run, report


def shown(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[list[str], list[str]]:
    """The lines of stdout and of stderr."""
    assert compare.main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    return said.out.splitlines(), said.err.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert compare.main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def with_units(units: int) -> Config:
    return Config(model=ModelConfig(hidden_units=units), training=TrainingConfig(epochs=3))


def test_a_sweep_is_sorted_by_its_error_and_names_what_differs(tmp_path: Path, capsys) -> None:
    for task, (units, error) in enumerate([(16, 3.0), (64, 2.0), (32, 4.0)]):
        make_run(tmp_path / "sweep" / f"{task}", 5.0, error, 6.0, config=with_units(units), test=report(error))
    out, err = shown(capsys, tmp_path / "sweep", "-o", tmp_path / "new" / "table.csv")
    assert err == []
    assert out[0] == "city: speed (mph), 12 steps: 3 runs, by validation_mae"
    assert [line.split()[0] for line in out[2:5]] == ["1", "0", "2"]
    assert out[2].split() == [
        *("1", "finished", "3/3", "2", "2.000", "2.364", "2.909", "4.000", "8", "s", "128.0", "2", "hidden_units=64")
    ]
    found = rows_of(tmp_path / "new" / "table.csv")
    assert [line["model.hidden_units"] for line in found] == ["64", "16", "32"]
    assert not any(name.startswith("output.") for name in found[0])
    assert float(found[0]["test_rmse_1_h"]) == pytest.approx(4.0)
    assert found[0]["ranks"] == "2"
    assert found[0]["seconds"] == "7.5"
    assert found[0]["reason"] == "all epochs"


def test_runs_in_every_state(tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "done", 2.0)
    make_run(tmp_path / "going", 3.0, end=None)
    make_run(tmp_path / "stopped", 4.0, end=Ended("SIGUSR1", 1, 8, Path("l")))
    make_run(tmp_path / "failed", 5.0, end=FAILED)
    make_run(tmp_path / "new", end=None)
    killed = make_run(tmp_path / "killed", 6.0, end=None)
    status = json.loads((killed / "status.json").read_text())
    status["process"]["started"] -= 1
    (killed / "status.json").write_text(json.dumps(status))
    old = make_run(tmp_path / "old", 7.0)
    (old / "status.json").unlink()
    out, err = shown(capsys, tmp_path, "-o", tmp_path / "t.csv")
    assert err == []
    states = {line.split()[0]: line.split()[1] for line in out[2:9]}
    assert list(states) == ["done", "going", "stopped", "failed", "killed", "old", "new"]
    assert list(states.values()) == ["finished", "running", "stopped", "failed", "killed", "unknown", "running"]
    assert out[9] == "failed: failed, out of <memory> & more"
    reasons = {line["run"]: line["reason"] for line in rows_of(tmp_path / "t.csv")}
    assert reasons["stopped"] == "asked to by SIGUSR1"
    assert reasons["killed"].endswith("is gone and did not say why")


def test_what_is_not_measured_alike_is_not_ranked(tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "a", 2.0, test=report(1.0))
    make_run(tmp_path / "b", 1.0, config=Config(data=DataConfig(future_steps=6)))
    make_run(tmp_path / "c", 3.0, test=report(1.0, windows=8))
    make_run(tmp_path / "d", 4.0, config=Config(data=DataConfig(max_train_windows=10)))
    _, err = shown(capsys, tmp_path, "-o", tmp_path / "t.csv")
    assert len(err) == 1
    assert "3 groups, which are not ranked against each other" in err[0]
    assert err[0].endswith("over other data, targets or windows (future_steps)")
    groups = {line["run"]: line["group"][0] for line in rows_of(tmp_path / "t.csv")}
    assert groups["a"] == groups["d"], "how many windows it is trained on changes nothing of what is measured"
    assert len({groups[run] for run in "abc"}) == 3


def test_several_targets_are_ranked_by_the_error_that_counts_them_alike(tmp_path: Path, capsys) -> None:
    targets = {"speed": 1.0, "flow": 200.0}
    make_run(tmp_path / "a", 90.0, targets=targets, test=report(1.0, channels=("speed", "flow")))
    make_run(tmp_path / "b", 80.0, targets=targets)
    other = Config(data=DataConfig(scaler="sensor"))
    make_run(tmp_path / "c", 70.0, targets=targets, config=other)
    out, err = shown(capsys, tmp_path)
    assert out[0].endswith(": 2 runs, by validation_error")
    assert [line.split()[0] for line in out[2:4]] == ["b", "a"]
    assert "test MAE speed  test MAE flow" in out[1]
    assert len(err) == 1, "deviations of another scaler are another unit"


def test_names_are_as_long_as_they_must_be(tmp_path: Path, capsys) -> None:
    for place in ("x", "y"):
        make_run(tmp_path / place / "run", 2.0)
    make_run(tmp_path / "x" / "other", 3.0)
    (tmp_path / "link").symlink_to(tmp_path / "x" / "run")
    records, looks = read_runs([str(tmp_path / name) for name in ("x/run", "y", "x", "link")])
    assert [run.name for run in records] == ["x/run", "y/run", "other"]
    assert len(looks) == 2, "by its folder, and by a link"
    assert all(line.endswith("it is taken once") for line in looks)


def test_the_order_is_a_column_of_the_csv(tmp_path: Path, capsys) -> None:
    for name, steps in (("run2", 2), ("run10", 10), ("run1", 1)):
        make_run(tmp_path / name, 2.0, windows_per_second=float(steps))
    for column, order in (("windows_per_second", ["run1", "run2", "run10"]), ("run", ["run1", "run2", "run10"])):
        assert [line.split()[0] for line in shown(capsys, tmp_path, "--sort", column)[0][2:]] == order
    assert "did you mean windows_per_second?" in refused(capsys, tmp_path, "--sort", "windows_per_secnd")


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys) -> None:
    good = make_run(tmp_path / "good", 2.0)
    bad = make_run(tmp_path / "bad", 3.0, test=report(1.0))
    (bad / "metrics.csv").write_text("epoch,step\n1,x\n")
    (bad / "report.json").write_text('{"horizons": [1]}')
    (bad / "config.yaml").write_text("training: {epohcs: 3}\n")
    (tmp_path / "slurm-7.out").write_text("a log")
    (tmp_path / "empty").mkdir()
    paths = [good, bad, tmp_path / "gone", tmp_path / "empty", tmp_path / "slurm-7.out"]
    out, err = shown(capsys, *paths)
    assert [line.split("\n")[0][:5] for line in err] == ["look:"] * len(err)
    for said in (
        "gone cannot be read: No such file",
        "no run has written in",
        "1 file, no folder of a run, left out: ",
        "metrics.csv has no column 'learning_rate'",
        "report.json is not a report: label of horizons must be a str",
        "config.yaml: unknown key 'epohcs'",
    ):
        assert sum(said in line for line in err) == 1, said
    assert sum(line.startswith(("good ", "bad ")) for line in out) == 2
    assert "there is no run to show" in refused(capsys, *paths[2:])


def test_a_run_that_was_set_aside_counts_only_if_it_is_named(tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "results" / "one", 2.0)
    make_run(tmp_path / "results" / "earlier-1", 3.0)
    assert len(shown(capsys, tmp_path / "results")[0]) == 3
    assert len(shown(capsys, tmp_path / "results", tmp_path / "results" / "earlier-1")[0]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which runs?"),
        (["-o", "t.txt"], "the table is written as .csv, got 't.txt'"),
        (["--plot", "t.txt"], "plots are written as .png, .pdf or .svg"),
        (["-o", "run/metrics.csv"], "would replace"),
        (["-o", "run/config.yaml/t.csv"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, tmp_path: Path, capsys, monkeypatch) -> None:
    make_run(tmp_path / "run", 2.0)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert said in refused(capsys, *(["run"] if words else []), *words)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_picture_is_drawn_for_all_kinds_of_groups(tmp_path: Path, capsys) -> None:
    for i in range(8):
        make_run(tmp_path / f"$x_{i}$", 3.0 + i, 2.0 + i, config=with_units(2 + i), test=report(2.0 + i))
    make_run(tmp_path / "other", 1.0, config=Config(data=DataConfig(future_steps=6)))
    make_run(tmp_path / "new", end=None, config=Config(data=DataConfig(future_steps=3)))
    out, _ = shown(capsys, tmp_path, "--plot", tmp_path / "new" / "p.png")
    assert out[-1] == f"drawn: {tmp_path / 'new' / 'p.png'}"
    with Image.open(tmp_path / "new" / "p.png") as picture:
        assert picture.width == 2080
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 200


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 2.0, test=report(1.0))
    suspects = {"torch", "numpy", "matplotlib", "pandas", "dcrnn_fast.kernels"}
    code = (
        "from dcrnn_fast.cli import main\nimport sys\nassert main(['compare', 'run']) == main(['report', 'run']) == 0\n"
    )
    code += f"print(sorted(set(sys.modules) & {suspects!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_that_was_resumed_is_one_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 3.0, 2.0)
    events = (run / "events.jsonl").read_text()
    (run / "events.jsonl").write_text(events + events.splitlines()[0].replace('"start"', '"resume"') + "\n")
    record = read_run(run)
    assert record.start["event"] == "resume"
    assert record.seconds == 5.0
    assert replace(record, rows=()).windows_per_second is None
