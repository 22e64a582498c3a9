"""``fit`` and the command: what is written, what stops a run, and what is said."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
import yaml

from dcrnn_fast import train
from dcrnn_fast.checkpoints.find import newest_good
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.config.yaml_file import load_yaml
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.data.scaler import Scaler
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.events import COLUMNS
from dcrnn_fast.records.terminal import Standing, Terminal
from dcrnn_fast.records.watchers import RUN_FILES
from dcrnn_fast.training import step
from dcrnn_fast.training.check import check
from dcrnn_fast.training.fit import fit
from tests.checkout import ROOT
from tests.training.rank_programs import debug_config

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def events_of(results: Path) -> list[dict]:
    return [json.loads(line) for line in (results / "events.jsonl").read_text().splitlines()]


def test_a_run_leaves_configuration_metrics_events_and_checkpoints(tmp_path, capsys):
    config = debug_config(*TINY, "--results", str(tmp_path), "--epochs", "3", "--save-every-epochs", "2")
    result = fit(config)
    # What was left open is written as what it came to: the file repeats this run, also where a default changes.
    training = replace(config.training, loss_unit="deviation")
    assert load_yaml(tmp_path / "config.yaml") == replace(config, data=result.data.config, training=training)
    assert (result.data.config.missing_input, result.data.config.scaler) == ("last", "observed")
    with open(tmp_path / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    kinds = [event["event"] for event in events_of(tmp_path)]
    assert kinds[-2:] == ["note", "end"]  # the prediction intervals
    del kinds[-2]
    assert kinds[: kinds.count("note")] == ["note"] * kinds.count("note")
    kinds = [kind for kind in kinds if kind != "note"]
    assert (kinds[0], kinds[-1], sorted(kinds[1:-1])) == ("start", "end", ["epoch"] * 3 + ["save"] * 3)
    assert [kind for kind in kinds if kind != "epoch"][1:-1] == ["save"] * 3  # each told when its files are there
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.pt", "epoch_0002.pt", "latest.pt", "manifest.json"]
    assert (result.reason, result.epochs, result.steps, result.rank) == ("finished", 3, 6, 0)
    assert result.best_validation_mae == min(float(row["validation_mae"]) for row in rows)
    std = result.data.scaler.std[0]
    for row in rows:
        assert float(row["validation_error"]) == pytest.approx(float(row["validation_mae"]) / std, rel=1e-12)
    best = load_checkpoint(result.checkpoint)
    assert best["training"]["epoch"] == result.best_epoch
    assert all(torch.equal(value, best["model"][name]) for name, value in result.model.state_dict().items())
    said = capsys.readouterr().out
    assert "hidden_units: 8" in said
    assert "epoch 3/3: train mae" in said


def test_validation_error_is_that_of_each_window_once(tmp_path):
    result = fit(debug_config(*TINY, "--results", str(tmp_path), "--epochs", "1", "--batch-size", "7"))
    data, model = result.data, result.model
    batch = data.gather(data.validation.starts_W)
    target = data.scaler.take(data.window_format.target_channels)
    with torch.no_grad():
        error = (target.inverse(model(batch.x_BPNC)) - batch.y_BFNO)[batch.observed_BFNO]
    assert result.best_validation_mae == pytest.approx(error.abs().double().mean().item(), rel=1e-6)
    assert result.history[0]["validation_rmse"] == pytest.approx(error.double().square().mean().sqrt().item(), rel=1e-6)


def test_training_validation_and_evaluation_show_how_far_they_are_and_the_best_so_far(tmp_path, monkeypatch, capsys):
    shown: list[Standing] = []
    show = Terminal.show

    def seen(self: Terminal, standing: Standing) -> None:
        shown.append(standing)
        self._log_every = 0
        show(self, standing)

    monkeypatch.setattr(Terminal, "show", seen)
    flags = ["--config", "debug", "--threads", "1", *TINY, "--results", str(tmp_path), "--epochs", "2"]
    assert train.main([*flags, "--batch-size", "16"]) == 0
    order = list(dict.fromkeys(standing.what for standing in shown))
    assert order == [
        "epoch 1/2",
        "epoch 1/2 validation",
        "epoch 2/2",
        "epoch 2/2 validation",
        "prediction intervals",
        "evaluation",
    ]
    for what, windows in (("epoch 2/2", 40), ("epoch 2/2 validation", 20)):
        last = [standing for standing in shown if standing.what == what][-1]
        assert (last.done, last.windows) == (windows, windows)
        assert re.search(r"best validation MAE \d+\.\d+ mph, epoch 1$", last.facts)
    assert shown[0].facts.startswith("loss ")
    assert "best" not in shown[0].facts
    assert shown[-1].done == shown[-1].windows
    assert re.fullmatch(r"best epoch [12]: validation MAE \d+\.\d+ mph", shown[-1].facts)
    said = capsys.readouterr().out
    assert re.search(r"^epoch 2/2 validation 100 %  best validation MAE \S+ mph, epoch 1  ", said, re.MULTILINE)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loss", ["mae", "mse", "rmse", "huber"])
def test_every_loss_learns_in_every_precision(tmp_path, loss, precision):
    result = fit(
        debug_config(*TINY, "--results", str(tmp_path), "--loss", loss, "--precision", precision, "--epochs", "6")
    )
    errors = [row["validation_mae"] for row in result.history]
    assert errors[-1] < 0.8 * errors[0]
    assert all(parameter.dtype == torch.float32 for parameter in result.model.parameters())


def test_early_stopping(tmp_path, capsys):
    config = debug_config(
        *TINY, "--results", str(tmp_path), "--epochs", "50", "--patience", "2", "--learning-rate", "1e-12"
    )
    result = fit(config)
    assert result.reason == "stalled"
    best = result.best_epoch
    assert result.epochs == best + 2
    assert "stopped early: 2 epochs without a better validation error" in capsys.readouterr().out


def test_patience_is_kept_over_a_resume(tmp_path):
    flags = (*TINY, "--results", str(tmp_path), "--patience", "4", "--learning-rate", "1e-12", "--resume", "auto")
    half = fit(debug_config(*flags, "--epochs", "3"))
    whole = fit(debug_config(*flags, "--epochs", "50"))
    assert (half.reason, whole.reason) == ("finished", "stalled")
    assert whole.epochs == whole.best_epoch + 4


def test_a_non_finite_gradient_stops_the_run_with_the_windows_named(tmp_path):
    config = debug_config(
        *TINY, "--results", str(tmp_path), "--epochs", "2", "--learning-rate", "1e30", "--loss", "mse",
        "--save-every-steps", "1",
    )  # fmt: skip
    with pytest.raises(UserError) as stopped:
        fit(config)
    message = str(stopped.value)
    assert "\n" not in message
    assert "gradient norm " in message
    assert "max_bad_steps is 0: stopped, any earlier checkpoint is kept" in message
    bad = next(event for event in events_of(tmp_path) if event["event"] == "bad_step")
    first = bad["windows"][0]
    assert f"{first} (20" in message
    good = newest_good(tmp_path / "checkpoints")
    assert good.state["training"]["step"] == bad["step"] - 1
    assert math.isfinite(good.state["training"]["error_sum"])


def test_bad_steps_are_skipped_as_long_as_they_are_allowed(tmp_path, monkeypatch, capsys):
    """Steps 1 and 2 get a NaN in their gradient: skipped, nothing of them in weights, optimiser or sums."""
    real = step.finish_gradient

    def spoiled(run, loss):
        real(run, loss)
        step = int(run.optimizer.state[next(run.model.parameters())].get("step", 0)) if run.optimizer.state else 0
        calls.append(step)
        if len(calls) in (2, 3):
            run.gradients.gradient[3] = math.nan

    calls: list[int] = []
    monkeypatch.setattr(step, "finish_gradient", spoiled)
    flags = (*TINY, "--results", str(tmp_path), "--batch-size", "8", "--epochs", "1", "--max-bad-steps")
    result = fit(debug_config(*flags, "2"))
    assert calls == [0, 1, 1, 1, 2], "the optimiser took steps 1, 4 and 5"
    assert result.history[0]["skipped_steps"] == 2
    assert math.isfinite(result.history[0]["train_loss"])
    assert capsys.readouterr().out.count("step skipped") == 2
    calls.clear()
    with pytest.raises(UserError, match=r"2 such step\(s\) in a row, max_bad_steps is 1"):
        fit(debug_config(*flags, "1"))


def test_a_results_folder_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("dcrnn_fast.training.start.open_data", lambda *_, **__: pytest.fail("data was opened first"))
    for flags in (("--results", str(tmp_path / "file")), ("--checkpoint-dir", str(tmp_path / "file" / "x"))):
        with pytest.raises(UserError, match="cannot be written"):
            fit(debug_config("--results", str(tmp_path / "r"), *flags))


def test_a_full_disk_ends_training_in_one_line_and_keeps_the_old_checkpoint(tmp_path, small_disk):
    flags = ("--results", str(tmp_path / "r"), "--checkpoint-dir", str(small_disk), "--epochs")
    fit(debug_config(*TINY, *flags, "1"))
    free = os.statvfs(small_disk)
    with open(small_disk / "filler", "wb") as filler:
        filler.write(b"x" * (free.f_bavail * free.f_frsize - 8192))
    with pytest.raises(UserError, match="No space left on device"):
        fit(debug_config(*TINY, *flags, "3", "--resume", "auto"))
    assert newest_good(small_disk).state["training"]["epoch"] == 1
    assert not list(small_disk.glob("*.tmp-*"))
    (small_disk / "filler").unlink()
    assert fit(debug_config(*TINY, *flags, "3", "--resume", "auto")).epochs == 3


def test_a_run_that_cannot_start_leaves_an_earlier_one_where_it_is(tmp_path, capsys):
    flags = ("--config", "debug", "--threads", "1", *TINY, "--results", str(tmp_path), "--epochs", "1")
    assert train.main([*flags]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train.main([*flags, "--backend", "manual", "--save", "h"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "save='h' needs the cpu, triton or cuda backend" in captured.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_new_run_sets_aside_all_that_the_one_before_wrote(tmp_path, capsys):
    flags = ("--config", "debug", "--threads", "1", *TINY, "--results", str(tmp_path), "--epochs", "1")
    assert train.main([*flags]) == 0
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {"config.yaml", "report.txt", "horizons.csv", "forecasts.png", "map.png"} < written
    (tmp_path / "mine.txt").write_text("the user's own")
    shutil.move(tmp_path / "checkpoints", tmp_path / "elsewhere")
    capsys.readouterr()
    fit(debug_config(*TINY, "--results", str(tmp_path), "--epochs", "1", "--resume", "auto"))
    assert {path.name for path in (tmp_path / "earlier-1").iterdir()} == written
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    left.remove("mine.txt")
    kept = {pattern for pattern in RUN_FILES if any(fnmatch(name, pattern) for name in left)}
    assert kept >= {"config.yaml", "metrics.csv", "events.jsonl", "status.json", "timing_rank*.csv"}
    assert all(any(fnmatch(name, pattern) for pattern in RUN_FILES) for name in left)
    said = capsys.readouterr().out
    assert f"moved to {tmp_path / 'earlier-1'}\n" in said
    assert "would have continued" not in said, "there was no checkpoint to continue"


def test_what_a_run_reads_is_not_set_aside(tmp_path):
    """A file of the user's own with one of our names, in the folder of the results."""
    assert train.main(["--config", "debug", "--threads", "1", *TINY, "--results", str(tmp_path), "--epochs", "1"]) == 0
    rows = "\n".join(f"2024-01-01T{k // 60:02d}:{k % 60:02d},{k % 7 + 1},{k % 5 + 2}" for k in range(300))
    (tmp_path / "sensors.csv").write_text(f"time,a,b\n{rows}\n")
    (tmp_path / "g.csv").write_text("from,to,cost\na,b,1\nb,a,2\n")
    flags = ("--data", str(tmp_path / "sensors.csv"), "--graph", str(tmp_path / "g.csv"), "--results", str(tmp_path))
    fit(debug_config(*flags, "--epochs", "1"))
    assert (tmp_path / "sensors.csv").read_text().startswith("time,a,b")
    assert (tmp_path / "earlier-1" / "report.txt").is_file()


