"""One run holds a folder; a dead one's is taken over by exactly one; another machine's run is known by its touches."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrnn_fast.errors import UserError
from dcrnn_fast.process import this_process
from dcrnn_fast.records import lock as lock_module
from dcrnn_fast.records.lock import LOCK, FolderLock, Holder

DEAD = replace(this_process(), started=1)
ELSEWHERE = replace(this_process(), host="elsewhere", pid=71)


def taken(folder: Path) -> tuple[FolderLock, list[str]]:
    lines: list[str] = []
    lock = FolderLock()
    lock.take({"--results": folder}, lines.append)
    return lock, lines


def left_by(folder: Path, holder: Holder, seconds_ago: float = 0) -> None:
    (folder / LOCK).write_bytes(holder.to_bytes())
    os.utime(folder / LOCK, (time.time() - seconds_ago,) * 2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "TOUCHED_EVERY", 0.05)
    monkeypatch.setattr(lock_module, "DEAD_AFTER", 0.4)
    monkeypatch.setattr(lock_module, "_POLL", 0.02)


def test_the_second_run_is_refused_with_the_first_ones_process_and_the_folder_is_free_afterwards(
    tmp_path: Path,
) -> None:
    first, lines = taken(tmp_path)
    before = (tmp_path / LOCK).read_bytes()
    for refused in (FolderLock().require_free, FolderLock().take):
        with pytest.raises(UserError, match=rf"{tmp_path} is in use by another run") as error:
            refused({"--results": tmp_path}, lines.append)
        assert f"(process {os.getpid()} on {this_process().host}, started 20" in str(error.value)
        assert "give another --results, or end that run first" in str(error.value)
    first.require_free({"--results": tmp_path}, lines.append)
    first.require_held()
    assert (tmp_path / LOCK).read_bytes() == before
    first.close()
    assert list(tmp_path.iterdir()) == []
    second, _ = taken(tmp_path)
    first.close()  # a second time: the folder is no longer its own
    second.require_held()
    assert lines == []


def test_two_names_of_a_folder_are_one(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "link").symlink_to("r")
    first, _ = taken(tmp_path / "r")
    with pytest.raises(UserError, match="link is in use by another run"):
        taken(tmp_path / "link")
    first.take({"--checkpoint-dir": tmp_path / "link"}, print)
    first.close()


def test_a_dead_ones_folder_is_taken_over_and_said(tmp_path: Path) -> None:
    left_by(tmp_path, Holder(DEAD, "2026-01-02T03:04:05+00:00"))
    FolderLock().require_free({"--results": tmp_path}, print)
    lock, lines = taken(tmp_path)
    assert lines == [
        f"{tmp_path} was the folder of process {DEAD.pid} on {DEAD.host}, started 2026-01-02T03:04:05+00:00, "
        "which is dead: taken over"
    ]
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    lock.require_held()


def test_a_run_that_was_killed_while_it_took_over_is_no_obstacle(tmp_path: Path) -> None:
    dead = Holder(DEAD)
    left_by(tmp_path, dead)
    (tmp_path / f"{LOCK}.after-{dead.id}").write_bytes(Holder(replace(DEAD, pid=9)).to_bytes())
    taken(tmp_path)[0].require_held()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


TAKER = """
import sys, time
from pathlib import Path
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.lock import FolderLock
folder = Path(sys.argv[1])
lock = FolderLock()
print("ready", flush=True)
input()
try:
    lock.take({"--results": folder}, lambda line: None)
except UserError:
    print("refused", flush=True)
else:
    print("took", flush=True)
