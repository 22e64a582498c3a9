"""metrics.csv and events.jsonl are read back as they were written, also while a run writes them."""

import json
import math
from pathlib import Path

import pytest

from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.columns import number, read_columns, whole
from dcrnn_fast.records.events import EpochDone, Saved
from dcrnn_fast.records.jsonl import EventsFile, read_events
from dcrnn_fast.records.metrics_csv import MetricsFile, read_metrics
from tests.records.rows import row, started

ROWS = [
    row(1, validation_mape=math.inf, targets={"speed, mean": 2.0, "a\nb\x0bc": 3.0}),
    row(2, best=0, targets={"speed, mean": 1.5, "a\nb\x0bc": 2.5}),
]


def metrics_of(folder: Path) -> Path:
    file = MetricsFile(Config(output=OutputConfig(results=str(folder))))
    file.see(started())
    for one in ROWS:
        file.see(EpochDone(one))
    return folder / "metrics.csv"


def test_metrics_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_metrics(metrics_of(tmp_path)) == ROWS


def test_a_half_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    path = metrics_of(tmp_path)
    path.write_text(path.read_text() + "3,24,0.0")
    assert read_metrics(path) == ROWS
    path.write_text("epoch,st")
    assert read_metrics(path) == []


def test_columns_of_other_versions_are_no_mistake(tmp_path: Path) -> None:
    path = metrics_of(tmp_path)
    lines = path.read_text().replace("a\nb", "a b").split("\n")[:-1]
    newer = [f"{line},{more}" for line, more in zip(lines, ("watts", "much", ""), strict=True)]
    path.write_text("\n".join(newer) + "\n")
    assert [one.validation_mae for one in read_metrics(path)] == [2.5, 2.5]
    older = [",".join(line.split(",")[:8] + line.split(",")[9:15]) for line in lines]  # without validation_error
    path.write_text("\n".join(older) + "\n")
    assert [one.validation_error for one in read_metrics(path)] == [None, None]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("2,16,", "2,16.5,", r"metrics\.csv, line 4, column 'step': must be a whole number, got '16\.5'"),
        ("2,16,0.01,", "2,16,,", r"line 4, column 'learning_rate': must be a number, got ''"),
        ("2,16,0.01,", "2,16,fast,", r"line 4, column 'learning_rate': must be a number, got 'fast'"),
        ("2,16,0.01,", "2,16,0.01,0.01,", r"line 4: \d+ cells, the header has \d+"),
        ("learning_rate", "rate", r"has no column 'learning_rate'"),
        ("2,16,0.01,", '2,"16"x,0.01,', r"line 4: no CSV: "),
        ("epoch", "\udcffepoch", r"is not UTF-8 text"),
    ],
)
def test_a_cell_of_another_kind_is_named(before: str, after: str, said: str, tmp_path: Path) -> None:
    path = metrics_of(tmp_path)
    text = path.read_text().replace(before, after)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=said):
        read_metrics(path)


def test_a_column_that_may_be_empty_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "monitor.csv"
    path.write_text("time,gpu,power_w\nnow,0,\nthen,1,250.5\n")
    rows = read_columns(path, {"time": str, "gpu": whole}, optional={"power_w": number, "temperature_c": number})
    assert rows == [
        {"time": "now", "gpu": 0, "power_w": None, "temperature_c": None},
        {"time": "then", "gpu": 1, "power_w": 250.5, "temperature_c": None},
    ]


def test_no_file_and_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*metrics\.csv"):
        read_metrics(tmp_path / "metrics.csv")
    with pytest.raises(UserError, match=r"cannot read .*: not a regular file"):
        read_metrics(Path("/dev/null"))


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = EventsFile(Config(output=OutputConfig(results=str(tmp_path))))
    for event in (started(), EpochDone(row()), Saved(8, ("latest.pt",))):
        file.see(event)
    path = tmp_path / "events.jsonl"
    path.write_text(path.read_text() + '{"time": "2026')
    events = read_events(path)
    assert [event["event"] for event in events] == ["start", "epoch", "save"]
    assert events[2]["files"] == ["latest.pt"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("half", r"events\.jsonl, line 2: no JSON, got 'half'"),
        ("[1]", "line 2: no event with a time"),
        (json.dumps({"time": 3, "event": "end"}), "line 2: no event with a time"),
        ("[" * 100_000, "line 2: no JSON"),
    ],
)
def test_a_line_that_is_no_event_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f'{{"time": "2026-11-29T01:02:03.000+00:00", "event": "start"}}\n{line}\n')
    with pytest.raises(UserError, match=said):
        read_events(path)
