"""bench.ranks on a small batch: every contestant takes its turns, and the record has what the table shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_contestants_take_turns(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    words = ["--rounds", "2", "--steps", "1", "--batch", "4", "--record", str(record)]
    environment = {name: value for name, value in os.environ.items() if name != "DCRNN_FAST_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.ranks", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(record.read_text())["rows"]
    assert list(rows) == ["1 rank", "2 ranks", "2 ranks without each other"]
    assert all(len(turns) == 2 for turns in rows.values())
    assert all(0 <= turn["communication"] < turn["seconds"] for turns in rows.values() for turn in turns)
    assert min(turn["communication"] for turn in rows["2 ranks"]) > 0
    assert max(turn["communication"] for turn in rows["1 rank"]) == 0
    assert all(name in done.stdout for name in rows)