def test_files_of_the_user_stay_where_no_run_has_been(tmp_path):
    (tmp_path / "sensors.csv").write_text("id,latitude,longitude")
    fit(debug_config(*TINY, "--results", str(tmp_path), "--epochs", "1"))
    assert (tmp_path / "sensors.csv").read_text() == "id,latitude,longitude"


@pytest.mark.parametrize("command", [check, fit])
@pytest.mark.parametrize(("factor", "loss"), [(1e30, "mae"), (1e20, "mse")])
def test_a_window_without_a_finite_gradient_is_refused_before_the_first_step(
    tmp_path, monkeypatch, command, factor, loss
):
    def opened(config: DataConfig, graph: GraphConfig, scaler: Scaler | None = None, **_: bool) -> ForecastData:
        data = open_data(config, graph)
        return assemble_data(replace(data.series, values_TNC=data.series.values_TNC * factor), data.graph, config)

    monkeypatch.setattr("dcrnn_fast.training.start.open_data", opened)
    flags = (*TINY, "--results", str(tmp_path), "--loss", loss, "--loss-unit", "original")
    with pytest.raises(UserError, match=r"gives \S+ and (inf|nan); the largest reading is \S+e\+\d\d, ") as refused:
        command(debug_config(*flags))
    assert str(refused.value).endswith("leave wrong readings empty, or train with --loss-unit deviation")
    check(debug_config(*flags[:-1], "deviation"))  # where the unit does not matter
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "events.jsonl").exists()
    check(debug_config(*flags, "--max-bad-steps", "3"))  # such steps may be skipped


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("zero", "readings: 10.00% missing (--missing zero: zeros and NaN are missing)"),
        (
            "nan",
            "readings: 0.00% missing (--missing nan: only NaN is missing; zeros, 10 % of what is left, are readings)",
        ),
        ("none", "readings: 0.00% missing (--missing none; zeros, 10 % of what is left, are readings)"),
    ],
)
def test_a_run_says_how_many_readings_are_missing_and_by_which_rule(tmp_path, capsys, missing, said):
    rows = [f"2024-01-01 {t // 60:02}:{t % 60:02},{t * 7 % 10},{t * 3 % 10}" for t in range(0, 600, 3)]
    (tmp_path / "x.csv").write_text("\n".join(["time,a,b", *rows]))
    (tmp_path / "g.csv").write_text("from,to,weight\na,b,1\nb,a,2\n")
    config = debug_config(
        "--data", str(tmp_path / "x.csv"), "--graph", str(tmp_path / "g.csv"), "--missing", missing, "--epochs", "1",
        "--results", str(tmp_path / "r"),
    )  # fmt: skip
    assert said in check(config)
    fit(config)
    assert said in capsys.readouterr().out.splitlines()


