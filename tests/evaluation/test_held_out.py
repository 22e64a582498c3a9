"""``evaluate``, ``forecast`` and the end of ``train`` around one small trained model: which windows are scored, what is
said, and what is left on the disk."""

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast import evaluate, forecast, train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.command import command_line
from dcrnn_fast.loading import load

ROWS, PAST, FUTURE = 500, 6, 4
WINDOW = PAST + FUTURE
CHECKPOINT = "r/checkpoints/best.pt"


def counts(rows: int, seed: int = 0, start: str = "2023-01-01") -> pd.DataFrame:
    """Hourly counts that are never below 0, and often 0."""
    rng = np.random.default_rng(seed)
    level = np.maximum(np.sin(np.arange(rows) / 24 * 2 * np.pi), 0)[:, None] * [20, 5, 8]
    times = pd.date_range(start, periods=rows, freq="h")
    return pd.DataFrame(rng.poisson(level).astype(float), index=times, columns=list("abc")).rename_axis("time")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with data and a trained model, and what ``train`` printed."""
    folder = tmp_path_factory.mktemp("trained")
    counts(ROWS).to_csv(folder / "c.csv")
    np.save(folder / "A.npy", np.ones((3, 3)))
    words = ["--data", "c.csv", "--graph", "A.npy", "--missing", "nan", "--hidden-units", "4", "--epochs", "1"]
    words += ["--past-steps", str(PAST), "--future-steps", str(FUTURE), "--results", "r", "--threads", "1"]
    said = folder / "said.txt"
    with contextlib.chdir(folder), said.open("w") as out, contextlib.redirect_stdout(out):
        assert train.main(words) == 0
    return folder, said.read_text()


@pytest.fixture
def there(trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In that folder; reports are written without their pictures, which have tests of their own."""
    monkeypatch.setattr(evaluate, "save_report", lambda report, folder: report.save(folder))
    with contextlib.chdir(trained[0]):
        yield trained[0]