input()
"""


def test_of_many_that_find_a_dead_ones_folder_at_once_one_gets_it(tmp_path: Path) -> None:
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for turn in range(1):
        left_by(tmp_path, Holder(DEAD))
        said = []
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n", turn
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("\n")
            taker.stdin.flush()
        for taker in takers:
            assert taker.stdout is not None
            said.append(taker.stdout.readline().strip())
        assert sorted(said) == ["refused", "refused", "refused", "took"]
    for taker in takers:
        taker.communicate("\n")


def test_a_taker_who_is_late_finds_the_quicker_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the dead one; the second stands still until the first has the folder."""
    left_by(tmp_path, Holder(DEAD))
    lives, quicker = lock_module._lives, FolderLock()

    def slow(path: Path, holder: Holder, say: Callable[[str], None]) -> bool:
        monkeypatch.setattr(lock_module, "_lives", lives)
        answer = lives(path, holder, say)
        quicker.take({"--results": tmp_path}, print)
        return answer

    monkeypatch.setattr(lock_module, "_lives", slow)
    with pytest.raises(UserError, match="is in use"):
        taken(tmp_path)
    quicker.require_held()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.usefixtures("quick")
def test_another_machines_run_lives_while_it_touches_its_lock(tmp_path: Path) -> None:
    left_by(tmp_path, Holder(ELSEWHERE))
    over = threading.Event()

    def touch() -> None:
        while not over.wait(0.05):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=touch)
    thread.start()
    lines: list[str] = []
    with pytest.raises(UserError, match=r"in use by another run .process 71 on elsewhere, started"):
        FolderLock().require_free({"--results": tmp_path}, lines.append)
    over.set()
    thread.join()
    assert len(lines) == 1
    assert lines[0].startswith("waiting up to ")
    lock, lines = taken(tmp_path)
    assert lines[0].startswith("waiting up to ")
    assert "which is dead: taken over" in lines[1]
    lock.close()
    left_by(tmp_path, Holder(ELSEWHERE), seconds_ago=100)
    _, lines = taken(tmp_path)
    assert len(lines) == 1, "old enough: no wait"


@pytest.mark.usefixtures("quick")
def test_a_run_touches_its_lock_until_it_is_over(tmp_path: Path) -> None:
    lock, _ = taken(tmp_path)
    os.utime(tmp_path / LOCK, (1, 1))
    deadline = time.monotonic() + 10
    while (tmp_path / LOCK).stat().st_mtime < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / LOCK).write_bytes(Holder(ELSEWHERE).to_bytes())
    os.utime(tmp_path / LOCK, (1, 1))
    time.sleep(0.2)
    assert (tmp_path / LOCK).stat().st_mtime < 2, "another run's is not touched"
    with pytest.raises(UserError, match=r"was taken over by process 71 on elsewhere.*took this run for dead: stopped"):
        lock.require_held()
    lock.close()
    assert (tmp_path / LOCK).exists(), "another run's stays"


def test_a_lock_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    lock, _ = taken(tmp_path)
    (tmp_path / LOCK).unlink()
    lock.require_held()
    with pytest.raises(UserError, match="in use"):
        taken(tmp_path)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(max_size=3), st.lists).map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["process", "since", "id"]), st.none() | st.text(max_size=3)).map(
        lambda value: json.dumps(value).encode()
    )
)
@settings(max_examples=100, deadline=None)
def test_any_other_content_is_no_lock(content: bytes) -> None:
    if content.strip(b"\0"):
        with pytest.raises(ValueError, match=r"."):
            Holder.from_bytes(content)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", [b"", bytes(200)])
def test_an_empty_lock_of_a_run_that_was_killed_at_once_is_waited_for_and_taken_over(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / LOCK).write_bytes(content)
    lock, lines = taken(tmp_path)
    assert "an unknown process" in lines[-1]
    lock.require_held()


@pytest.mark.parametrize("content", [b"{}", b'{"process": 1}', b"\xff" * 9000, b"pid 1\n"])
def test_another_programs_file_stays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(UserError, match=r"run\.lock is not the lock of a run: remove it, or give another folder"):
        taken(tmp_path)
    assert (tmp_path / LOCK).read_bytes() == content


def test_what_cannot_be_a_lock_is_one_line(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(UserError, match=r"cannot read .*run\.lock: Is a directory"):
        taken(tmp_path)


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    lock, _ = taken(tmp_path / "r")
    shutil.rmtree(tmp_path / "r")
    with pytest.raises(UserError, match=r"cannot write .*run\.lock: No such file"):
        lock.require_held()
    lock.close()
