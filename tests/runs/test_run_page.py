"""run.html: of runs in any state, whole in one file, with every foreign text escaped; seen in a real browser."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from dcrnn_fast import report as report_command
from dcrnn_fast import train
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.drawing.charts import Line, line_chart
from dcrnn_fast.records.events import COLUMNS, BadStep, Ended, Event, Overflow, Said, Saved
from dcrnn_fast.records.metrics_csv import MetricsFile
from dcrnn_fast.runs.page import page_of
from dcrnn_fast.runs.record import read_run
from tests.checkout import require_tool
from tests.records.rows import started
from tests.runs.browser import EVIL, Page, in_chromium
from tests.runs.made_runs import FAILED, add_measurements, make_run, report, rows

HAPPENED: tuple[Event, ...] = (
    Said("look: readings are odd"),
    Said("model: 7 parameters"),
    Saved(8, ("latest.pt", "best.pt")),
    BadStep(9, math.inf, (5,), ("2024-01-01",), ends_run=False),
    Overflow(10, 32768.0),
)


def page_in(folder: Path) -> Page:
    return Page(page_of(read_run(folder)))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A run that has everything that a page can show."""
    config = Config(training=TrainingConfig(epochs=9, batch_size=16))
    shares = {"data_wait_share": 0.25} if "data_wait_share" in COLUMNS else {}
    run = make_run(tmp_path / "a run", 5.0, 3.0, 4.0, config=config, test=report(2.0), before=HAPPENED, **shares)
    add_measurements(run)
    (run / "checkpoints").mkdir()
    for name in ("latest.pt", "best.pt", "epoch_0001.pt"):
        (run / "checkpoints" / name).write_bytes(b"0" * 2000)
    return run


def test_a_full_page_has_every_section(full: Path) -> None:
    page = page_in(full)
    assert page.headings == [
        *("Curves", "Errors beside baselines", "Where the time went", "Hardware", "What happened"),
        *("Settings that are not the default", "Files"),
    ]
    words = " ".join(page.words)
    for said in (
        "finished",
        "best, epoch 2",
        "last value: 6",
        "readings are odd",
        "model: 7 parameters",
        "gradient_norm inf",
        "loss_scale 32768",
        "1 save, the last at",
        "4 of 80 GiB",
        "n1, n2",
        "training.batch_size",
        "The slowest is rank 3: 4 % above the median rank.",
        *(["share of a step's time (%)"] if "data_wait_share" in COLUMNS else []),
        "hidden_units: 64",
    ):
        assert said in words, said
    links = [unquote(value) for name, value in page.attributes if name == "href"]
    assert links[:3] == ["./checkpoints/latest.pt", "./checkpoints/best.pt", "./checkpoints/epoch_0001.pt"]
    assert all((full / link).is_file() for link in links)


def test_nothing_comes_from_outside(full: Path) -> None:
    text = page_of(read_run(full))
    page = Page(text)
    assert {"script", "img", "link", "iframe", "object"} & set(page.tags) == set()
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert re.findall(r"https?://|url\(|@import", text) == []
    assert len(text.encode()) < 1_000_000


def test_foreign_texts_stay_texts(tmp_path: Path) -> None:
    config = Config(data=DataConfig(data=EVIL.replace("\x1b", ""), leave_out=(EVIL.replace("\x1b", ""),)))
    evil = replace(report(2.0, channels=(EVIL, "b"), unit=EVIL), data=EVIL, notes=(EVIL,), about={"backend": EVIL})
    folder = tmp_path / "x" / "<img src=y onerror=alert(1)>"
    said = (Said(EVIL), Saved(8, (EVIL,)))
    make_run(folder, 3.0, config=config, test=evil, end=FAILED, before=said, targets={EVIL: 1.0, "b": 2.0})
    add_measurements(folder, hosts=("<b>host</b>",))
    (folder / "<script>x.txt").touch()
    page = page_in(folder)
    assert {"script", "img", "b"} & set(page.tags) == set()
    words = " ".join(page.words)
    assert EVIL.replace("\x1b", "\ufffd") in words
    assert "out of <memory> & more" in words
    assert "\x1b" not in words