def test_a_result_is_shown_without_its_data(tmp_path):
    shown = repr(fit(debug_config(*TINY, "--results", str(tmp_path), "--epochs", "1")))
    assert "best_epoch=1" in shown
    assert len(shown) < 2000


def test_no_window_for_a_part_is_named():
    with pytest.raises(UserError, match="there is no validation window"):
        check(debug_config(*TINY, "--train-fraction", "0.8"))


def test_check_opens_everything_trains_nothing_and_says_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--config", "debug", "--check", "--threads", "1", *TINY]) == 0
    said = capsys.readouterr().out
    assert "5 sensors" in said
    assert "40 train, 20 validation" in said
    assert "nothing was trained" in said
    assert not list(tmp_path.rglob("*.pt"))
    assert train.main(["--config", "debug", "--check", "--data", "no_such_file.csv"]) == 2
    assert capsys.readouterr().err.startswith("dcrnn-fast train: error: ")


def test_the_command_trains_evaluates_and_says_where_everything_is(tmp_path, capsys):
    flags = ["--config", "debug", "--threads", "1", *TINY, "--results", str(tmp_path / "r"), "--epochs", "1"]
    assert train.main(flags) == 0
    said = capsys.readouterr().out
    assert "last value" in said
    assert "MAE at the horizon" in said
    for name in ("forecasts.png", "horizons.csv", "report.json", "metrics.csv", "checkpoints/best.pt"):
        assert (tmp_path / "r" / name).is_file()
        assert Path(name).name in said


