"""status.json tells where a run is; its reader knows a run that was killed."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcrnn_fast
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import beside
from dcrnn_fast.process import this_process
from dcrnn_fast.records.events import BadStep, Ended, EpochDone, Event, Failed, Starting, Stepped, Validating
from dcrnn_fast.records.lock import LOCK, Holder
from dcrnn_fast.records.status import OVER, STATUS, Status, StatusFile, read_status
from tests.records.rows import row, started

NOW = "2026-11-29T01:02:03+00:00"
RUNNING = Status("running", NOW, NOW, 1, 9, 8, "", "", (), (), this_process())
ELSEWHERE = replace(this_process(), host="elsewhere")


def written(folder: Path, *events: Event) -> Status:
    file = StatusFile(Config(output=OutputConfig(results=str(folder))))
    for event in events:
        file.see(event)
    found = read_status(folder)
    assert found is not None
    return found


def put(folder: Path, status: Status) -> None:
    (folder / STATUS).write_text(json.dumps(status.to_dict()))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Starting()], {"state": "starting", "epoch": 0, "step": 0}),
        ([Starting(), started(row(), resumed=True)], {"state": "running", "epoch": 1, "step": 8}),
        (
            [Starting(), started(), EpochDone(row()), Ended("finished", 1, 8, Path("l"))],
            {"state": "finished", "step": 8},
        ),
        ([Starting(), started(), Ended("stalled", 1, 8, Path("l"))], {"state": "finished", "signal": ""}),
        ([Starting(), started(), Ended("SIGUSR1", 1, 8, Path("l"))], {"state": "stopped", "signal": "SIGUSR1"}),
        ([Starting(), Failed("rank 1: x")], {"state": "failed", "error": "rank 1: x"}),
        (
            [
                *(Starting(), started(), BadStep(2, math.inf, (1,), ("a",), ends_run=False)),
                *(BadStep(3, math.nan, (5, 9), ("2024-01-01", "2024-01-02"), ends_run=True), Failed("step 3: x")),
            ],
            {"state": "nan", "error": "step 3: x", "windows": (5, 9), "times": ("2024-01-01", "2024-01-02"), "step": 3},
        ),
    ],
)
def test_each_state_is_written_and_read(tmp_path: Path, events: list[Event], expected: dict[str, object]) -> None:
    found = written(tmp_path, *events)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.process == this_process()
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]
    assert dcrnn_fast.read_status(str(tmp_path)) == found


def test_steps_are_written_about_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dcrnn_fast.records.status.time.monotonic", lambda: now[0])
    writes: list[int] = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (writes.append(1), real(a, b)))
    file = StatusFile(Config(output=OutputConfig(results=str(tmp_path))))
    for event in (Starting(), started(), *(Stepped(0, step, 8, 1.0, 0.1) for step in range(1, 6)), Validating(0, 4)):
        file.see(event)
    assert len(writes) == 2
    now[0] += 1.5
    file.see(Validating(0, 8))
    found = read_status(tmp_path)
    assert found is not None
    assert (len(writes), found.step) == (3, 5)


def test_a_command_that_fails_before_it_has_the_folder_leaves_the_status_of_the_run_before(tmp_path: Path) -> None:
    written(tmp_path, Starting(), started(), Ended("SIGTERM", 1, 8, Path("l")))
    before = (tmp_path / STATUS).read_bytes()
    assert written(tmp_path, Failed("the disk is full")).state == "stopped"
    assert (tmp_path / STATUS).read_bytes() == before


def test_a_folder_without_a_run_has_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    assert read_status(tmp_path / "none") is None


@pytest.mark.parametrize("state", ["starting", "running"])
def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path, state: str) -> None:
    put(tmp_path, replace(RUNNING, state=state))
    assert read_status(tmp_path) == replace(RUNNING, state=state)
    gone = replace(RUNNING, state=state, process=replace(this_process(), started=1))
    put(tmp_path, gone)
    assert read_status(tmp_path) == replace(gone, state="killed")


@pytest.mark.parametrize("state", OVER)
def test_a_run_that_is_over_was_not_killed(tmp_path: Path, state: str) -> None:
    put(tmp_path, replace(RUNNING, state=state, process=replace(this_process(), started=1)))
    found = read_status(tmp_path)
    assert found is not None
    assert found.state == state


def test_another_machines_run_goes_on_while_it_touches_its_lock(tmp_path: Path) -> None:
    put(tmp_path, replace(RUNNING, process=ELSEWHERE))

    def state() -> str:
        found = read_status(tmp_path)
        assert found is not None
        return found.state

    assert state() == "killed", "no lock"
    (tmp_path / LOCK).write_bytes(Holder(ELSEWHERE).to_bytes())
    assert state() == "running"
    os.utime(tmp_path / LOCK, (1, 1))
    assert state() == "killed", "not touched for long"
    (tmp_path / LOCK).write_bytes(Holder(replace(ELSEWHERE, pid=7)).to_bytes())
    assert state() == "killed", "another run's lock"


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers() | st.none(), max_size=2)


@given(st.sampled_from(sorted(RUNNING.to_dict())), VALUES | st.just("remove"))
@settings(max_examples=200, deadline=None)
def test_any_changed_part_is_one_line_or_a_status(name: str, value: object) -> None:
    values = json.loads(json.dumps(RUNNING.to_dict())) | {name: value}
    if value == "remove":
        del values[name]
    try:
        found = Status.from_dict(values)
    except ValueError as error:
        words = str(error)
    else:
        words = ""
        assert json.loads(json.dumps(found.to_dict())) == values
    assert "\n" not in words


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"state": "resting"}', b"[" * 100_000])
def test_a_file_that_is_no_status_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATUS).write_bytes(content)
    with pytest.raises(UserError, match=r"status\.json is not a run's status: ") as refused:
        read_status(tmp_path)
    assert "\n" not in str(refused.value)


def test_another_programs_file_stays(tmp_path: Path) -> None:
    (tmp_path / STATUS).write_text('{"state": "green"}')
    file = StatusFile(Config(output=OutputConfig(results=str(tmp_path))))
    with pytest.raises(UserError, match=r"status\.json is not a run's status: "):
        file.see(Starting())
    for event in (started(), Ended("finished", 1, 8, Path("l"))):
        file.see(event)
    assert (tmp_path / STATUS).read_text() == '{"state": "green"}'


def test_it_is_written_under_the_name_that_all_files_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(Path(a).name), real(a, b)))
    written(tmp_path, Starting())
    assert names == [beside(tmp_path / STATUS).name]