@pytest.mark.parametrize(
    ("end", "state"), [(None, "running"), (Ended("SIGTERM", 1, 8, Path("l")), "stopped"), (FAILED, "failed")]
)
def test_a_run_that_is_not_finished_has_a_page(end: Event | None, state: str, tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run", end=end)
    assert report_command.main([str(run)]) == 0
    assert capsys.readouterr().out == f"written: {run}/run.html\n"
    page = Page((run / "run.html").read_text(encoding="utf-8"))
    assert page.headings == ["Hardware", "What happened", "Settings that are not the default", "Files"]
    assert state in page.words


def test_intervals_are_a_table_and_a_report_without_them_has_none(full: Path) -> None:
    words = " ".join(page_in(full).words)
    figures = json.loads((full / "report.json").read_text())
    (found,) = re.findall(r"interval coverage 15 min width 15 min score 15 min .*?(50 %.*?) 90 % (.*?%)", words)
    half, ninety = found
    width = figures["channels"][0]["intervals"][0]["at_horizon"]["width"][2]
    assert half.startswith(f"50 % 0.0 % {width:.4g} ")
    assert ninety == "100.0 %"
    for channel in figures["channels"]:
        del channel["intervals"]
    (full / "report.json").write_text(json.dumps(figures))
    words = " ".join(page_in(full).words)
    assert "Errors beside baselines" in words
    assert "coverage" not in words


def test_a_file_that_cannot_be_read_is_named_on_the_page(full: Path) -> None:
    (full / "timing_rank1.csv").write_text("epoch\nx\n")
    (full / "report.json").write_text("{")
    words = " ".join(page_in(full).words)
    assert "timing_rank1.csv, line 2, column 'epoch': must be a whole number, got 'x'" in words
    assert "report.json is not a report" in words
    assert "Errors beside baselines" not in words


def test_many_ranks_and_many_gpus_are_summed_up(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 3.0)
    add_measurements(run, ranks=160, hosts=tuple(f"node{i}" for i in range(20)), gpus=8)
    text = page_of(read_run(run))
    words = " ".join(Page(text).words)
    assert "the 8 slowest and the 8 fastest of 160" in words
    assert "highest of 160" in words
    assert len(text) < 300_000


def test_a_straggler_that_the_run_has_named_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 3.0)
    add_measurements(run)
    with open(run / "events.jsonl", "a") as events:
        for _ in range(2):
            event = {"time": "2026-11-29T01:02:03+00:00", "event": "straggler", "rank": 1, "host": "n2"}
            events.write(json.dumps(event) + "\n")
    assert "which waited for it: rank 1 on n2 (in 2 epochs)." in " ".join(page_in(run).words)


def test_the_page_of_many_epochs_stays_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", end=None)
    history = tuple(rows(*(5.0 + math.sin(i) for i in range(3000))))
    metrics = MetricsFile(Config(output=OutputConfig(results=str(run))))
    metrics.see(started(*history, resumed=True))
    assert len(page_of(read_run(run))) < 200_000


def test_a_peak_is_not_lost_among_many_points() -> None:
    ys = [1.0] * 5000
    ys[3456] = 9.0
    chart = line_chart("t", [Line("a", range(5000), ys)], "x", from_zero=True)
    assert "greatest 9" in chart
    (points,) = re.findall(r'points="([^"]*)"', chart)
    assert len(points.split()) <= 400
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert min(heights) < 0.3 * max(heights)


@pytest.mark.parametrize(
    ("ys", "labels"),
    [
        ([0.0, 0.01], ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]),
        ([3.0, 3.0], ["2.6", "2.8", "3.0", "3.2", "3.4"]),
        ([math.nan, 1e9], None),
        ([1e-30, 3e-30], None),
        ([-5.0, math.inf, 5.0], ["-5.0", "-2.5", "0.0", "2.5", "5.0"]),
        ([1e5, 1e5 + 1e-9], None),
        ([math.nan], []),
    ],
)
def test_axes_of_any_values(ys: list[float], labels: list[str] | None) -> None:
    chart = line_chart("t", [Line("a", range(1, len(ys) + 1), ys)], "x")
    assert ("no figures yet" in chart) == (labels == [])
    shown = re.findall(r'text-anchor="end">([^<]*)<', chart)
    assert "nan" not in chart
    if labels is None:
        assert 3 <= len(set(shown)) == len(shown) <= 12
    else:
        assert shown == labels


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which run?"),
        (["none"], "there is no run to show"),
        (["run", "-o", "p.txt"], "the page is written as .html, got 'p.txt'"),
        (["run", "other", "-o", "p.html"], "-o takes the page of one run, these are 2"),
        (["run", "-o", "run/config.yaml/p.html"], "config.yaml cannot be written"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, tmp_path: Path, capsys, monkeypatch) -> None:
    for name in ("run", "other"):
        make_run(tmp_path / name, 2.0)
    monkeypatch.chdir(tmp_path)
    assert report_command.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert said in shown.err
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.slow
def test_training_ends_with_a_page_and_goes_on_without_one(tmp_path: Path, capsys) -> None:
    flags = ["--config", "debug", "--city-nodes", "8", "--city-days", "3", "--epochs", "1", "--threads", "1"]
    results = tmp_path / "results"
    assert train.main([*flags, "--results", str(results)]) == 0
    assert f"\nthe run on one page: {results}/run.html\n" in capsys.readouterr().out
    assert page_in(results).headings == Page((results / "run.html").read_text(encoding="utf-8")).headings
    shutil.rmtree(results / "checkpoints")
    (results / "run.html").unlink()
    (results / "run.html").mkdir()
    assert train.main([*flags, "--results", str(results)]) == 0
    said = capsys.readouterr().out
    assert f"look: cannot write {results}/run.html: Is a directory\n" in said
    assert "forecast with it: " in said


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_without_scrolling_sideways(width: int, full: Path, tmp_path: Path) -> None:
    require_tool("chromium")
    long = "a_very_long_name_without_a_space_" * 8
    with open(full / "events.jsonl", "a") as events:
        for kind, facts in (("note", {"line": long}), ("overflow", {"step": long})):
            events.write(json.dumps({"time": "2026-11-29T01:02:03+00:00", "event": kind, **facts}) + "\n")
    assert report_command.main([str(full)]) == 0
    picture = tmp_path / "page.png"
    content, window = in_chromium(full / "run.html", width, picture, tmp_path)
    assert window == width
    assert content <= window
    with Image.open(picture) as image:
        colours = image.convert("RGB").crop((0, 0, width, 3000)).getcolors(1 << 24)
    most = max(count for count, _ in colours) / (width * 3000)
    assert 0.3 < most < 0.97, "neither blank nor a blot"
    assert len(colours) > 300