def test_a_configuration_file_is_changed_by_flags(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"training": {"epochs": 7, "batch_size": 5}}))
    flags = train._flags(["--config", str(tmp_path / "mine.yaml"), "--epochs", "3"])
    assert (flags.settings.training.epochs, flags.settings.training.batch_size) == (3, 5)
    assert train._flags([]).config == "city"
    assert train._flags(["--epochs", "3"]).settings.training == TrainingConfig(epochs=3)


@pytest.mark.slow
def test_under_torchrun_a_mistake_is_one_line_and_a_run_ends_with_0(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    launch += ["dcrnn_fast.train", "--config", "debug", "--results", str(tmp_path / "r"), *TINY]
    good = subprocess.run([*launch, "--epochs", "1"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("MAE at the horizon") == 1
    bad = subprocess.run([*launch, "--hops", "-1"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert bad.returncode == 1
    assert bad.stderr.count("dcrnn-fast train: error: hops must be at least 0, got -1") == 1


def test_split_products_that_are_exact_here_are_said_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    sentence = "precision bf16x3: products are exact float32 ones here, not split: "
    for precision, times in (("bf16x3", 1), ("fp32", 0)):
        results = str(tmp_path / precision)
        config = debug_config(*TINY, "--results", results, "--epochs", "1", "--precision", precision)
        assert sum(line.startswith(sentence) for line in check(config)) == times
        fit(config)
        assert capsys.readouterr().out.count(sentence) == times


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--backend", "manual", "--save", "h"), "save='h' needs the cpu, triton or cuda backend"),
        (("--backend", "cuda"), "no backend can run here (cuda: "),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_backend_that_cannot_run_is_one_line(tmp_path, capsys, flags, said, check):
    words = ("--config", "debug", "--device", "cpu", "--city-nodes", "5", "--results", str(tmp_path / "r"), *flags)
    code = train.main([*words, "--check"] if check else list(words))
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("dcrnn-fast train: error: ")
    assert error.count("\n") == 1
    assert said in error
