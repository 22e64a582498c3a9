"""Files of a run in which words are replaced: a table and a page all the same, with a line for what cannot be read."""

import math
import random
import re
from pathlib import Path

from dcrnn_fast.records.events import BadStep, Said, Saved
from dcrnn_fast.runs.page import page_of
from dcrnn_fast.runs.record import read_runs
from dcrnn_fast.runs.table import grouped, to_csv, to_text
from tests.runs.made_runs import add_measurements, make_run, report

WORDS = (
    *(b"nan", b"inf", b"-inf", b"1e999", b"1e308", b"9" * 400, b"-1", b"0", b"null", b"true", b"[]", b"{}"),
    *(b'""', b'"', b",", b"\n", b"\xff", b"\x00"),
)
TRIALS = 80


def shown(run: Path) -> str:
    """All that is made from a run's folder."""
    records, looks = read_runs([str(run)])
    groups, more = grouped(records)
    return "\n".join([*looks, *more, to_csv(groups).decode(), to_text(groups), page_of(records[0])])


def replaced(content: bytes, drawn: random.Random) -> bytes:
    """One to three words of it replaced."""
    for _ in range(drawn.choice((1, 1, 3))):
        word = drawn.choice(list(re.finditer(rb"[^\s,:\[\]{}]+", content)) or [re.match(b"", content)])
        assert word is not None
        content = content[: word.start()] + drawn.choice(WORDS) + content[word.end() :]
    return content


def test_any_word_may_be_replaced(tmp_path: Path) -> None:
    happened = (Said("look: x"), Saved(8, ("a.pt",)), BadStep(9, math.inf, (5,), ("t",), ends_run=False))
    run = make_run(tmp_path / "run", 5.0, 3.0, 4.0, test=report(2.0), before=happened)
    add_measurements(run, hosts=("n1",))
    whole = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    drawn, refused = random.Random(0), 0
    for _ in range(TRIALS):
        path = drawn.choice(sorted(whole))
        path.write_bytes(replaced(whole[path], drawn))
        refused += "look: " in shown(run).replace("look: x", "")
        path.write_bytes(whole[path])
    assert refused > TRIALS / 4


def test_numbers_that_no_file_of_ours_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 5.0, 3.0, test=report(2.0))
    metrics, figures = run / "metrics.csv", run / "report.json"
    metrics.write_text(metrics.read_text().replace(",2.0,0.5,", ",inf,0.5,"))
    assert "finished" in shown(run)
    figures.write_text(re.sub(r"\d+\.\d+", "9" * 400, figures.read_text()))
    assert "report.json is not a report: " in shown(run)
