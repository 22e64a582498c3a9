"""What the user reads while training runs."""

import itertools
import math
from pathlib import Path

import pytest

from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.records.display import Display, mae_words
from dcrnn_fast.records.events import BadStep, Ended, EpochDone, Event, Said, Started, Stepped, Validating
from dcrnn_fast.records.terminal import Standing, Terminal, digits, duration, speed
from tests.records.rows import row

SPEED = (("speed", "mph"),)
START = Started(False, 0, 0, (), 1, train_windows=40, validation_windows=20, targets=SPEED)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second from one look to the next."""
    monkeypatch.setattr("dcrnn_fast.records.terminal.time.monotonic", itertools.count().__next__)


def said(capsys: pytest.CaptureFixture[str], *events: Event) -> list[str]:
    display = Display(Config(training=TrainingConfig(epochs=3, patience=4), output=OutputConfig(log_every=1)))
    for event in events:
        display.see(event)
    display.close()
    return capsys.readouterr().out.splitlines()


def test_an_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    best, worse = row(1, train_seconds=61.2), row(2, best=0, train_loss=math.nan, windows_per_second=28980.4)
    assert said(capsys, Said("a line"), START, EpochDone(best), EpochDone(worse)) == [
        "a line",
        "epoch 1/3: train mae 3.2500, validation MAE 2.5000 mph (best), learning rate 0.01, 1 min 2 s, 128 windows/s",
        "epoch 2/3: train mae nan, validation MAE 2.5000 mph, learning rate 0.01, 2 s, 28,980 windows/s",
    ]


def test_training_and_validation_show_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [
        START,
        Stepped(0, 1, 8, 3.0, 0.01),
        Stepped(0, 2, 16, 2.5, 0.01),
        Validating(0, 10),
        EpochDone(row(1)),
        Stepped(1, 6, 20, 2.0, 0.01),
        Validating(1, 20),
    ]
    lines = said(capsys, *shown)
    assert lines[:3] == [
        "epoch 1/3  20 %  loss 3.0000",
        "epoch 1/3  40 %  loss 2.5000  8 windows/s  13 s left",
        "epoch 1/3 validation  50 %  ",
    ]
    assert lines[4:] == [
        "epoch 2/3  50 %  loss 2.0000  best validation MAE 2.5000 mph, epoch 1",
        "epoch 2/3 validation 100 %  best validation MAE 2.5000 mph, epoch 1",
    ]


def test_a_resumed_run_knows_its_best_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    history = (row(1), row(2, validation_mae=2.0), row(3, best=0))
    resumed = Started(True, 3, 24, history, 1, 40, 20, SPEED)
    lines = said(capsys, resumed, Stepped(3, 25, 40, 1.0, 0.01))
    assert lines == ["epoch 4/3 100 %  loss 1.0000  best validation MAE 2.0000 mph, epoch 2"]


def test_a_bad_step_names_its_windows_unless_the_error_will(capsys: pytest.CaptureFixture[str]) -> None:
    windows, times = tuple(range(8)), tuple(f"2024-01-0{day}" for day in range(1, 9))
    skipped, last = (BadStep(7, math.nan, windows, times, ends_run=ends) for ends in (False, True))
    assert said(capsys, START, skipped, last) == [
        "step 7: gradient norm nan, step skipped; windows by first row (first target): 0 (2024-01-01), 1 (2024-01-02), "
        "2 (2024-01-03), 3 (2024-01-04), 4 (2024-01-05), 5 (2024-01-06) and 2 more"
    ]


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("finished", []),
        ("stalled", ["stopped early: 4 epochs without a better validation error"]),
        (
            "SIGTERM",
            [
                "stopped by SIGTERM after step 9, all saved in c/latest.pt; continue with the same command and "
                "--resume auto"
            ],
        ),
    ],
)
def test_why_a_run_is_over_is_said(capsys: pytest.CaptureFixture[str], reason: str, lines: list[str]) -> None:
    assert said(capsys, START, Ended(reason, 1, 9, Path("c/latest.pt"))) == lines


def test_an_error_over_several_units_has_none_and_each_target_has_its_own() -> None:
    two = (("flow", "veh"), ("share", "%"))
    assert mae_words(row(), SPEED) == "validation MAE 2.5000 mph"
    assert mae_words(row(targets={"flow": 2.0, "share": 0.5}), two) == "validation MAE flow 2.0000 veh, share 0.50000 %"
    assert mae_words(row(), two) == "validation MAE 2.5000", "a row of an older version knows no target"
    assert mae_words(row(), (("flow", "veh"), ("lane", "veh"))) == "validation MAE 2.5000 veh"


def test_a_terminal_draws_a_bar_and_says_lines_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    terminal = Terminal(10)
    terminal.show(Standing("epoch 1/2", 10, 40, "loss 1.0000"))
    terminal.say("a line [with brackets]")
    terminal.close()
    out = capsys.readouterr().out
    assert "a line [with brackets]\n" in out
    assert "epoch 1/2" in out


def test_digits_are_significant_ones_in_any_unit() -> None:
    assert [digits(value) for value in (2.77, 12345.678, 1.23456e-7, 0.05, math.nan, 3e9)] == [
        *("2.7700", "12346", "1.2346e-07", "0.050000", "nan", "3.0000e+09")
    ]


def test_speeds_are_read_without_exponents() -> None:
    assert [speed(rate) for rate in (0.01234, 7.654, 99.96, 289.8, 28980.4)] == [
        *("0.0123 windows/s", "7.65 windows/s", "100 windows/s", "290 windows/s", "28,980 windows/s")
    ]


def test_from_an_hour_on_seconds_do_not_matter() -> None:
    assert [duration(seconds) for seconds in (0, 0.4, 59.6, 3599, 3661, 18_420)] == [
        *("0 s", "0.4 s", "1 min", "59 min 59 s", "1 h 1 min", "5 h 7 min")
    ]