def scored(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Windows that ``evaluate`` scored, and the line that says which."""
    assert evaluate.main([CHECKPOINT, "-o", "out", *words]) == 0
    windows = json.loads(Path("out/report.json").read_text())["windows"]
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "scored: " in line)
    return windows, line


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    return error


def test_the_test_part_of_the_training_data_is_scored(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = ROWS - WINDOW + 1
    test = round(windows * 0.2)
    assert scored(capsys) == (test, f"scored: the {test} windows of c.csv's test part")
    Path("copy.csv").write_bytes(Path("c.csv").read_bytes())
    assert scored(capsys, "--data", "copy.csv")[0] == test
    every, line = scored(capsys, "--split", "all")
    assert every == windows
    assert line.startswith("look: scored: all 491 windows of c.csv, also what the model was trained on")


def test_a_sensor_left_out_changes_no_window(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = round((ROWS - WINDOW + 1) * 0.2)
    left = counts(1).columns[0]
    assert scored(capsys, "--leave-out", left) == (windows, f"scored: the {windows} windows of c.csv's test part")


def test_all_of_later_data_is_scored(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts(60, 1, "2024-01-01").to_csv("later.csv")
    windows, line = scored(capsys, "--data", "later.csv")
    assert windows == 60 - WINDOW + 1
    assert line == "scored: all 51 windows of later.csv, which the model was not trained on"
    report = json.loads(Path("out/report.json").read_text())
    assert list(report["channels"][0]["methods"]) == [
        *("DCRNN", "last value", "weekly mean", "VAR(3)", "same hour last week")
    ]
    assert report["strongest_baseline"] is not None
    assert scored(capsys, "--data", "later.csv", "--split", "test")[0] == round(51 * 0.2)
    counts(WINDOW, 1, "2024-01-01").to_csv("one.csv")  # a single window
    assert scored(capsys, "--data", "one.csv")[0] == 1


def test_of_data_that_went_on_only_what_training_has_not_seen(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = pd.concat([counts(ROWS), counts(48, 2, "2023-01-21T20:00")])
    more.to_csv("more.csv")
    windows, line = scored(capsys, "--data", "more.csv")
    last = load_checkpoint(CHECKPOINT)["training"]["part"]["last"]
    assert windows == int((more.index > last).sum()) - FUTURE + 1
    assert "--split all scores them too" in line
    counts(ROWS).iloc[:300].to_csv("earlier.csv")
    argv = [CHECKPOINT, "--data", "earlier.csv", "-o", "new/out"]
    assert "forecast times that training has seen (2023-01-01 00:00 to" in refused(capsys, evaluate.main(argv))
    assert not Path("new").exists()


def test_other_readings_of_the_same_times_are_scored(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (counts(200, 3) * 2 + 7).to_csv("scenario.csv")
    windows, line = scored(capsys, "--data", "scenario.csv")
    assert (windows, line.endswith("whose readings are not those of the training")) == (191, True)


def test_without_the_training_data_it_is_said(there: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    counts(60, 1, "2024-01-01").to_csv(tmp_path / "later.csv")
    checkpoint = str(there / CHECKPOINT)
    with contextlib.chdir(tmp_path):
        assert evaluate.main([checkpoint, "--data", "later.csv", "-o", "out"]) == 0
        said = capsys.readouterr().out
        assert "the training data cannot be opened" in said
        assert "not at hand: no baseline that must be fitted" in said
        (tmp_path / "away").mkdir()
        with contextlib.chdir(tmp_path / "away"):
            for command in (evaluate, forecast):
                line = refused(capsys, command.main([checkpoint, "-o", "new/f.csv"]))
                assert "the checkpoint was trained on 'c.csv', and there is no c.csv in" in line
                assert "--data" in line
            assert list(Path().iterdir()) == []


def test_an_older_checkpoint_says_that_it_cannot_tell(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_checkpoint(CHECKPOINT)
    del state["training"]["part"]
    Path("old").mkdir()
    old = str(save_checkpoint(Path("old"), state, "best.pt"))
    counts(60, 1, "2024-01-01").to_csv("later.csv")
    line = refused(capsys, evaluate.main([old, "--data", "later.csv", "-o", "out"]))
    assert "too old to say at what times" in line
    assert "--split all or --split test" in line
    assert evaluate.main([old, "-o", "out"]) == 0
    state["training"] = None
    converted = str(save_checkpoint(Path("old"), state, "best.pt"))
    assert evaluate.main([converted, "-o", "out"]) == 0
    assert "does not say what it was trained on, --split all scores all" in capsys.readouterr().out


def test_forecasts_below_a_bound_are_counted_and_a_bound_can_be_set(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(CHECKPOINT).training_part.minimum == (0.0,)
    state = load_checkpoint(CHECKPOINT)
    state["model"]["projection.bias"] -= 2.0  # surely below 0 at night
    Path("low").mkdir()
    low = str(save_checkpoint(Path("low"), state, "best.pt"))
    test = round((ROWS - WINDOW + 1) * 0.2) * FUTURE * 3
    below = f" of {test:,} forecasts ("
    assert evaluate.main([low, "-o", "out"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "are below 0" in line)
    assert line.startswith("look: ")
    assert below in line
    assert line.endswith("are below 0, which no training reading is; --at-least 0 raises them to 0")
    assert evaluate.main([low, "-o", "out", "--at-least", "0"]) == 0
    assert "are below 0" not in capsys.readouterr().out
    assert json.loads(Path("out/report.json").read_text())["about"]["at_least"] == 0
    assert forecast.main([low, "-o", "f.csv"]) == 0
    assert "of 12 forecasts" in capsys.readouterr().err
    assert pd.read_csv("f.csv")["value"].min() < 0
    assert forecast.main([low, "-o", "f.csv", "--at-least", "0"]) == 0
    assert "below 0" not in capsys.readouterr().err
    values = pd.read_csv("f.csv")["value"]
    assert values.min() == 0
    bounded = load(low, at_least=0.0).evaluate().methods["DCRNN"].overall()
    assert bounded.mae < load(low).evaluate().methods["DCRNN"].overall().mae
    assert "at_least must be a finite number" in refused(capsys, evaluate.main([low, "--at-least", "nan"]))


def test_a_newest_row_without_readings_is_said(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = counts(ROWS).tail(12)
    for blank, said in (
        (
            [-1],
            "look: the newest row (2023-01-21T19:00:00) has no reading of any sensor:",
        ),
        ([-1, -2], "look: the newest 2 rows (up to 2023-01-21T19:00:00) have no reading of any sensor"),
    ):
        late = newest.copy()
        late.iloc[blank] = np.nan
        late.to_csv("late.csv")
        assert forecast.main([CHECKPOINT, "--data", "late.csv", "-o", "f.csv"]) == 0
        assert said in capsys.readouterr().err
    newest.iloc[-1, :2] = np.nan
    newest.to_csv("late.csv")
    assert forecast.main([CHECKPOINT, "--data", "late.csv", "-o", "f.csv"]) == 0
    assert "lacks the readings of 2 of 3 sensors" in capsys.readouterr().err


def test_no_file_that_is_read_is_replaced(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = counts(60, 1, "2024-01-01")
    before.to_csv("horizons.csv")
    text = Path("horizons.csv").read_bytes()
    assert "--output folder" in refused(capsys, evaluate.main([CHECKPOINT, "--data", "horizons.csv", "-o", "."]))
    argv = [CHECKPOINT, "--data", "horizons.csv", "-o", "./horizons.csv"]
    assert "horizons.csv would replace" in refused(capsys, forecast.main(argv))
    argv = ["--data", "horizons.csv", "--graph", "A.npy", "--results", "."]
    assert "--results folder" in refused(capsys, train.main(argv))
    assert Path("horizons.csv").read_bytes() == text


def test_training_ends_with_commands_that_work_as_printed(there: Path, trained: tuple[Path, str]) -> None:
    lines = dict(line.split(": ", 1) for line in trained[1].splitlines() if ": " in line)
    done = subprocess.run(shlex.split(lines["forecast with it"]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("forecast.csv").exists()
    words, again = shlex.split(lines["forecast with it"]), shlex.split(lines["measure it again"])
    assert again[:-2] == words[:-2]  # started alike
    assert (again[-2], words[-2].removeprefix("dcrnn_fast.")) == ("evaluate", "forecast")
    assert evaluate.main([again[-1]]) == 0
    assert Path("results/evaluation/report.txt").exists()


def test_commands_are_printed_as_they_can_be_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = tmp_path / "a folder" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").touch()
    monkeypatch.setattr(sys, "executable", str(binaries / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    assert command_line("forecast", "x.pt") == "'a folder/bin/python' -m dcrnn_fast.forecast x.pt"
    (binaries / "dcrnn-fast").touch(mode=0o755)
    assert command_line("forecast", "x.pt") == "'a folder/bin/dcrnn-fast' forecast x.pt"
    monkeypatch.chdir("/usr")
    assert command_line("forecast", "x.pt") == f"'{binaries}/dcrnn-fast' forecast x.pt"
    monkeypatch.setenv("PATH", str(binaries))
    assert command_line("forecast", "x.pt") == "dcrnn-fast forecast x.pt"
